# SPDX-License-Identifier: Apache-2.0
"""Container edits applied to an OCI spec, as CDI's SPEC.md says."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from gpubind import edits

if TYPE_CHECKING:
    from gpubind.oci.types import Edits, Mount, Node, Spec

NODE: Node = {"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0}
RULE = {"allow": True, "type": "c", "major": 195, "minor": 0, "access": "rwm"}
DENY = {"allow": False, "access": "rwm"}
MOUNT: Mount = {"hostPath": "/h", "containerPath": "/a/b", "options": ["ro"], "type": "bind"}
HOOK: Any = {"hookName": "createContainer", "path": "/h", "args": ["h"], "env": ["A=b"]}
EVERYTHING: Edits = {
    "env": ["A=new"],
    "deviceNodes": [NODE],
    "mounts": [MOUNT],
    "hooks": [HOOK],
    "additionalGids": [44],
    "netDevices": [{"hostInterfaceName": "eth1", "name": "net0"}],
    "intelRdt": {"closID": "x", "schemata": ["L3:0=1"]},
}
FULL: Any = {
    "ociVersion": "1.2.0",
    "new": {"x": [1]},
    "process": {"env": ["A=old"], "user": {"uid": 0, "umask": 18}, "newer": True},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "unknown": 1}],
    "hooks": {"prestart": [{"path": "/old"}], "newest": []},
    "linux": {
        "devices": [{"path": "/dev/fuse", "type": "c", "unknown": 2}],
        "resources": {"devices": [DENY], "memory": {"limit": 5}},
        "netDevices": {"eth0": {"name": "eth0"}},
        "seccomp": {},
    },
}


def applied(spec: Any, *wanted: Edits) -> Any:
    return edits.apply(spec, wanted)


def test_everything_is_put_in_its_place_and_all_else_rides_along() -> None:
    assert applied(FULL, EVERYTHING) == {
        **FULL,
        "process": {
            "env": ["A=new"],
            "user": {"uid": 0, "umask": 18, "additionalGids": [44]},
            "newer": True,
        },
        "mounts": [
            *FULL["mounts"],
            {"destination": "/a/b", "source": "/h", "type": "bind", "options": ["ro"]},
        ],
        "hooks": {
            **FULL["hooks"],
            "createContainer": [{"path": "/h", "args": ["h"], "env": ["A=b"]}],
        },
        "linux": {
            "devices": [
                *FULL["linux"]["devices"],
                {"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0},
            ],
            "resources": {"devices": [DENY, RULE], "memory": {"limit": 5}},
            "netDevices": {"eth0": {"name": "eth0"}, "eth1": {"name": "net0"}},
            "intelRdt": {"closID": "x", "schemata": ["L3:0=1"]},
            "seccomp": {},
        },
    }


def test_an_empty_spec_gets_what_it_needs() -> None:
    given = applied({}, EVERYTHING)
    assert set(given) == {"process", "mounts", "hooks", "linux"}
    assert (
        applied({"process": None, "mounts": None, "hooks": None, "linux": None}, EVERYTHING)
        == given
    )


@pytest.mark.parametrize("spec", [FULL, {}])
def test_nothing_given_is_changed(spec: Spec) -> None:
    before = copy.deepcopy((spec, EVERYTHING))
    given = applied(spec, EVERYTHING)
    for part in (given["mounts"], given["linux"]["devices"], given["hooks"]["createContainer"]):
        part.append("scribble")
    given["process"]["env"].append("scribble")
    assert (spec, EVERYTHING) == before


@pytest.mark.parametrize("wanted", [(), ({},), ({"env": [], "mounts": [], "deviceNodes": []},)])
def test_edits_without_content_change_nothing(wanted: tuple[Edits, ...]) -> None:
    assert applied(FULL, *wanted) == FULL
    assert applied({}, *wanted) == {}


def test_a_second_injection_leaves_no_duplicates() -> None:
    once = applied(FULL, EVERYTHING)
    assert applied(once, EVERYTHING) == once
    assert applied(FULL, EVERYTHING, EVERYTHING) == once


@pytest.mark.parametrize(
    ("env", "new", "after"),
    [
        (["A=1", "B=2"], ["A=3"], ["B=2", "A=3"]),
        (["A=1", "A=2"], ["A=3"], ["A=3"]),
        ([], ["A=1", "A=2"], ["A=2"]),
        (["A", "AB=1"], ["A=1"], ["AB=1", "A=1"]),
        (["A=1"], [], ["A=1"]),
        (["A=1"], ["A"], ["A"]),
        (["A=b=c"], ["A=d=e"], ["A=d=e"]),
    ],
)
def test_a_variable_replaces_all_of_its_name(
    env: list[str], new: list[str], after: list[str]
) -> None:
    assert edits.variables(env, new) == after


def test_the_edits_of_the_last_spec_win() -> None:
    given = applied({}, {"env": ["A=1"]}, {"env": ["A=2"]})
    assert given == {"process": {"env": ["A=2"]}}


def test_a_node_replaces_the_one_at_its_path() -> None:
    spec = {"linux": {"devices": [{"path": "/dev/nvidia0", "type": "c", "major": 1, "minor": 3}]}}
    devices = applied(spec, {"deviceNodes": [NODE]})["linux"]["devices"]
    assert devices == [{"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0}]


def test_a_rule_after_a_denial_of_all_is_the_last_word() -> None:
    spec = {"linux": {"resources": {"devices": [RULE, DENY]}}}
    rules = applied(spec, {"deviceNodes": [NODE]})["linux"]["resources"]["devices"]
    assert rules == [DENY, RULE]


def test_two_nodes_of_one_device_need_one_rule() -> None:
    other: Node = {**NODE, "path": "/dev/other"}
    given = applied({}, {"deviceNodes": [NODE, other]})["linux"]
    assert [node["path"] for node in given["devices"]] == ["/dev/nvidia0", "/dev/other"]
    assert given["resources"]["devices"] == [RULE]


@pytest.mark.parametrize(
    ("node", "rules"),
    [
        ({"type": "c", "permissions": "rw"}, [{**RULE, "access": "rw"}]),
        ({"type": "b", "permissions": ""}, [{**RULE, "type": "b"}]),
        ({"type": "u"}, [RULE]),
        ({"type": "p"}, []),
        ({"type": "c", "permissions": "none"}, []),
    ],
)
def test_a_nodes_rule_has_its_kind_and_permissions(node: Any, rules: list[object]) -> None:
    given = applied({}, {"deviceNodes": [{**NODE, **node}]})["linux"]["resources"]["devices"]
    assert given == rules


def test_a_pipe_has_no_numbers() -> None:
    devices = applied({}, {"deviceNodes": [{**NODE, "type": "p"}]})["linux"]["devices"]
    assert devices == [{"path": "/dev/nvidia0", "type": "p"}]


@pytest.mark.parametrize(
    ("user", "node", "owner"),
    [
        ({"uid": 5, "gid": 6}, {}, {"uid": 5, "gid": 6}),
        ({"uid": 0, "gid": 0}, {}, {}),
        ({"uid": 5, "gid": 6}, {"uid": 0, "gid": 0}, {"uid": 0, "gid": 0}),
        ({}, {"uid": 7, "gid": 8, "fileMode": 438}, {"uid": 7, "gid": 8, "fileMode": 438}),
        (None, {}, {}),
    ],
)
def test_a_node_belongs_to_the_process_unless_it_says_otherwise(
    user: object, node: Any, owner: dict[str, int]
) -> None:
    devices = applied({"process": {"user": user}}, {"deviceNodes": [{**NODE, **node}]})
    plain = {"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0}
    assert devices["linux"]["devices"] == [{**plain, **owner}]


def test_mounts_are_sorted_by_depth_and_else_stay_in_order() -> None:
    spec = {"mounts": [{"destination": place} for place in ("/x/y", "/proc", "/", "/dev/shm/a")]}
    new: list[Mount] = [
        {"hostPath": "/h", "containerPath": place} for place in ("/x/z", "/b", "/x//w/")
    ]
    places = [mount["destination"] for mount in applied(spec, {"mounts": new})["mounts"]]
    assert places == ["/", "/proc", "/b", "/x/y", "/x/z", "/x//w/", "/dev/shm/a"]


def test_a_mount_replaces_those_at_its_place_and_the_last_wins() -> None:
    spec = {"mounts": [{"destination": "/a/b", "source": "old"}] * 2}
    new: list[Mount] = [MOUNT, {"hostPath": "/last", "containerPath": "/a/b"}]
    assert applied(spec, {"mounts": new})["mounts"] == [{"destination": "/a/b", "source": "/last"}]


def test_what_a_sidecar_says_does_not_reach_the_spec() -> None:
    words: Any = {"capabilities": ["compute"], "required": True, "why": "x"}
    given = applied({}, {"mounts": [{**MOUNT, **words}], "deviceNodes": [{**NODE, **words}]})
    assert "capabilities" not in str(given)
    assert "why" not in str(given)


def test_a_hook_comes_after_those_that_are_there() -> None:
    spec = {"hooks": {"createContainer": [{"path": "/first"}]}}
    hook: Any = {"hookName": "createContainer", "path": "/h", "timeout": 5}
    given = applied(spec, {"hooks": [hook]})["hooks"]["createContainer"]
    assert given == [{"path": "/first"}, {"path": "/h", "timeout": 5}]


@pytest.mark.parametrize(
    ("before", "gids", "after"),
    [(None, [5, 6], [5, 6]), ([6, 7], [5, 6], [6, 7, 5]), ([7], [0], [7]), ([7], [7, 7], [7])],
)
def test_groups_are_added_once_and_never_roots(
    before: object, gids: list[int], after: list[int]
) -> None:
    spec = {"process": {"user": {"additionalGids": before}}}
    assert applied(spec, {"additionalGids": gids})["process"]["user"]["additionalGids"] == after
