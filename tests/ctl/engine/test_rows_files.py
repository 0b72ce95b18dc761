# SPDX-License-Identifier: Apache-2.0
"""What stands where daemon.json should: links, devices, folders, huge files."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
import trees
from engine_runs import configure, runtime

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "kind", [trees.FIFO, trees.SOCKET, trees.FOLDER], ids=["fifo", "socket", "dir"]
)
def test_row23_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: trees.Special) -> None:
    trees.build(tmp_path, {"/daemon.json": kind})
    began = time.monotonic()
    outcome = configure(tmp_path)
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert outcome.err.startswith(f"gpubind: {tmp_path}/daemon.json: ")
    assert "[ENGINE-FILE]" in outcome.err
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("leads", ["/dev/zero", "/dev/full"])
def test_row15_row23_a_link_to_a_device_is_refused(tmp_path: Path, leads: str) -> None:
    trees.build(tmp_path, {"/daemon.json": f"-> {leads}"})
    outcome = configure(tmp_path)
    assert (outcome.status, "is not a regular file" in outcome.err) == (1, True)


@pytest.mark.parametrize("size", [500 << 20, 200 << 30])
def test_row15_a_huge_file_is_not_read(tmp_path: Path, size: int) -> None:
    trees.build(tmp_path, {"/daemon.json": trees.sparse(size)})
    outcome = configure(tmp_path)
    assert (outcome.status, "larger than 16777216 bytes" in outcome.err) == (1, True)


LINKS: dict[str, trees.Tree] = {
    "absolute": {"/real/d.json": "{}\n"},
    "relative": {"/real/d.json": "{}\n", "/daemon.json": "-> real/d.json"},
    "chain": {"/real/d.json": "{}\n", "/one": "-> real/d.json", "/daemon.json": "-> one"},
    "folder": {"/real/d.json": "{}\n", "/here": "-> real", "/daemon.json": "-> here/d.json"},
}


@pytest.mark.parametrize("name", LINKS)
def test_row21_a_link_stays_and_its_target_is_changed(tmp_path: Path, name: str) -> None:
    trees.build(tmp_path, LINKS[name])
    if name == "absolute":
        (tmp_path / "daemon.json").symlink_to(tmp_path / "real/d.json")
    leads = os.readlink(tmp_path / "daemon.json")
    assert configure(tmp_path).status == 0
    assert os.readlink(tmp_path / "daemon.json") == leads
    assert "gpubind-runtime" in (tmp_path / "real/d.json").read_text()
    assert runtime("unconfigure", tmp_path).status == 0
    assert (tmp_path / "real/d.json").read_text() == "{}\n"


@pytest.mark.parametrize(
    ("leads", "message"),
    [
        ("gone", "is a link to {place}/gone, which is not there"),
        ("no/where/d.json", "is a link to {place}/no/where/d.json, which is not there"),
        ("daemon.json", "is a link in a circle"),
    ],
)
def test_row22_a_link_that_leads_nowhere_is_named(tmp_path: Path, leads: str, message: str) -> None:
    trees.build(tmp_path, {"/daemon.json": f"-> {leads}"})
    outcome = configure(tmp_path)
    wanted = f"gpubind: {tmp_path}/daemon.json: {message.format(place=tmp_path)} [ENGINE-FILE]\n"
    assert (outcome.status, outcome.err) == (1, wanted)


def test_row22_a_link_to_where_others_may_write_is_refused(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/open/d.json": "{}\n", "/daemon.json": "-> open/d.json"})
    (tmp_path / "open").chmod(0o777)
    outcome = configure(tmp_path)
    assert (outcome.status, "is not root's alone" in outcome.err) == (1, True)
    assert (tmp_path / "open/d.json").read_text() == "{}\n"
