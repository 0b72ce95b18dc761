# SPDX-License-Identifier: Apache-2.0
"""The driver's params as a container shall see them; tests/system mounts them for real."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trees

from gpubind import plan, words
from gpubind.operation import params
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

OPEN = b"EnableMSI: 1\nModifyDeviceFiles: 1\nDeviceFileMode: 438\n"


def test_modification_is_forbidden_in_the_copy() -> None:
    assert params.masked(OPEN) == b"EnableMSI: 1\nModifyDeviceFiles: 0\nDeviceFileMode: 438\n"


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        b"ModifyDeviceFiles: 0\n",
        b"ModifyDeviceFiles: 0\nModifyDeviceFiles: 1\n",
        b" ModifyDeviceFiles: 1\n",
        b"ModifyDeviceFiles: 10\n",
        b"\xff\0" * 30000,
    ],
)
def test_nothing_is_masked_where_nothing_is_allowed(text: bytes | None) -> None:
    assert params.masked(text) is None


@pytest.mark.parametrize(
    "content", [trees.FIFO, trees.FOLDER, "-> /dev/zero", trees.sparse(1 << 30)]
)
def test_a_host_without_readable_params_is_not_open(
    tmp_path: Path, content: trees.Special | str
) -> None:
    trees.build(tmp_path, {"/params": content})
    assert not params.is_open(str(tmp_path / "params"))


def test_an_open_host_is_told(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/params": OPEN})
    assert params.is_open(str(tmp_path / "params"))


def test_a_root_without_params_is_left_alone(host: Path) -> None:
    trees.build(host, {"/params": OPEN})
    operation = params.MaskParams(str(host / "state"), str(host / "params"))
    with Root(str(host / "root")) as root:
        assert plan.perform(root, [operation], []) == []
    assert not (host / "state").exists()


def test_words_are_read_back() -> None:
    line = words.of([params.MaskParams()])
    assert [str(one) for one in words.parse(line).operations] == [
        "forbid device-node modification in /proc/driver/nvidia/params"
    ]
