# SPDX-License-Identifier: Apache-2.0
"""A Tegra's lists: what a line means, and that nothing in a list stops anything."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
import trees
from gpubind_cdi import mountspec

from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = mountspec.FOLDER


def lines(text: str | bytes) -> list[str]:
    """Give what a list says, as `type path`."""
    data = text.encode() if isinstance(text, str) else text
    return [f"{one.kind} {one.path}" for one in mountspec.parse(data, "l.csv")[0]]


def faults(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    return [str(one) for one in mountspec.parse(data, "l.csv")[1]]


def read(root: str, *names: str) -> mountspec.Lists:
    with Root(root) as opened:
        return mountspec.read(opened, names)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("dev, /dev/nvmap\n", ["dev /dev/nvmap"]),
        ("  lib ,\t/a/b.so  \r\nsym,/c\r\n", ["lib /a/b.so", "sym /c"]),
        ("dir, /a,b/c, d\n", ["dir /a,b/c, d"]),
        ("# a remark\n\n   \n dev, /dev/x", ["dev /dev/x"]),
        (b"\xef\xbb\xbfdev, /dev/x\n", ["dev /dev/x"]),
        ("", []),
    ],
)
def test_a_line_is_a_type_and_a_path(text: str | bytes, wanted: list[str]) -> None:
    assert (lines(text), faults(text)) == (wanted, [])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("lib /a", "no comma: expected `type, path`"),
        ("file, /a", "no type 'file': expected one of dev, dir, lib, sym"),
        ("DEV, /dev/x", "no type 'DEV': expected one of dev, dir, lib, sym"),
        ("lib,", "'' is no absolute path"),
        ("lib, a/b.so", "'a/b.so' is no absolute path"),
        ("dir, /", "the path is the whole root"),
        ("dir, ///", "the path is the whole root"),
        ("lib, /a/../../etc/shadow", "the path goes through `..`"),
        ("lib, /a\0b", "the path is no printable text"),
        (b"lib, /a\xff", "the path is no printable text"),
        (f"lib, /{'a' * 9000}", "longer than 8192 bytes"),
    ],
)
def test_a_bad_line_is_named_and_the_others_count(line: str | bytes, why: str) -> None:
    data = line.encode() if isinstance(line, str) else line
    text = b"dev, /dev/a\n" + data + b"\ndev, /dev/b\n"
    assert lines(text) == ["dev /dev/a", "dev /dev/b"]
    assert faults(text) == [f"l.csv:2: skipped: {why}"]


def test_of_a_file_that_is_no_list_eight_lines_are_named() -> None:
    bad = faults(os.urandom(1 << 12) + b"x\n" * 5000)
    assert len(bad) == mountspec.MAX_NAMED + 1
    assert bad[-1].startswith("l.csv: skipped: ")
    assert bad[-1].endswith(" more lines are no `type, path`")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (trees.FIFO, "not a regular file"),
        (trees.FOLDER, "not a regular file"),
        (trees.sparse(1 << 40), "larger than 1048576 bytes"),
        ("-> /nowhere", "no such file or directory"),
        ("-> a.csv", "too many levels of symbolic links"),
        ("# nothing\n", "names nothing"),
    ],
)
def test_what_is_no_list_is_named_at_once(
    tmp_path: Path, content: str | trees.Special, why: str
) -> None:
    root = trees.build(tmp_path, {"/a.csv": content, "/b.csv": "dev, /dev/x\n"})
    began = time.monotonic()
    found = read(root, "/a.csv", "/b.csv")
    assert time.monotonic() - began < 5
    assert [str(one) for one in found.missing] == [f"{root}/a.csv: skipped: {why}"]
    assert [one.path for one in found.entries] == ["/dev/x"]


def test_an_absent_list_stops_no_other(tmp_path: Path) -> None:
    root = trees.build(tmp_path, {f"{FOLDER}/l4t.csv": "lib, /a.so\n"})
    with Root(root) as opened:
        found = mountspec.read(opened, mountspec.names(opened))
    assert [one.place for one in found.entries] == [f"{root}{FOLDER}/l4t.csv:1"]
    assert [path for path, *_ in found.inputs] == [
        f"{root}{FOLDER}/{name}" for name in mountspec.USUAL
    ]
    assert [str(one).rpartition("/")[2] for one in found.missing] == [
        "devices.csv: skipped: no such file or directory",
        "drivers.csv: skipped: no such file or directory",
    ]


def test_a_list_by_a_link_is_read_inside_the_root(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/outer.csv": "dev, /dev/outer\n"})
    inner = {"/l.csv": "-> ../../../outer.csv", "/outer.csv": "dev, /dev/inner\n"}
    root = trees.build(tmp_path / "root", inner)
    assert [one.path for one in read(root, "/l.csv").entries] == ["/dev/inner"]


def test_all_lists_are_those_named_csv_and_no_others(tmp_path: Path) -> None:
    names = ("a.csv", "B.CSV", ".csv", "c.csv.bak", "csv", "d.csv/e.csv")
    root = trees.build(tmp_path, {f"{FOLDER}/{name}": "dev, /x\n" for name in names})
    with Root(root) as opened:
        found = mountspec.names(opened, every=True)
        absent = mountspec.names(opened, "/nowhere", every=True)
    assert [name.removeprefix(FOLDER) for name in found] == ["/B.CSV", "/a.csv", "/d.csv"]
    assert absent == ()


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.so", "libx.so", True),
        ("*.so", "/usr/lib/libx.so", False),
        ("**/*.so", "/usr/lib/libx.so", True),
        ("**/*.so", "/usr/lib/libx.so.1", False),
        ("/usr/lib/*.so", "/usr/lib/libx.so", True),
        ("/usr/*", "/usr/lib/libx.so", False),
        ("/usr/*/lib?.so", "/usr/lib/libx.so", True),
        ("[", "[", True),
    ],
)
def test_a_star_matches_no_slash(pattern: str, path: str, *, matches: bool) -> None:
    assert mountspec.ignored([pattern])(path) is matches


def test_without_patterns_nothing_is_ignored() -> None:
    assert not mountspec.ignored([])("/a")


def test_a_pattern_stands_for_what_is_there(tmp_path: Path) -> None:
    names = ("nvhost-b", "nvhost-a", "nvmap", ".nvhost-c", "dri/card1", "dri/card0", "fb0/card2")
    root = trees.build(tmp_path, {f"/dev/{name}": "" for name in names})
    with Root(root) as opened:
        found = {
            pattern: list(mountspec.globbed(opened, pattern))
            for pattern in ("/dev/nvhost-*", "/dev/*/card[01]", "/dev/none*", "/dev/none")
        }
    assert found == {
        "/dev/nvhost-*": ["/dev/nvhost-a", "/dev/nvhost-b"],
        "/dev/*/card[01]": ["/dev/dri/card0", "/dev/dri/card1"],
        "/dev/none*": [],
        "/dev/none": ["/dev/none"],
    }


def test_a_loop_of_links_gives_no_names_without_end(tmp_path: Path) -> None:
    root = trees.build(tmp_path, {f"/dev/{number}": "-> ." for number in range(20)})
    with Root(root) as opened:
        found = list(mountspec.globbed(opened, "/dev/*/*/*/*/*/*"))
    assert len(found) == mountspec.MAX_MATCHES
