# SPDX-License-Identifier: Apache-2.0
"""Hostile roots under the shim and the CDI hook, by the rows of tests/rules/hostile_rows.txt.

The low-level runtime does nothing here, so that all that happens is gpubind's doing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import compat_libs
import image_roots
import pytest
import trees
import yaml
from system import injected, roots

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from system.nodes import Node

pytestmark = pytest.mark.system

SECONDS = 10
LIB = image_roots.LIB[1:]
COMPAT = "usr/local/cuda/compat"
NOTE = compat_libs.note({"Format": 1, "CUDA Version": "12.9", "Driver": [550]})
MUSL: trees.Tree = {"/lib/ld-musl-x86_64.so.1": "musl's loader"}
WRITTEN = (
    "etc/ld.so.cache",
    "etc/ld.so.cache~",
    "etc/ld.so.conf",
    "etc/ld.so.conf.d/00-gpubind.conf",
    "etc/ld.so.conf.d/00-compat-gpubind.conf",
    "etc/ld.so.conf.d/image.conf",
    "etc/ld-musl-x86_64.path",
    injected.PROFILE,
    f"{LIB}/libcuda.so.1",
    f"{LIB}/gbm/nvidia-drm_gbm.so",
)
READ = (*WRITTEN, "lib/ld-musl-x86_64.so.1", f"{COMPAT}/libcuda.so.575.57.08")


@pytest.fixture(scope="module")
def still(scratch: str) -> Node:
    """A node whose low-level runtime does nothing."""
    return injected.node(os.path.join(scratch, "still"))


def hostile(tmp_path: Path, tree: trees.Tree) -> str:
    """Make a bundle with a root; gives the bundle's folder."""
    root = trees.build(tmp_path / "bundle/rootfs", tree)
    if not os.path.lexists(f"{root}/{COMPAT}"):
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            library = compat_libs.library("libcuda.so.1", NOTE)
            trees.build(root, {f"/{COMPAT}/libcuda.so.575.57.08": library})
    if not os.path.lexists(f"{root}/lib"):
        trees.build(root, MUSL)
    return injected.bundle(root)


def unharmed(node: Node, way: str, folder: str) -> subprocess.CompletedProcess[str]:
    """Start the shim or the hook, which must end soon: well, or with one line."""
    started = time.monotonic()
    done = injected.call(node, way, folder)
    assert time.monotonic() - started < SECONDS
    assert done.returncode in (0, 1)
    assert done.returncode == 0 or done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done


OUT = {
    "to a file": "-> {canary}/file",
    "upwards": "-> ../../../../../../../../../../../../..{canary}/file",
    "to nothing yet": "-> {canary}/new",
    "through proc": "-> /proc/self/root{canary}/file",
    "through process 1": "-> /proc/1/root{canary}/new",
    "through a descriptor": "-> /proc/self/fd/1",
}


@pytest.mark.parametrize("way", injected.WAYS)
@pytest.mark.parametrize("out", OUT)
def test_row52_row53_no_file_that_is_a_link_leads_out(
    out: str, way: str, still: Node, tmp_path: Path
) -> None:
    canary = trees.build(tmp_path / "canary", {"/file": "the host's"})
    before = trees.seen(canary)
    target = OUT[out].replace("{canary}", canary)
    folder = hostile(tmp_path, {f"/{name}": target for name in WRITTEN})
    done = unharmed(still, way, folder)
    assert trees.seen(canary) == before
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


ODD: trees.Tree = {
    "FIFO": trees.FIFO,
    "socket": trees.SOCKET,
    "random": trees.device(1, 9),
    "terminal": trees.device(4, 0),
    "huge": trees.sparse(200 << 30),
    "kernel log": "-> /proc/kmsg",
}


