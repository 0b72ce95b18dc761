# SPDX-License-Identifier: Apache-2.0
"""containerd's own reading of every file we keep: with our runtime it shows that runtime more.

`config dump` starts nothing and needs no place of its own. Versions 1 and 2 are for the machine's
1.6, versions 2 and 3 for the 2.1 of a newer root.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from containerd_hosts import FakeHost
from engine_files import cases

from gpubind.errors import ToolkitError
from gpubind_ctl.engine.containerd import Containerd, change, dump, found
from gpubind_ctl.engine.engine import Edit, Target, Wants
from gpubind_ctl.engine.host import ThisHost

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.system
MAIN = "/etc/containerd/config.toml"
EXTRA = "/etc/containerd/extra.toml"
CRI = 'plugins."io.containerd.grpc.v1.cri".containerd'
SHOW = ("config", "dump")
ENGINE = Containerd()
WANTS = Wants(path="/opt/bin/gpubind-runtime", default=True)
FILES = {
    name: data
    for name, data in cases("containerd").items()
    if tomllib.loads(data.decode("utf-8-sig")).get("version", 1) < 3 and b"${" not in data
}
LATER = {
    name: data
    for name, data in cases("containerd").items()
    if tomllib.loads(data.decode("utf-8-sig")).get("version", 1) > 1 and b"${" not in data
}


class Dumping(FakeHost):
    """Files in memory, and this machine's containerd."""

    def output(self, *words: str) -> str:
        return ThisHost(os.environ).output(*words)

    def tried(self, files: Mapping[str, bytes], *words: str) -> str:
        return ThisHost(os.environ).tried(files, *words)


@pytest.fixture(autouse=True)
def _installed() -> None:
    if shutil.which("containerd") is None:
        pytest.skip("containerd is not installed")


def dumped(host: Dumping) -> Any:
    text = host.tried({"0.toml": host.files[MAIN]}, "containerd", "-c", "{folder}/0.toml", *SHOW)
    return tomllib.loads(text)["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]


def refusal(target: Target, edits: tuple[Edit, ...], wants: Wants) -> str:
    try:
        ENGINE.prove(target, edits, wants)
    except ToolkitError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", FILES)
def test_our_runtime_is_all_that_is_new(name: str) -> None:
    host = Dumping({MAIN: FILES[name]})
    assert ENGINE.find(WANTS, host).version[:1] == (1,)
    target = ENGINE.find(WANTS, host)
    edits = ENGINE.edit(target, WANTS)
    ENGINE.check(target, edits, WANTS, host)
    host.configure(ENGINE, WANTS)
    shown = dumped(host)
    assert shown["runtimes"]["nvidia"]["runtime_type"].startswith("io.containerd.runc.")
    nested = shown["default_runtime"]["runtime_type"]
    assert nested or shown["default_runtime_name"] == "nvidia"
    assert shown["default_runtime_name"] in shown["runtimes"] or nested


def test_our_model_s_merge_is_containerd_s() -> None:
    main = f'version = 2\nimports = ["{EXTRA}"]\n[{CRI}]\nsnapshotter = "zfs"\n'
    extra = f'[{CRI}.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n'
    host = Dumping({MAIN: main, EXTRA: extra})
    target = ENGINE.find(WANTS, host)
    assert isinstance(target, found.Found)
    document = dump.shown(target.layers(), "containerd", host)
    assert document is not None
    theirs = document["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]
    ours = change.cri(target.layers(), 2, 1)["containerd"]
    assert theirs["snapshotter"] == "overlayfs"  # 1.x: the import's table stands alone
    assert "snapshotter" not in ours
    ENGINE.check(target, ENGINE.edit(target, WANTS), WANTS, host)


@pytest.mark.parametrize("name", LATER)
def test_2_x_reads_our_drop_in_and_nothing_else_anew(name: str, newer_root: str) -> None:
    host = Dumping({MAIN: LATER[name]})
    wants = replace(WANTS, cdi=True, executable=f"{newer_root}/usr/bin/containerd")
    target = ENGINE.find(wants, host)
    assert isinstance(target, found.Found)
    edits = ENGINE.edit(target, wants)
    if told := refusal(target, edits, wants):
        assert "is not read by containerd 2 until a runtime is named" in told
        with pytest.raises(ToolkitError, match=r"shows other changes too, in plugins\.io\.contain"):
            ENGINE.check(target, edits, wants, host)
        return
    ENGINE.check(target, edits, wants, host)
    document = dump.shown(target.after(edits).layers(), wants.executable, host)
    assert document is not None
    cri = document["plugins"]["io.containerd.cri.v1.runtime"]
    assert cri["enable_cdi"] is True
    assert cri["containerd"]["default_runtime_name"] == "nvidia"
    ours = cri["containerd"]["runtimes"]["nvidia"]
    assert ours["options"]["BinaryName"] == wants.path
    assert ours["runtime_type"].startswith("io.containerd.runc.")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"/opt/bin/", b"/opt/bim/", "does not show runtime nvidia"),
        (b"[debug]", b"[debug]\nlevel = 'x'", "shows other changes too, in debug"),
        (b"[debug]", b"[debug]\nlevel = 1\n", "does not read it any more"),
    ],
)
def test_row36_what_containerd_shows_otherwise_is_refused(
    old: bytes, new: bytes, message: str
) -> None:
    host = Dumping({MAIN: "version = 2\n[debug]\n"})
    target = ENGINE.find(WANTS, host)
    (edit,) = ENGINE.edit(target, WANTS)
    assert edit.after is not None
    wrong = replace(edit, after=edit.after.replace(old, new))
    with pytest.raises(ToolkitError, match=message):
        ENGINE.check(target, (wrong,), WANTS, host)
