# SPDX-License-Identifier: Apache-2.0
"""Images that want more than a container: the shim and the hook touch nothing outside their root.

Each root links, blocks or traps what gpubind writes or reads. Allowed are one clear error or a
container that works; the host's files stay as they are, and it takes no longer than a normal start.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from system import host, roots
from system.engines.low_level import LowLevel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.engines.podman import Podman
    from system.nodes import Node
    from system.place import Place

pytestmark = pytest.mark.system

GPU_0 = {"NVIDIA_VISIBLE_DEVICES": "0", "NVIDIA_DRIVER_CAPABILITIES": "all"}
LIB = "usr/lib/x86_64-linux-gnu"
SECONDS = 10


@pytest.fixture
def canary(scratch: str) -> Iterator[str]:
    """A folder of the host that no container may change."""
    folder = os.path.join(scratch, "canary")
    os.makedirs(os.path.join(folder, "ld.so.conf.d"))
    for name in ("file", "ld.so.cache", "ld.so.conf.d/00-gpubind.conf"):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as stream:
            stream.write("the host's\n")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def bare_root(minimal_root: str, scratch: str) -> str:
    """A root with nothing but the static probe."""
    folder = os.path.join(scratch, "bare")
    os.makedirs(folder)
    shutil.copy(f"{minimal_root}/usr/bin/probe", f"{folder}/probe")
    return folder


def contents(folder: str) -> list[tuple[str, int, int, str]]:
    """List a folder's names with mode, time of change and link target of what is no folder."""
    names = [os.path.join(place, name) for place, d, f in os.walk(folder) for name in [*d, *f]]
    return [(name, *_described(name)) for name in sorted(names)]


def _described(name: str) -> tuple[int, int, str]:
    found = os.lstat(name)
    if stat.S_ISLNK(found.st_mode):
        return found.st_mode, 0, os.readlink(name)
    return found.st_mode, 0 if stat.S_ISDIR(found.st_mode) else found.st_mtime_ns, ""


LINKED = ("etc", "usr", "usr/lib", LIB, "lib64", "run", "var", "dev", "proc", "sys")
WAYS = {
    "absolute": "{canary}",
    "relative": "../../../../../../../../../..{canary}",
    "through proc": "/proc/self/root{canary}",
    "through process 1": "/proc/1/root{canary}",
    "through a descriptor": "/proc/self/fd/3",
    "through the working folder": "/proc/self/cwd/../../../../../../..{canary}",
}
FILES = {
    "cache to a host file": "mkdir etc && ln -s {canary}/ld.so.cache etc/ld.so.cache",
    "cache to a new host file": "mkdir etc && ln -s {canary}/new etc/ld.so.cache",
    "cache's neighbour to a host file": "mkdir etc && ln -s {canary}/file etc/ld.so.cache~",
    "drop-in folder to the host": "mkdir etc && ln -s {canary}/ld.so.conf.d etc/ld.so.conf.d",
    "configuration to a host file": "mkdir etc && ln -s {canary}/file etc/ld.so.conf",
    "cache is a pipe": "mkdir etc && mkfifo etc/ld.so.cache",
    "configuration is a pipe": "mkdir etc && mkfifo etc/ld.so.conf",
    "cache is a device": "mkdir etc && mknod etc/ld.so.cache c 1 5",
    "cache is a terminal": "mkdir etc && mknod etc/ld.so.cache c 4 0",
    "cache is a folder": "mkdir -p etc/ld.so.cache/x",
    "cache is sparse and huge": "mkdir etc && truncate -s 200G etc/ld.so.cache",
    "cache is the kernel's log": "mkdir etc && ln -s /proc/kmsg etc/ld.so.cache",
    "a library's link is a host file": f"mkdir -p {LIB}; ln -s {{canary}}/file {LIB}/libcuda.so.1",
    "a library's link is a folder": f"mkdir -p {LIB}/libcuda.so.1/x",
    "a library is a host file": f"mkdir -p {LIB}; ln -s {{canary}}/new {LIB}/libcuda.so.550.54.15",
    "a loop": "ln -s etc etc; mkdir usr; ln -s ../usr/lib usr/lib",
    "a chain of 45 links": "ln -s {canary} l0; for i in $(seq 45); do ln -s l$((i-1)) l$i; done; "
    "ln -s l45 etc",
    "a long target": 'ln -s "$(printf %4000s | tr " " x)" etc',
    "a folder that nobody enters": f"mkdir -p -m 000 etc {LIB}",
}
CASES = {
    **{
        f"/{name} {way}": f'mkdir -p "$(dirname {name})" && ln -s {target} {name}'
        for name in LINKED
        for way, target in WAYS.items()
    },
    **FILES,
}


