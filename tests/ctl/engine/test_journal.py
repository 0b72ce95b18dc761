# SPDX-License-Identifier: Apache-2.0
"""A journal that somebody has written in, or that a later release wrote: named, never obeyed."""

from __future__ import annotations

import copy
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from gpubind.errors import ToolkitError
from gpubind_ctl.engine import journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGE = {"path": "/d", "before": None, "after": "00", "data": None, "status": None}
CHANGE = {"at": 1.5, "by": "x", "runtime": "a", "path": "/r", "former": {}, "images": [IMAGE]}
GOOD: Any = {"format": 1, "engine": "docker", "main": "/d", "changes": [CHANGE]}


def load(folder: Path) -> journal.Record:
    return journal.load(str(folder), "docker", "/d")


def place(folder: Path) -> str:
    return journal.place(str(folder), "docker", "/d")


def test_a_good_one_is_read(tmp_path: Path) -> None:
    with open(place(tmp_path), "w", encoding="utf-8") as file:
        json.dump(GOOD, file)
    assert load(tmp_path).names == ("a",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("at", "x"),
        ("at", float("inf")),
        ("at", float("nan")),
        ("at", -1),
        ("at", 1e18),
        ("by", 3),
        ("runtime", None),
        ("path", 3),
        ("former", 3),
        ("former", [1]),
        ("images", {}),
        ("images", [3]),
        ("images", [{**IMAGE, "path": 3}]),
        ("images", [{**IMAGE, "before": 3}]),
        ("images", [{**IMAGE, "data": 3}]),
        ("images", [{**IMAGE, "data": "*"}]),
        ("images", [{**IMAGE, "status": [1]}]),
        ("images", [{**IMAGE, "status": ["a", 0, 0]}]),
        ("images", [{"path": "/d"}]),
    ],
)
def test_a_value_that_fits_nowhere_is_named(tmp_path: Path, key: str, value: object) -> None:
    document = copy.deepcopy(GOOD)
    document["changes"][0][key] = value
    with open(place(tmp_path), "w", encoding="utf-8") as file:
        json.dump(document, file)
    with pytest.raises(ToolkitError, match=rf"^{place(tmp_path)}: is no journal: "):
        load(tmp_path)


def test_that_of_a_later_release_is_left_alone(tmp_path: Path) -> None:
    with open(place(tmp_path), "w", encoding="utf-8") as file:
        json.dump({**GOOD, "format": 2}, file)
    with pytest.raises(ToolkitError, match="a later release wrote it, in format 2"):
        load(tmp_path)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: os.symlink("/etc/hosts", path),
        lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40),
    ],
    ids=["fifo", "folder", "link", "huge"],
)
def test_what_is_no_file_of_ours_is_refused_at_once(
    tmp_path: Path, make: Callable[[str], None]
) -> None:
    make(place(tmp_path))
    with pytest.raises(ToolkitError, match="is no journal"):
        load(tmp_path)


@pytest.mark.parametrize("data", [b"[" * 100_000, b"\xff", b"", b"null", b"[]"])
def test_what_is_no_document_is_refused(tmp_path: Path, data: bytes) -> None:
    with open(place(tmp_path), "wb") as file:
        file.write(data)
    with pytest.raises(ToolkitError, match="is no journal"):
        load(tmp_path)
