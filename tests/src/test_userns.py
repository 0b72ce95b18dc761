# SPDX-License-Identifier: Apache-2.0
"""User namespaces: who is in one, and what nodes, groups and trust become there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import trees

from gpubind import edits, userns
from gpubind.userns import Space

if TYPE_CHECKING:
    from pathlib import Path

HOST, OWN = Space(), Space(own=True)
USER, BOTH = Space(rootless=True), Space(own=True, rootless=True)
NODE: Any = {"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0}
MOUNT = {
    "destination": "/dev/nvidia0",
    "source": "/dev/nvidia0",
    "type": "bind",
    "options": ["bind", "ro", "nosuid", "noexec"],
}
RULE = {"allow": True, "type": "c", "major": 195, "minor": 0, "access": "rwm"}
DENY = {"allow": False, "access": "rwm"}


@pytest.mark.parametrize(
    ("text", "initial"),
    [
        ("         0          0 4294967295\n", True),
        ("0 0 4294967295", True),
        ("         0       1000          1\n         1     100000      65536\n", False),
        ("0 0 1\n", False),
        ("0 0 4294967294\n1 1 1\n", False),
        ("", False),
        ("damaged", False),
    ],
)
def test_a_map_is_the_hosts_where_every_user_has_his_own_number(text: str, initial: bool) -> None:  # noqa: FBT001 - a column of the table
    assert userns.is_initial(text) is initial


@pytest.mark.parametrize(
    ("content", "inside"), [("0 0 4294967295\n", False), ("0 1000 1\n", True), ("\xff", True)]
)
def test_a_map_is_read_from_its_file(tmp_path: Path, content: str, inside: bool) -> None:  # noqa: FBT001 - a column of the table
    trees.build(tmp_path, {"/uid_map": content})
    assert userns.inside(f"{tmp_path}/uid_map") is inside


def test_without_proc_nobody_is_said_to_be_inside(tmp_path: Path) -> None:
    assert not userns.inside(f"{tmp_path}/absent")


@pytest.mark.parametrize(
    ("linux", "own"),
    [
        (None, False),
        ({}, False),
        ({"namespaces": None}, False),
        ({"namespaces": [{"type": "pid"}, {"path": "/x"}]}, False),
        ({"uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}]}, False),
        ({"namespaces": [{"type": "pid"}, {"type": "user"}]}, True),
        ({"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]}, True),
    ],
)
def test_a_container_has_a_user_namespace_where_it_is_listed(linux: Any, own: bool) -> None:  # noqa: FBT001 - a column of the table
    assert userns.is_own({"linux": linux}) is own


@pytest.mark.parametrize(
    ("space", "bind", "rules"),
    [(HOST, False, True), (OWN, True, True), (USER, True, False), (BOTH, True, False)],
)
def test_nodes_are_bound_in_any_user_namespace_and_ruled_by_root_alone(
    space: Space,
    bind: bool,  # noqa: FBT001 - a column of the table
    rules: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert (space.bind, space.rules) == (bind, rules)


def applied(spec: Any, space: Space, *nodes: Any) -> Any:
    wanted: Any = {"deviceNodes": list(nodes)}
    return edits.apply(spec, [wanted], bind=space.bind, rules=space.rules)


def test_root_binds_a_node_and_allows_it() -> None:
    spec = {"linux": {"resources": {"devices": [DENY]}}}
    assert applied(spec, OWN, NODE) == {
        "mounts": [MOUNT],
        "linux": {"resources": {"devices": [DENY, RULE]}},
    }


def test_a_rootless_caller_only_binds_it() -> None:
    spec = {"linux": {"resources": {"devices": [DENY]}}}
    assert applied(spec, USER, NODE) == {**spec, "mounts": [MOUNT]}
    assert applied({}, USER, NODE) == {"mounts": [MOUNT]}


def test_a_bound_node_comes_from_its_host_path() -> None:
    [mount] = applied({}, USER, {**NODE, "hostPath": "/root/dev/nvidia0"})["mounts"]
    assert mount == {**MOUNT, "source": "/root/dev/nvidia0"}


def test_a_bound_node_takes_the_place_of_a_node_and_of_a_mount() -> None:
    other = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}
    spec = {
        "linux": {"devices": [NODE, other]},
        "mounts": [{"destination": "/dev/nvidia0", "source": "/old"}],
    }
    assert applied(spec, USER, NODE) == {"linux": {"devices": [other]}, "mounts": [MOUNT]}
    assert applied({"linux": {"devices": [NODE]}}, USER, NODE)["linux"]["devices"] == []


def test_a_bound_node_comes_after_the_mounts_above_it() -> None:
    cap = {**NODE, "path": "/dev/nvidia-caps/nvidia-cap1"}
    spec = {"mounts": [{"destination": "/dev", "source": "tmpfs"}]}
    places = [mount["destination"] for mount in applied(spec, USER, cap, NODE)["mounts"]]
    assert places == ["/dev", "/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap1"]


def test_a_pipe_is_made_in_a_user_namespace_too() -> None:
    pipe = {"path": "/run/pipe", "type": "p", "minor": 0}
    given = applied({}, USER, pipe, NODE)
    assert given["linux"] == {"devices": [{"path": "/run/pipe", "type": "p"}]}
    assert given["mounts"] == [MOUNT]


@pytest.mark.parametrize("space", [OWN, USER])
def test_a_second_injection_leaves_no_duplicates(space: Space) -> None:
    once = applied({"linux": {"resources": {"devices": [DENY]}}}, space, NODE)
    assert applied(once, space, NODE) == once


MAPPINGS = [
    {"containerID": 0, "hostID": 100000, "size": 44},
    {"containerID": 44, "hostID": 44, "size": 1},
    {"containerID": 45, "hostID": 100045, "size": 10},
]


@pytest.mark.parametrize(
    ("space", "mappings", "gids", "left"),
    [
        (HOST, [], [44, 109], []),
        (OWN, MAPPINGS, [44], [109]),
        (OWN, [{"containerID": 5, "hostID": 100, "size": 10}], [14], [44]),
        (OWN, None, [], [44, 109]),
        (OWN, [{"containerID": "0", "hostID": 0, "size": 99}, {}], [], [44, 109]),
        (USER, MAPPINGS, [], [44, 109]),
    ],
)
def test_a_group_is_given_where_the_mapping_has_it(
    space: Space, mappings: Any, gids: list[int], left: list[int]
) -> None:
    dropped: list[str] = []
    spec: Any = {"linux": {"gidMappings": mappings}}
    given = userns.with_groups({"additionalGids": [44, 109]}, spec, space, dropped)
    assert [line.split()[1] for line in dropped] == [str(gid) for gid in left]
    assert set(given["additionalGids"]) >= set(gids)
    assert len(given["additionalGids"]) + len(left) == 2


def test_edits_without_groups_stay_as_they_are() -> None:
    wanted: Any = {"env": ["A=b"]}
    assert userns.with_groups(wanted, {}, USER, []) is wanted


class Folders(dict[str, tuple[int, int]]):
    """Folders as owner and mode; what is not here is the overflow user's, 0755."""

    def __call__(self, path: str) -> os.stat_result:
        if path not in self and "absent" in path:
            raise FileNotFoundError(path)
        owner, mode = self.get(path, (65534, 0o755))
        return os.stat_result((mode | 0o40000, 1, 1, 1, owner, owner, 0, 0, 0, 0))