def fine_or_refused(done: subprocess.CompletedProcess[str], node: str) -> bool:
    if done.returncode == 0:
        return done.stdout == f"{node}: allowed\n"
    return done.stdout == "" and done.stderr != "" and "Traceback" not in done.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_host_stays_as_it_is(
    case: str, simulated: Node, place: Place, bare_root: str, scratch: str, canary: str
) -> None:
    prepare = CASES[case].format(canary=canary)
    # Old releases of runc follow a linked /dev by themselves: what it does alone is not ours.
    words = ("/probe", "open", "/dev/nvidia0")
    LowLevel(place, bare_root, scratch).run(*words, prepare=prepare, status=None)
    before, machine = contents(canary), host.snapshot()
    shim = LowLevel(place, bare_root, scratch, simulated.runtime)
    started = time.monotonic()
    done = shim.run(*words, environment=GPU_0, prepare=prepare, status=None)
    assert time.monotonic() - started < SECONDS
    assert contents(canary) == before
    assert host.changes(machine, host.snapshot()) == []
    assert fine_or_refused(done, "/dev/nvidia0"), (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("case", CASES)
def test_the_host_stays_as_it_is_under_the_hook(
    case: str, simulated: Node, place: Place, bare_root: str, scratch: str, canary: str
) -> None:
    with open(simulated.spec, "rb") as stream:
        hook = yaml.safe_load(stream)["containerEdits"]["hooks"][0]

    def change(config: dict[str, Any]) -> None:
        config["hooks"] = {hook["hookName"]: [{key: hook[key] for key in ("path", "args", "env")}]}

    prepare = CASES[case].format(canary=canary)
    runc, words = LowLevel(place, bare_root, scratch), ("/probe", "open", "/dev/null")
    runc.run(*words, prepare=prepare, status=None)
    before, machine = contents(canary), host.snapshot()
    started = time.monotonic()
    done = runc.run(*words, prepare=prepare, change=change, status=None)
    assert time.monotonic() - started < SECONDS
    assert contents(canary) == before
    assert host.changes(machine, host.snapshot()) == []
    assert fine_or_refused(done, "/dev/null"), (done.returncode, done.stdout, done.stderr)


MARK = """
#include <fcntl.h>
__attribute__((constructor)) static void mark(void) { open("@MARKER@", O_CREAT | O_WRONLY, 0644); }
"""
PYTHON = 'open("@MARKER@", "w").close()\n'
SHELL = '#!/bin/sh\n: >"@MARKER@"\n'
MODULES = (
    "json",
    "os",
    "sys",
    "_json",
    "site",
    "sitecustomize",
    "usercustomize",
    "gpubind/__init__",
)
PROGRAMS = ("python3", "ldconfig", "sh", "ld.so", "runc")
TRAPS = {
    "LD_PRELOAD": "/trap/trap.so",
    "LD_AUDIT": "/trap/trap.so",
    "LD_LIBRARY_PATH": "/trap",
    "PYTHONPATH": "/trap:/",
    "PYTHONHOME": "/trap",
    "PYTHONSTARTUP": "/trap/json.py",
    "PYTHONBREAKPOINT": "json.mark",
    "HOME": "/trap",
    "PATH": "/trap:/usr/sbin:/usr/bin:/sbin:/bin",
    "BASH_ENV": "/trap/sh",
    "ENV": "/trap/sh",
}


def trapped(folder: str, marker: str) -> None:
    """Lay traps: each of these files makes the marker where somebody loads or runs it."""
    os.makedirs(f"{folder}/trap/gpubind")
    os.makedirs(f"{folder}/gpubind")
    source = os.path.join(folder, "trap/trap.c")
    with open(source, "w", encoding="utf-8") as stream:
        stream.write(MARK.replace("@MARKER@", marker))
    roots.compile_c(source, f"{folder}/trap/trap.so", "-shared", "-fPIC")
    for name in MODULES:
        for place in (folder, f"{folder}/trap"):
            with open(f"{place}/{name}.py", "w", encoding="utf-8") as stream:
                stream.write(PYTHON.replace("@MARKER@", marker))
    for name in PROGRAMS:
        with open(f"{folder}/trap/{name}", "w", encoding="utf-8") as stream:
            stream.write(SHELL.replace("@MARKER@", marker))
        os.chmod(f"{folder}/trap/{name}", 0o755)


def without(mounts: list[dict[str, Any]], *places: str) -> list[dict[str, Any]]:
    return [mount for mount in mounts if mount["destination"] not in places]


@pytest.mark.parametrize("hook", [False, True], ids=["shim alone", "with the hook"])
def test_nothing_of_the_image_runs_on_the_host(
    hook: bool,  # noqa: FBT001 - a parameter of the test
    simulated: Node,
    place: Place,
    bare_root: str,
    scratch: str,
) -> None:
    marker = os.path.join(scratch, f"marker-{hook}")
    root = roots.copy(bare_root, os.path.join(scratch, f"trapped-{hook}"))
    trapped(root, marker)

    def change(config: dict[str, Any]) -> None:
        if hook:
            etc = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": []}
            config["mounts"].append(etc)

    shim = LowLevel(place, root, scratch, simulated.runtime)
    done = shim.run("/probe", "open", "/dev/nvidia0", environment=GPU_0 | TRAPS, change=change)
    assert done.stdout == "/dev/nvidia0: allowed\n"
    assert not os.path.exists(marker)


def test_nothing_of_the_image_runs_in_podman_s_hook(
    simulated: Node, podman_engine: Podman, bare_root: str, scratch: str
) -> None:
    marker = os.path.join(scratch, "marker-podman")
    root = roots.copy(bare_root, os.path.join(scratch, "trapped-podman"))
    trapped(root, marker)
    podman_engine.place.run("cp", simulated.spec, "/etc/cdi/nvidia.yaml")
    values = [f"--env={key}={value}" for key, value in TRAPS.items()]
    done = podman_engine.run_rootfs(
        root, "/probe", "open", "/dev/nvidia0", options=["--device=nvidia.com/gpu=0", *values]
    )
    assert done.stdout == "/dev/nvidia0: allowed\n"
    assert not os.path.exists(marker)


def test_the_traps_work(tmp_path: str) -> None:
    marker = os.path.join(tmp_path, "marker")
    trapped(str(tmp_path), marker)
    environment = {"LD_PRELOAD": f"{tmp_path}/trap/trap.so", "PYTHONPATH": f"{tmp_path}/trap"}
    for trap, value in environment.items():
        words = ["/usr/bin/python3", "-c", "import json"]
        subprocess.run(words, env={trap: value}, check=False, capture_output=True)
        assert os.path.exists(marker), trap
        os.unlink(marker)
