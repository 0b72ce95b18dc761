# SPDX-License-Identifier: Apache-2.0
"""Modes in a container's root, row 57: in the root, never through a link, no setuid."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
import trees

from gpubind import plan, words
from gpubind.errors import UsageError
from gpubind.operation.chmod import Chmod
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path


def perform(root: Path, *paths: str, mode: int = 0o711) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    with Root(str(root)) as opened:
        return plan.perform(opened, [Chmod(mode, paths)], notes), notes


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_and_a_file_get_the_mode(host: Path) -> None:
    trees.build(host / "root", {"/dev/dri": trees.FOLDER, "/x": "x"})
    assert perform(host / "root", "/dev/dri", "/x")[0] == ["chmod 711 /dev/dri", "chmod 711 /x"]
    assert (mode(host / "root/dev/dri"), mode(host / "root/x")) == (0o711, 0o711)


def test_a_second_time_changes_nothing(host: Path) -> None:
    trees.build(host / "root", {"/x": "x"})
    perform(host / "root", "/x")
    before = trees.seen(host / "root")
    assert perform(host / "root", "/x") == ([], [])
    assert trees.seen(host / "root") == before


def test_what_is_absent_is_left_alone(host: Path) -> None:
    assert perform(host / "root", "/dev/dri") == ([], [])


@pytest.mark.parametrize("target", ["-> ../canary/etc", "-> real", "-> /proc/self/root"])
def test_row57_a_final_link_is_not_followed(host: Path, target: str) -> None:
    trees.build(host / "root", {"/real": trees.FOLDER, "/link": target})
    before = trees.seen(host / "root")
    assert perform(host / "root", "/link")[1] == ["chmod: /link is neither folder nor file"]
    assert trees.seen(host / "root") == before


@pytest.mark.parametrize("path", ["/out/etc", "/../canary/etc", "/out/../canary/etc"])
def test_row57_a_parent_link_stays_in_the_root(host: Path, path: str) -> None:
    trees.build(host / "root", {"/out": f"-> {host}/canary"})
    assert perform(host / "root", path) == ([], [])


def test_a_fifo_does_not_hang(host: Path) -> None:
    trees.build(host / "root", {"/pipe": trees.FIFO})
    assert perform(host / "root", "/pipe")[1] == ["chmod: /pipe is neither folder nor file"]


@pytest.mark.parametrize("text", ["4755", "2755", "6000", "77777", "abc", "0x1", "", "8", "-1"])
def test_row57_a_bad_mode_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="chmod: --mode"):
        words.parse(["chmod", "--mode", text, "--path", "/x"])


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(UsageError, match="'x' is not absolute"):
        words.parse(["chmod", "--mode", "755", "--path", "x"])


def test_a_missing_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="no octal mode"):
        words.parse(["chmod", "--path", "/x"])


def test_words_are_read_back() -> None:
    line = ["chmod", "--mode", "755", "--path", "/dev/dri", "--path", "/x"]
    assert words.of(words.parse(line).operations) == line


def test_without_a_path_there_is_nothing_to_do() -> None:
    assert words.parse(["chmod", "--mode", "755"]).operations == []
