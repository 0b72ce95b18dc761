# SPDX-License-Identifier: Apache-2.0
"""What a decision's edits are for a container that is already being made."""

from __future__ import annotations

from typing import Any

import pytest
from gpubind_hooks import goods

VOID = "NVIDIA_VISIBLE_DEVICES=void"
LIBRARY = {"hostPath": "/d/usr/lib/libcuda.so.1", "containerPath": "/usr/lib/libcuda.so.1"}
NODE = {"path": "/dev/nvidia0", "hostPath": "/d/dev/nvidia0", "type": "c", "major": 195, "minor": 0}


def only(edit: Any) -> goods.Bind:
    (found,) = goods.binds([edit])
    return found


@pytest.mark.parametrize(
    ("options", "forbid", "recursive"),
    [
        ([], 0, False),
        (["ro", "nosuid", "nodev", "bind"], 1 | 2 | 4, False),
        (["rbind", "rprivate", "noexec"], 8, True),
        (["rw", "relatime"], 0, False),
    ],
)
def test_a_mount_forbids_what_its_options_say(
    options: list[str], forbid: int, *, recursive: bool
) -> None:
    bind = only({"mounts": [LIBRARY | {"options": options}]})
    assert (bind.source, bind.target) == ("/d/usr/lib/libcuda.so.1", "/usr/lib/libcuda.so.1")
    assert (bind.forbid, bind.recursive, bind.device) == (forbid, recursive, None)


def test_a_node_is_bound_read_only_and_never_executed() -> None:
    bind = only({"deviceNodes": [NODE]})
    assert (bind.source, bind.target, bind.forbid) == ("/d/dev/nvidia0", "/dev/nvidia0", 1 | 2 | 8)
    assert str(bind.device) == "c 195:0 rwm"


def test_a_node_without_host_path_is_the_host_s_of_that_name() -> None:
    node = {key: value for key, value in NODE.items() if key != "hostPath"}
    assert only({"deviceNodes": [node]}).source == "/dev/nvidia0"


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({}, ["c 195:0 rwm"]),
        ({"permissions": "r"}, ["c 195:0 r"]),
        ({"permissions": "none"}, []),
        ({"type": "b"}, ["b 195:0 rwm"]),
        ({"type": "u"}, ["c 195:0 rwm"]),
    ],
)
def test_the_rules_of_a_node(change: dict[str, str], rules: list[str]) -> None:
    assert [str(rule) for rule in goods.rules([only({"deviceNodes": [NODE | change]})])] == rules


def test_a_rule_comes_once() -> None:
    nodes: Any = [NODE, NODE | {"path": "/dev/other"}]
    assert len(goods.rules(goods.binds([{"deviceNodes": nodes}]))) == 1


def test_folders_come_before_what_lies_in_them_and_the_last_of_a_name_counts() -> None:
    names = ["/usr/lib/x/y", "/usr/lib", "/usr/lib/x"]
    mounts: Any = [{"hostPath": f"/1{name}", "containerPath": name} for name in names]
    again: Any = [{"hostPath": "/2", "containerPath": "/usr/lib/x"}]
    found = goods.binds([{"mounts": mounts}, {"mounts": again}])
    assert [(bind.target, bind.source) for bind in found] == [
        ("/usr/lib", "/1/usr/lib"),
        ("/usr/lib/x", "/2"),
        ("/usr/lib/x/y", "/1/usr/lib/x/y"),
    ]


def test_best_effort_stays_best_effort() -> None:
    assert not only({"mounts": [LIBRARY | {"required": False}]}).required


def test_what_only_a_spec_can_say_is_named() -> None:
    edit: Any = {
        "env": ["A=b", VOID],
        "hooks": [{"hookName": "createContainer", "path": "/opt/x"}],
        "additionalGids": [44, 0],
        "netDevices": [{"hostInterfaceName": "ib0", "name": "ib1"}],
        "intelRdt": {"closID": "x"},
        "deviceNodes": [{"path": "/dev/fifo", "type": "p"}],
        "mounts": [{"hostPath": "tmpfs", "containerPath": "/scratch", "type": "tmpfs"}, LIBRARY],
    }
    assert goods.left_out([edit, {"env": ["A=b"]}], VOID) == [
        "variable A=b",
        "hook /opt/x",
        "group 44",
        "FIFO /dev/fifo",
        "network device ib1",
        "tmpfs at /scratch",
        "class of service (intelRdt)",
    ]
    assert [bind.target for bind in goods.binds([edit])] == ["/usr/lib/libcuda.so.1"]
    assert goods.left_out([{"env": [VOID], "mounts": [LIBRARY]}], VOID) == []  # type: ignore[list-item]
