# SPDX-License-Identifier: Apache-2.0
"""The application profile: one mask of the container's GPUs."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
import trees

from gpubind import plan, words
from gpubind.operation import profile
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

WANTED = (
    '{"profiles":[{"name":"_container_","settings":["EGLVisibleDGPUDevices",0x9]}],'
    '"rules":[{"pattern":[],"profile":"_container_"}]}'
)


def perform(root: Path, *minors: int) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    with Root(str(root)) as opened:
        done = plan.perform(opened, [profile.ApplicationProfile(minors or None)], notes)
    return done, notes


def test_the_mask_has_a_bit_for_each_gpu(host: Path) -> None:
    perform(host / "root", 0, 3)
    assert (host / "root" / profile.FILE[1:]).read_text() == WANTED


def test_file_and_folders_are_read_only(host: Path) -> None:
    perform(host / "root", 0)
    file = host / "root" / profile.FILE[1:]
    assert stat.S_IMODE(file.stat().st_mode) == 0o444
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o555


def test_a_second_time_changes_nothing(host: Path) -> None:
    perform(host / "root", 0, 3)
    before = trees.seen(host / "root")
    assert perform(host / "root", 0, 3) == ([], [])
    assert trees.seen(host / "root") == before


def test_another_set_of_gpus_replaces_the_profile(host: Path) -> None:
    perform(host / "root", 1)
    perform(host / "root", 0, 3)
    assert (host / "root" / profile.FILE[1:]).read_text() == WANTED


@pytest.mark.root
def test_without_numbers_the_nodes_in_dev_count(host: Path) -> None:
    trees.build(
        host / "root",
        {
            "/dev/nvidia0": trees.device(195, 0),
            "/dev/nvidia3": trees.device(195, 3),
            "/dev/nvidiactl": trees.device(195, 255),
            "/dev/nvidia5": "a file",
            "/dev/nvidia7": "-> nvidia0",
        },
    )
    perform(host / "root")
    assert (host / "root" / profile.FILE[1:]).read_text() == WANTED


def test_without_gpus_nothing_is_written(host: Path) -> None:
    assert perform(host / "root") == ([], [])
    assert list((host / "root").iterdir()) == []


def test_a_minor_number_above_the_mask_is_a_note(host: Path) -> None:
    _, notes = perform(host / "root", 0, 3, 64)
    assert notes == ["no application profile for GPUs with minor number [64]"]
    assert (host / "root" / profile.FILE[1:]).read_text() == WANTED


@pytest.mark.parametrize("where", ["/etc", "/etc/nvidia", profile.FOLDER, profile.FILE])
@pytest.mark.parametrize(
    "target", ["-> {}/canary/etc", "-> ../../../../../../../../{}/canary/etc", "-> {}/none"]
)
def test_a_link_out_of_the_root_leads_nowhere(host: Path, where: str, target: str) -> None:
    trees.build(host / "root", {where: target.format(host)})
    perform(host / "root", 0)
    assert not (host / "none").exists()


@pytest.mark.parametrize("where", ["/etc", "/etc/nvidia", profile.FOLDER])
def test_a_file_in_the_way_is_a_note_not_an_error(host: Path, where: str) -> None:
    trees.build(host / "root", {where: "a file"})
    _, notes = perform(host / "root", 0)
    assert len(notes) == 1
    assert notes[0].endswith("left out [ROOT-WRITE]")


def test_the_hooks_words_have_no_options() -> None:
    (read,) = words.parse(words.of([profile.ApplicationProfile([0])])).operations
    assert str(read) == "write the application profile for the GPUs in /dev"
