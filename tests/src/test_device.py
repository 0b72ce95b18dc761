# SPDX-License-Identifier: Apache-2.0
"""Device nodes and mount sources, as the host says."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import pytest
import trees

from gpubind import device
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path

NULL = {"type": "c", "major": 1, "minor": 3}


def node(given: Any, dropped: list[str] | None = None) -> Any:
    edits = device.complete({"deviceNodes": [given]}, [] if dropped is None else dropped)
    return next(iter(edits["deviceNodes"]), None)


@pytest.mark.parametrize(
    ("given", "complete"),
    [
        ({"path": "/dev/null"}, NULL),
        ({"path": "/dev/x", "hostPath": "/dev/null"}, NULL),
        ({"path": "/dev/null", "type": "c"}, NULL),
        ({"path": "/dev/null", "type": "u"}, {**NULL, "type": "u"}),
        ({"path": "/dev/null", "type": "c", "major": 0, "minor": 9}, NULL),
        (
            {"path": "/absent", "type": "c", "major": 195, "minor": 7},
            {"type": "c", "major": 195, "minor": 7},
        ),
        (
            {"path": "/absent", "type": "b", "major": 195},
            {"type": "b", "major": 195, "minor": 0},
        ),
        ({"path": "/absent", "type": "p"}, {"type": "p", "minor": 0}),
    ],
)
def test_a_node_is_completed_from_the_host(given: Any, complete: Any) -> None:
    assert node(given) == {**given, **complete}


def test_a_pipe_is_found_on_the_host(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/pipe": trees.FIFO})
    assert node({"path": f"{tmp_path}/pipe"})["type"] == "p"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to make device nodes")
def test_a_block_device_is_told_from_a_character_device(tmp_path: Path) -> None:
    os.mknod(tmp_path / "b", 0o60600, os.makedev(7, 9))
    found = node({"path": f"{tmp_path}/b"})
    assert (found["type"], found["major"], found["minor"]) == ("b", 7, 9)


ODD = [
    ({"path": "/absent"}, "/absent: No such file or directory"),
    ({"path": "/dev/null", "type": "b"}, "/dev/null: is no such device node"),
    ({"path": "/dev/null", "type": "x"}, "/dev/null: is no such device node"),
    ({"path": "/etc/hostname"}, "/etc/hostname: is no such device node"),
    ({"path": "/dev/null", "hostPath": "/etc"}, "/etc: is no such device node"),
    ({"path": "/dev/stdin"}, "/dev/stdin: is no such device node"),
]


@pytest.mark.parametrize(("given", "message"), ODD)
def test_a_required_node_that_is_none_is_an_error(given: Any, message: str) -> None:
    with pytest.raises(ToolkitError) as caught:
        node(given)
    assert str(caught.value) == (
        f"{message}, but a CDI spec names it; run 'gpubind cdi generate' again [SPEC-STALE]"
    )


@pytest.mark.parametrize(("given", "message"), ODD)
def test_a_best_effort_node_that_is_none_is_left_out(given: Any, message: str) -> None:
    dropped: list[str] = []
    assert node({**given, "required": False}, dropped) is None
    assert dropped == [message]


def test_a_mount_whose_source_is_there_stays() -> None:
    edits: Any = {"mounts": [{"hostPath": "/etc", "containerPath": "/x"}]}
    assert device.complete(edits, []) == edits


def test_a_required_mount_without_source_is_an_error() -> None:
    with pytest.raises(ToolkitError, match=r"^/absent: No such .*\[SPEC-STALE\]$"):
        device.complete({"mounts": [{"hostPath": "/absent", "containerPath": "/x"}]}, [])


def test_a_best_effort_mount_without_source_is_left_out() -> None:
    dropped: list[str] = []
    mount: Any = {"hostPath": "/absent", "containerPath": "/x", "required": False}
    assert device.complete({"mounts": [mount]}, dropped) == {"mounts": []}
    assert dropped == ["/absent: No such file or directory"]


def test_a_file_system_of_its_own_has_no_source() -> None:
    edits: Any = {"mounts": [{"hostPath": "tmpfs", "containerPath": "/x", "type": "tmpfs"}]}
    assert device.complete(edits, []) == edits


@pytest.mark.parametrize("kind", ["", "bind", "none"])
def test_a_bind_mount_by_any_name_has_a_source(kind: str) -> None:
    edits: Any = {"mounts": [{"hostPath": "/absent", "containerPath": "/x", "type": kind}]}
    with pytest.raises(ToolkitError, match="SPEC-STALE"):
        device.complete(edits, [])


def test_nothing_given_is_changed_and_all_else_rides_along() -> None:
    edits: Any = {"env": ["A=b"], "deviceNodes": [{"path": "/dev/null"}], "new": 1}
    before = copy.deepcopy(edits)
    given: Any = device.complete(edits, [])
    assert edits == before
    assert (given["env"], given["new"]) == (["A=b"], 1)