ME = os.geteuid()


@pytest.mark.parametrize(
    ("folders", "closed"),
    [
        ({}, True),
        ({"/run": (ME, 0o700)}, True),
        ({"/run": (65534, 0o1777)}, False),
        ({"/run/gpubind": (65534, 0o775)}, False),
        ({"/": (65534, 0o777)}, False),
        ({"/": (ME + 1, 0o755)}, False),
        ({"/run": (ME + 1, 0o755)}, False),
    ],
)
def test_a_file_is_the_hosts_where_nobody_else_can_write_above_it(
    folders: dict[str, tuple[int, int]],
    closed: bool,  # noqa: FBT001 - a column of the table
) -> None:
    found = userns.is_closed("/run/gpubind/compiled.json", 65534, Folders(folders))
    assert found is closed


@pytest.mark.parametrize("path", ["compiled.json", "", "/absent/compiled.json"])
def test_a_file_that_can_not_be_followed_to_the_root_is_not_the_hosts(path: str) -> None:
    assert not userns.is_closed(path, 65534, Folders())


def test_outside_of_a_user_namespace_nobody_else_is_root() -> None:
    if userns.inside():
        pytest.skip("this runs in a user namespace")
    assert not userns.is_hosts("/etc/hostname", os.stat("/").st_uid)
