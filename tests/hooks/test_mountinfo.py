# SPDX-License-Identifier: Apache-2.0
"""Where the device cgroup is, by what /proc says on several kinds of hosts."""

from __future__ import annotations

import pytest
from gpubind_hooks import mountinfo

from gpubind.errors import ToolkitError

ONE = """\
9:name=systemd:/docker/c0
6:freezer:/docker/c0
5:devices:/docker/c0
4:cpu,cpuacct:/docker/c0
0::/docker/c0
"""
TWO = "0::/system.slice/docker-c0.scope\n"
TMPFS = "31 23 0:28 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw,mode=755\n"
DEVICES = "36 31 0:33 / /sys/fs/cgroup/devices rw,nosuid shared:14 - cgroup cgroup rw,devices\n"
CPU = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
ALONE = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def place(cgroups: str, mounts: str) -> tuple[str, int]:
    found = mountinfo.device_cgroup(cgroups, mounts)
    return found.folder, found.version


@pytest.mark.parametrize(
    ("cgroups", "mounts", "want"),
    [
        (ONE, TMPFS + CPU + DEVICES + UNIFIED, ("/sys/fs/cgroup/devices/docker/c0", 1)),
        (ONE, TMPFS + CPU + UNIFIED, ("/sys/fs/cgroup/unified/docker/c0", 2)),
        (ONE, ALONE, ("/sys/fs/cgroup/docker/c0", 2)),
        (TWO, ALONE, ("/sys/fs/cgroup/system.slice/docker-c0.scope", 2)),
        ("0::/\n", ALONE, ("/sys/fs/cgroup", 2)),
        ("5:devices,memory:/a:b\n", DEVICES, ("/sys/fs/cgroup/devices/a:b", 1)),
    ],
    ids=["hybrid", "devices not mounted", "unified view", "unified", "root", "colon in the name"],
)
def test_the_folder_and_the_version(cgroups: str, mounts: str, want: tuple[str, int]) -> None:
    assert place(cgroups, mounts) == want


@pytest.mark.parametrize(
    ("root", "path", "want"),
    [
        ("/docker", "/docker/c0", "/mnt/c0"),
        ("/docker/c0", "/docker/c0", "/mnt"),
        ("/docker\\040x", "/docker x/c0", "/mnt/c0"),
    ],
)
def test_a_mount_of_a_part_of_the_hierarchy(root: str, path: str, want: str) -> None:
    mounts = f"36 31 0:33 {root} /mnt rw - cgroup cgroup rw,devices\n"
    assert place(f"5:devices:{path}\n", mounts) == (want, 1)


def test_of_two_mounts_the_one_that_holds_the_cgroup_counts() -> None:
    other = "50 31 0:33 /lxc /mnt rw - cgroup cgroup rw,devices\n"
    assert place(ONE, DEVICES + other) == ("/sys/fs/cgroup/devices/docker/c0", 1)


@pytest.mark.parametrize(
    ("cgroups", "mounts"),
    [
        (ONE, TMPFS + CPU),
        (TWO, ""),
        ("", ALONE),
        ("5:devices:/other/c0\n", "36 31 0:33 /oth /mnt rw - cgroup cgroup rw,devices\n"),
        ("5:devices:/../c0\n", DEVICES),
        ("0::/a/../../c0\n", ALONE),
        ("0::c0\n", ALONE),
    ],
    ids=["v1 hidden", "nothing", "no cgroup", "a neighbour", "above", "dots", "relative"],
)
def test_a_cgroup_that_cannot_be_reached_is_an_error(cgroups: str, mounts: str) -> None:
    with pytest.raises(ToolkitError, match=r"the container's device cgroup .*\[CGROUP-ABSENT\]"):
        mountinfo.device_cgroup(cgroups, mounts)


def test_escapes_of_mountinfo_are_undone() -> None:
    assert mountinfo.plain("/a\\040b\\011c\\012d\\134e") == "/a b\tc\nd\\e"


@pytest.mark.parametrize("letter", ["\f", "\v", "\x1c", "\x85", "\u2028"])
def test_no_users_mount_can_break_a_line(letter: str) -> None:
    mounts = f"99 1 0:99 / /mnt/a{letter}b rw - fuse a rw\n" + ALONE
    assert place(f"0::/a{letter}b\n", mounts) == (f"/sys/fs/cgroup/a{letter}b", 2)


@pytest.mark.parametrize("cgroups", ["x", "0:", "\0", "4:devices", "::"])
@pytest.mark.parametrize(
    "mounts", ["x", " - cgroup2", "1 2 3 4 - cgroup2 x rw", "1 2 3 / x - cgroup2 cgroup2 rw"]
)
def test_lines_the_kernel_never_writes_are_no_place(cgroups: str, mounts: str) -> None:
    with pytest.raises(ToolkitError) as caught:
        mountinfo.device_cgroup(f"{cgroups}\n0::/a\n", f"{mounts}\n")
    assert caught.value.identifier == "CGROUP-ABSENT"


@pytest.mark.parametrize("field", ["\\", "\\04", "\\089", "a\\\u0663\u0663\u0663", "\\-12"])
def test_what_is_no_escape_stays_as_it_is(field: str) -> None:
    assert mountinfo.plain(field) == field
