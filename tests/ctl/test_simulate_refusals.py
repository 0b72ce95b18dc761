# SPDX-License-Identifier: Apache-2.0
"""`gpubind simulate` writes nowhere but into a node's own folder, and says what it can't do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from command_line import gpubind
from simulated_nodes import node, tree

if TYPE_CHECKING:
    from pathlib import Path

HINT = "name a folder that does not exist, is empty or is an earlier simulated node [SIM-ROOT]"
ADVICE = "gives Operation not permitted; run as root outside a user namespace to have real ones"
# an overlay takes a device without number for its own mark of a deleted file, and refuses it
OVERLAY = """
mount -t tmpfs none "$1" && mkdir "$1/low" "$1/up" "$1/work" "$2" &&
mount -t overlay -o "userxattr,lowerdir=$1/low,upperdir=$1/up,workdir=$1/work" none "$2" &&
shift 2 && "$@" && ls "$0/dev" && cat "$0/dev/gpubind-note"
"""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--profile", "gtx"], "--profile NAME and --root DIR are needed, or --list"),
        (["--root", "x"], "--profile NAME and --root DIR are needed, or --list"),
        (["--profile", "../t4", "--root", "x"], "no profile is called '../t4'; choose one of "),
        (["--profile", "", "--root", "x"], "no profile is called ''; choose one of cos, desktop, "),
        (["--list", "--depth"], "--depth"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(words: list[str], complaint: str) -> None:
    outcome = gpubind("simulate", *words)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith("gpubind: ")
    assert complaint in outcome.err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"file": "x"}, "is not empty and holds no gpubind-node.json"),
        ({"gpubind-node.json": "no json"}, "is not empty and holds no gpubind-node.json"),
        ({"gpubind-node.json": "[]"}, "is not empty and holds no gpubind-node.json"),
        ({"gpubind-node.json": '{"other": 1}'}, "is not empty and holds no gpubind-node.json"),
    ],
)
def test_a_folder_with_anything_else_is_refused_untouched(
    tmp_path: Path, content: dict[str, str], reason: str
) -> None:
    for name, words in content.items():
        (tmp_path / name).write_text(words)
    before = tree(tmp_path)
    outcome = gpubind("simulate", "--profile", "t4", "--root", tmp_path)
    assert (outcome.status, outcome.err) == (1, f"gpubind: {tmp_path} {reason}; {HINT}\n")
    assert tree(tmp_path) == before


def test_an_inventory_that_is_a_link_makes_no_node(tmp_path: Path) -> None:
    (tmp_path / "there.json").write_text('{"format": 1, "profile": "t4"}')
    (tmp_path / "gpubind-node.json").symlink_to("there.json")
    assert gpubind("simulate", "--profile", "t4", "--root", tmp_path).status == 1
    assert sorted(os.listdir(tmp_path)) == ["gpubind-node.json", "there.json"]


@pytest.mark.parametrize("root", ["/", "/../", "/etc/.."])
def test_the_machines_own_root_is_refused(root: str) -> None:
    outcome = gpubind("simulate", "--profile", "t4", "--root", root)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == f"gpubind: {root} is the root of this machine; {HINT}\n"


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    outcome = gpubind("simulate", "--profile", "t4", "--root", tmp_path / "file")
    assert (outcome.status, (tmp_path / "file").read_text()) == (1, "mine")
    assert outcome.err == f"gpubind: {tmp_path}/file is not a folder; {HINT}\n"


def test_a_root_that_cannot_be_made_says_why() -> None:
    outcome = gpubind("simulate", "--profile", "t4", "--root", "/proc/nowhere/node")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == "gpubind: /proc/nowhere: No such file or directory [SYS-REFUSED]\n"


def test_a_node_with_something_mounted_in_it_is_refused(tmp_path: Path, unshare: str) -> None:
    root = node("t4", tmp_path)
    (root / "a b").mkdir()
    script = 'mount -t tmpfs none "$1/a b" && touch "$1/a b/mine" && shift && "$@"; ls "$0"'
    shell = (unshare, "-Urm", "/bin/sh", "-c", script, f"{root}/a b", str(root))
    outcome = gpubind("simulate", "--profile", "t4", "--root", root, before=shell)
    assert outcome.err == f"gpubind: {root} has {root}/a b mounted in it; {HINT}\n"
    assert outcome.out == "mine\n"


def test_without_the_right_to_mknod_the_nodes_have_no_numbers(tmp_path: Path, unshare: str) -> None:
    root = tmp_path / "node"
    words = ("--profile", "t4", "--root", root)
    outcome = gpubind("simulate", *words, before=(unshare, "-Ur"))
    note = f"device nodes have no numbers: mknod {ADVICE}\n"
    assert (outcome.status, outcome.err) == (0, f"gpubind: {note}")
    assert (root / "dev/gpubind-note").read_text() == note
    assert os.stat(root / "dev/nvidia0").st_rdev == 0
    with pytest.raises(OSError, match="No such device or address"):
        os.open(root / "dev/nvidia0", os.O_RDWR)


def test_where_there_can_be_no_device_node_the_node_says_so(tmp_path: Path, unshare: str) -> None:
    root = tmp_path / "overlay/node"
    places = (str(root), str(tmp_path / "parts"), str(root.parent))
    (tmp_path / "parts").mkdir()
    shell = (unshare, "-Urm", "/bin/sh", "-c", OVERLAY, *places)
    outcome = gpubind("simulate", "--profile", "t4", "--root", root, before=shell)
    note = f"device nodes are absent: mknod {ADVICE}\n"
    assert (outcome.status, outcome.err) == (0, f"gpubind: {note}")
    assert outcome.out.splitlines(keepends=True)[1:] == ["dri\n", "gpubind-note\n", note]
