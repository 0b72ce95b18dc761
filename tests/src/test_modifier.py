# SPDX-License-Identifier: Apache-2.0
"""From a request and the compiled specs to edits and a plan."""

from __future__ import annotations

import copy
from typing import Any

import plans
import pytest
import specs

from gpubind import modifier, plan
from gpubind.config import Config

GRAPHICS = {"capabilities": ["graphics"], "required": True, "why": "x"}


def test_common_edits_come_before_the_devices_in_request_order() -> None:
    found = modifier.edits(specs.spec(), ["GPU-AbC", "0"], ["compute"])
    assert [list(edits) for edits in found] == [["env", "mounts"], ["deviceNodes"], ["deviceNodes"]]
    assert [edits["deviceNodes"][0]["path"] for edits in found[1:]] == [
        "/dev/nvidia1",
        "/dev/nvidia0",
    ]


def test_what_no_capability_lets_in_is_left_out() -> None:
    assert modifier.edits(specs.spec(), [], ["video"])[0]["mounts"] == []


def test_without_a_device_there_are_the_common_edits() -> None:
    assert len(modifier.edits(specs.spec(), [], ["compute"])) == 1


def operations(capabilities: list[str], devices: list[str], **changes: Any) -> list[str]:
    found = modifier.operations(specs.spec(**changes), devices, capabilities)
    return [str(operation) for operation in found]


def test_links_and_libraries_are_planned() -> None:
    assert operations(["compute"], ["0"]) == [
        "link /usr/lib/gpu/libcuda.so -> libcuda.so.1",
        "enter 1 libraries of /usr/lib/gpu into /etc/ld.so.cache",
    ]


EVERY = ("enable-cuda-compat", "update-application-profile", "disable-device-node-modification")
FACTS = {"compat": True, "modifiable": True}
LINE = {
    "create-symlinks": "link",
    "enable-cuda-compat": "prefer",
    "update-ldcache": "enter",
    "update-application-profile": "write",
    "disable-device-node-modification": "forbid",
}


def planned(*disabled: str, **facts: Any) -> list[str]:
    known = modifier.Facts(**(facts or FACTS), disabled=disabled)
    spec = specs.spec(operations=list(EVERY))
    found = modifier.operations(spec, ["0"], ["compute", "graphics"], known)
    return [str(operation).split()[0] for operation in found]


def test_the_images_cuda_is_looked_at_before_the_cache_is_written() -> None:
    assert planned() == list(LINE.values())


@pytest.mark.parametrize("name", LINE)
def test_each_kind_of_operation_can_be_switched_off(name: str) -> None:
    left = [word for hook, word in LINE.items() if hook != name]
    if name == "update-ldcache":
        left.remove("prefer")  # it is told to the loader through the cache
    assert planned(name) == left


def test_what_neither_image_nor_driver_calls_for_is_not_planned() -> None:
    assert planned(compat=False) == ["link", "enter", "write"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, ()),
        ({"gpubind.disable-hooks": ["chmod", "update-ldcache"]}, ("chmod", "update-ldcache")),
        ({"features.disable-cuda-compat-lib-hook": True}, ("enable-cuda-compat",)),
        (
            {"nvidia-container-runtime.modes.legacy.cuda-compat-mode": "disabled"},
            ("enable-cuda-compat",),
        ),
    ],
)
def test_the_operators_keys_switch_hooks_off(
    values: dict[str, Any], names: tuple[str, ...]
) -> None:
    assert modifier.disabled(Config(values, "config.toml")) == names


@pytest.mark.parametrize(
    ("rules", "denied"),
    [
        ([], False),
        ([{"allow": False, "access": "rwm"}], True),
        ([{"allow": False, "type": "a", "major": -1, "minor": -1, "access": "rwm"}], True),
        ([{"allow": False, "access": "rwm"}, {"allow": True, "access": "rwm"}], False),
        ([{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1}], True),
        ([{"allow": False, "type": "c", "major": 195, "access": "rwm"}], False),
    ],
)
def test_the_last_rule_for_all_devices_says_whether_they_are_denied(
    rules: list[dict[str, Any]], *, denied: bool
) -> None:
    assert modifier.denies_devices({"linux": {"resources": {"devices": rules}}}) is denied