@pytest.mark.parametrize("way", injected.WAYS)
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("names", [READ, (COMPAT,)], ids=["files", "a folder"])
def test_row54_what_is_no_usual_file_is_not_read(
    names: tuple[str, ...], odd: str, way: str, still: Node, tmp_path: Path
) -> None:
    folder = hostile(tmp_path, {f"/{name}": ODD[odd] for name in names})
    done = unharmed(still, way, folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "" or ": warning: " in done.stderr


def test_row59_folders_of_many_entries_take_little_time(still: Node, tmp_path: Path) -> None:
    folder = hostile(tmp_path, {f"/{LIB}/x": "", "/etc/ld.so.conf.d/x": ""})
    for place in (LIB, "etc/ld.so.conf.d", COMPAT):
        for number in range(20_000):
            os.mknod(f"{folder}/rootfs/{place}/libx{number}.so.{number}")
    for way in injected.WAYS:
        unharmed(still, way, folder)


SOURCES: dict[str, trees.Tree] = {
    "a link to the root": {f"/{COMPAT}/libcuda.so.999.1": "-> /"},
    "a link upwards": {f"/{COMPAT}/libcuda.so.999.1": "-> /../../../../"},
    "a folder": {f"/{COMPAT}/libcuda.so.999.1/x": ""},
    "a folder with a link in it": {
        f"/{COMPAT}/libcuda.so.999.1": "-> /folder",
        "/folder/x": "-> ../../../../..",
        f"/{COMPAT}/libnvidia.so.999.1": f"-> /{LIB}/libcuda.so.550.54.15/x",
    },
}


@pytest.mark.parametrize("case", SOURCES)
def test_row_a2_no_mount_comes_from_the_root(case: str, still: Node, tmp_path: Path) -> None:
    folder = hostile(tmp_path, SOURCES[case])
    assert unharmed(still, "shim", folder).returncode == 0
    with open(f"{folder}/config.json", encoding="utf-8") as stream:
        config = json.load(stream)
    sources = [mount["source"] for mount in config["mounts"] if mount["source"].startswith("/")]
    assert len(sources) > 10
    assert [source for source in sources if not source.startswith(f"{still.root}/")] == []


def hooks_in(document: Any) -> list[dict[str, Any]]:
    """Find every hook of a document of any kind: what has a path beside args or an env."""
    if isinstance(document, list):
        return [hook for value in document for hook in hooks_in(value)]
    if not isinstance(document, dict):
        return []
    found = [hook for value in document.values() for hook in hooks_in(value)]
    return [*found, document] if "path" in document and "args" in document else found


def test_row_a6_every_hook_entry_is_closed_to_the_image_s_environment(
    still: Node, tmp_path: Path
) -> None:
    documents = [yaml.safe_load(still.gpubind("cdi", "generate", f"--driver-root={still.root}"))]
    words = ("cdi", "generate", "--format=json", f"--driver-root={still.root}")
    documents.append(json.loads(still.gpubind(*words)))
    folder = hostile(tmp_path, {})
    unharmed(still, "shim", folder)  # /dev is a mount: the hook makes the links in there
    with open(f"{folder}/config.json", encoding="utf-8") as stream:
        documents.append(json.load(stream))
    counts = []
    for document in documents:
        hooks = hooks_in(document)
        counts.append(len(hooks))
        for hook in hooks:
            names = [value.partition("=")[0] for value in hook["env"]]
            assert names == ["PATH"]
            assert all(part.startswith("/") for part in hook["env"][0][5:].split(":"))
            assert hook["path"].startswith("/")
            assert not {"-m", "-c"} & set(hook["args"])
    assert min(counts) > 0


KILLED = "mkdirat,mkdir,symlinkat,openat,openat2,write,fchmod,rename,renameat"


@pytest.mark.parametrize("way", injected.WAYS)
def test_row50_a_killed_one_leaves_what_the_next_mends(
    way: str, still: Node, tmp_path: Path
) -> None:
    tree = {**MUSL, "/etc/ld.so.conf": "/opt/lib\n"}
    wanted = trees.build(tmp_path / "wanted/rootfs", tree)
    injected.inject(still, way, wanted)
    ended = 0
    trace = ("/usr/bin/strace", "-f", "-qq", "-o", "/dev/null", f"--trace={KILLED}", "-P")
    for turn in range(1, 60, 4):
        folder = str(tmp_path / f"{turn}")
        root = trees.build(f"{folder}/rootfs", tree)
        injected.bundle(root)
        inject = f"--inject={KILLED}:signal=KILL:when={turn}"
        places = [f"{root}/etc", f"{root}/{LIB}", f"{root}/etc/ld.so.conf.d", root]
        watched = [word for place in places for word in ("-P", place)][1:]
        done = injected.call(still, way, folder, [*trace, *watched, inject])
        if done.returncode == 0:
            break
        ended += 1
        assert not any(os.path.ismount(place) for place, _, _ in os.walk(root))
        injected.inject(still, way, root)
        left = injected.state(root)
        assert {name: known for name, known in left.items() if ".gpubind-" not in name} == (
            injected.state(wanted)
        )
        shutil.rmtree(folder)
    assert ended > 5


def test_the_low_level_runtime_inherits_no_descriptor(tmp_path: Path, scratch: str) -> None:
    listing = tmp_path / "listing"
    program = os.path.join(scratch, "lists-descriptors")
    with open(program, "w", encoding="utf-8") as stream:
        stream.write(f"#!/bin/sh\nexec /bin/ls /proc/self/fd >{listing}\n")
    os.chmod(program, 0o755)
    node = injected.node(os.path.join(scratch, "descriptors"), program)
    first = roots.copy(hostile(tmp_path, {}), str(tmp_path / "copy"))
    injected.call(node, "shim", first)
    assert listing.read_text().split() == ["0", "1", "2", "3"]  # 3 is the listing's own