@pytest.mark.parametrize(
    ("numbers", "minors"), [({"major": 195}, "0"), ({"major": 195, "minor": 3}, "3"), ({}, "0")]
)
def test_the_profile_is_for_the_minor_numbers_asked_for(
    numbers: dict[str, int], minors: str
) -> None:
    nodes = [{"path": name, **numbers} for name in ("/dev/nvidia0", "/dev/nvidia-x", "/dev/dri/1")]
    given = specs.spec(
        operations=["update-application-profile"], devices={"0": {"deviceNodes": nodes}}
    )
    [made] = modifier.operations(given, ["0"], ["graphics"])
    assert str(made) == f"write the application profile for GPUs {minors}"


def test_links_and_libraries_of_other_capabilities_are_not() -> None:
    assert operations(["video"], ["0"]) == []


@pytest.mark.parametrize(("devices", "made"), [(["0"], 1), (["1"], 0), ([], 0), (["1", "0"], 1)])
def test_a_link_of_a_device_is_made_for_that_device(devices: list[str], made: int) -> None:
    link = {"link": "/dev/dri/by-path/x", "target": "../card0", "devices": ["0"], **specs.COMPUTE}
    assert len(operations(["compute"], devices, links=[link], libraries=[])) == made


def test_only_folders_with_a_library_are_searched_and_32_bit_ones_apart() -> None:
    libraries = [
        {"path": "/wide/a.so.1", "arch": "x86-64", "capabilities": []},
        {"path": "/narrow/b.so.1", "arch": "i386", "capabilities": ["compute"]},
        {"path": "/other/c.so.1", "arch": "aarch64", "capabilities": ["graphics"]},
    ]
    found = modifier.operations(
        specs.spec(libraries=libraries, folders=["/other", "/narrow", "/wide"], links=[]),
        ["0"],
        ["compute"],
    )
    assert isinstance(found[0], plan.LdCache)
    assert found[0].folders == ("/narrow", "/wide")
    assert (found[0].libraries, found[0].libraries32) == (("/wide/a.so.1",), ("/narrow/b.so.1",))


@pytest.mark.parametrize(
    ("mounts", "later"),
    [
        (["/proc", "/dev", "/sys"], []),
        (["/usr"], ["Link"]),
        (["/usr/lib/gpu/"], ["Link"]),
        (["/usr/lib/gpu/libcuda.so"], ["Link"]),
        (["/usr/lib/gpu/libcuda.so.1"], []),
        (["/usr/lib/gp"], []),
        (["usr"], ["Link"]),
        (["/etc"], ["LdCache"]),
        (["/etc/ld.so.conf.d"], ["LdCache"]),
        (["/etc/resolv.conf", "/etc/hosts"], []),
        (["/etc", "/usr"], ["Link", "LdCache"]),
        (["/", ""], []),
    ],
)
def test_what_a_mount_would_hide_is_done_by_a_hook(mounts: list[str], later: list[str]) -> None:
    wanted: list[plan.Operation] = [plans.LINK, plans.CACHE]
    found = modifier.split({"mounts": [{"destination": place} for place in mounts]}, wanted)
    assert [type(operation).__name__ for operation in found[1]] == later
    assert sorted(map(str, found[0] + found[1])) == sorted(map(str, wanted))


def test_without_mounts_all_is_done_at_once() -> None:
    assert modifier.split({}, [plans.LINK]) == ([plans.LINK], [])
    assert modifier.split({"mounts": [{}]}, [plans.LINK]) == ([plans.LINK], [])


ENTRY = {
    "path": "/usr/bin/gpubind-cdi-hook",
    "args": ["gpubind-cdi-hook", "--root", "/b/rootfs", "create-symlinks"],
    "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
}
HOOK = ("/usr/bin/gpubind-cdi-hook", "/b/rootfs", ["create-symlinks"])


@pytest.mark.parametrize("hooks", [None, {}, {"createContainer": None}])
def test_our_hook_has_an_environment_of_its_own(hooks: Any) -> None:
    given = modifier.with_hook({"hooks": hooks}, *HOOK)
    assert given == {"hooks": {"createContainer": [ENTRY]}}


def test_our_hook_comes_last_and_once() -> None:
    spec: Any = {"hooks": {"createContainer": [{"path": "/x"}], "prestart": []}}
    before = copy.deepcopy(spec)
    once: Any = modifier.with_hook(spec, *HOOK)
    assert once["hooks"] == {"createContainer": [{"path": "/x"}, ENTRY], "prestart": []}
    assert modifier.with_hook(once, *HOOK) == once
    assert spec == before
