# SPDX-License-Identifier: Apache-2.0
"""Device programs on a scratch cgroup2 folder: what a process in there may open."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from typing import TYPE_CHECKING

import pytest
from gpubind_hooks import cgroup
from gpubind_hooks.goods import Rule
from system import cgroups

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.root]

F_ALLOW_OVERRIDE = 1
# As runc begins and ends: type, access and numbers are read, /dev/null is allowed, all else denied.
ALLOWS_NULL = b"".join(
    struct.pack("<BBhi", *words)
    for words in (
        (0x61, 0x12, 0, 0),  # r2 = access and type
        (0x54, 0x02, 0, 0xFFFF),  # w2 &= 0xffff
        (0x61, 0x13, 0, 0),  # r3 = access and type
        (0x74, 0x03, 0, 16),  # w3 >>= 16
        (0x61, 0x14, 4, 0),  # r4 = major
        (0x61, 0x15, 8, 0),  # r5 = minor
        (0x55, 0x02, 4, 2),  # is it a character device
        (0x55, 0x04, 3, 1),  # 1
        (0x55, 0x05, 2, 3),  # 3
        (0xB7, 0x00, 0, 1),
        (0x95, 0x00, 0, 0),
        (0xB7, 0x00, 0, 0),
        (0x95, 0x00, 0, 0),
    )
)
ALLOWS_ALL = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)


@pytest.fixture
def folder() -> Iterator[str]:
    """A new cgroup2 folder below this process's own."""
    (own,) = [one for one in cgroups.hierarchies() if one.fstype == "cgroup2"]
    made = f"{own.folder}/gpubind-prestart-{os.getpid()}"
    os.mkdir(made)
    yield made
    assert cgroups.remove([made]) == []


@pytest.fixture
def nodes(tmp_path: Path) -> str:
    """A folder with nodes: 0 to 3 are devices 195:0 to 195:3 that no driver serves, and null."""
    for minor in range(4):
        os.mknod(tmp_path / str(minor), 0o600 | 0o020000, os.makedev(195, minor))
    os.mknod(tmp_path / "null", 0o600 | 0o020000, os.makedev(1, 3))
    return os.fspath(tmp_path)


def attach(folder: str, code: bytes, flags: int = cgroup.F_ALLOW_MULTI) -> None:
    fd = os.open(folder, os.O_RDONLY)
    program = cgroup.load(code)
    cgroup.attach(fd, program, flags)
    os.close(program)
    os.close(fd)


def programs(folder: str) -> tuple[list[int], int]:
    fd = os.open(folder, os.O_RDONLY)
    try:
        return cgroup.attached(fd)
    finally:
        os.close(fd)


def tried(folder: str, *attempts: tuple[str, int]) -> list[str]:
    """Open names with flags, or with -1 make a node of device 195:0, by a process in the folder."""
    inside, outside = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
                file.write("0")
            os.write(outside, " ".join(_outcome(*attempt) for attempt in attempts).encode())
        os._exit(0)
    os.close(outside)
    said = os.read(inside, 4096).decode().split()
    os.close(inside)
    os.waitpid(child, 0)
    return said


def _outcome(name: str, flags: int) -> str:
    try:
        if flags < 0:
            os.mknod(name, 0o600 | 0o020000, os.makedev(195, 0))
        else:
            os.close(os.open(name, flags))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def opened(folder: str, nodes: str, flags: int = os.O_RDWR) -> list[str]:
    return tried(folder, *((f"{nodes}/{name}", flags) for name in ("0", "1", "2", "3", "null")))


def test_devices_are_allowed_besides_what_the_program_allows(folder: str, nodes: str) -> None:
    attach(folder, ALLOWS_NULL)
    assert opened(folder, nodes) == ["EPERM", "EPERM", "EPERM", "EPERM", "done"]
    rules = [Rule("c", 195, 0, "rwm"), Rule("c", 195, 2, "rw")]
    assert cgroup.extend(folder, rules) == 1
    assert opened(folder, nodes) == ["ENXIO", "EPERM", "ENXIO", "EPERM", "done"]
    assert len(programs(folder)[0]) == 1


def test_reading_allowed_is_not_writing_nor_making(folder: str, nodes: str) -> None:
    attach(folder, ALLOWS_NULL)
    cgroup.extend(folder, [Rule("c", 195, 0, "r")])
    new = f"{nodes}/new"
    attempts = ((f"{nodes}/0", os.O_RDONLY), (f"{nodes}/0", os.O_RDWR), (new, -1))
    assert tried(folder, *attempts) == ["ENXIO", "EPERM", "EPERM"]
    cgroup.extend(folder, [Rule("c", 195, 0, "m")])
    assert tried(folder, (new, -1)) == ["done"]


def test_a_second_time_changes_nothing(folder: str) -> None:
    attach(folder, ALLOWS_NULL)
    rules = [Rule("c", 195, 0, "rwm")]
    cgroup.extend(folder, rules)
    before = programs(folder)
    assert cgroup.extend(folder, rules) == 1
    assert programs(folder) == before


def test_every_attached_program_is_extended(folder: str, nodes: str) -> None:
    for code in (ALLOWS_NULL, ALLOWS_NULL, ALLOWS_ALL):
        attach(folder, code)
    assert cgroup.extend(folder, [Rule("c", 195, 1, "rwm")]) == 3
    assert opened(folder, nodes) == ["EPERM", "ENXIO", "EPERM", "EPERM", "done"]
    assert (len(programs(folder)[0]), programs(folder)[1]) == (3, cgroup.F_ALLOW_MULTI)


@pytest.mark.parametrize("flags", [0, F_ALLOW_OVERRIDE])
def test_a_program_that_stands_alone_stays_alone(folder: str, nodes: str, flags: int) -> None:
    attach(folder, ALLOWS_NULL, flags)
    cgroup.extend(folder, [Rule("c", 195, 3, "rwm")])
    assert opened(folder, nodes) == ["EPERM", "EPERM", "EPERM", "ENXIO", "done"]
    assert (len(programs(folder)[0]), programs(folder)[1]) == (1, flags)


def test_where_nothing_is_denied_nothing_is_done(folder: str, nodes: str) -> None:
    assert cgroup.extend(folder, [Rule("c", 195, 0, "rwm")]) == 0
    assert (programs(folder)[0], opened(folder, nodes)[0]) == ([], "ENXIO")


def test_a_kernel_without_replacing_gets_two_steps(folder: str, nodes: str) -> None:
    attach(folder, ALLOWS_NULL)
    fd = os.open(folder, os.O_RDONLY)
    number = programs(folder)[0][0]
    old, new = cgroup.by_number(number), cgroup.load(ALLOWS_ALL)
    cgroup.replace_in_steps(fd, old, new, cgroup.F_ALLOW_MULTI)
    for each in (fd, old, new):
        os.close(each)
    assert (len(programs(folder)[0]), programs(folder)[0] == [number]) == (1, False)
    assert opened(folder, nodes)[0] == "ENXIO"


def test_a_folder_that_is_no_cgroup_is_told(tmp_path: Path) -> None:
    mounts = f"41 31 0:38 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    with pytest.raises(ToolkitError, match=r"cannot be allowed: .*\[CGROUP-DENIED\]"):
        cgroup.allow("0::/\n", mounts, [Rule("c", 1, 3, "rwm")])


def test_version_1_is_told_in_words(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "devices.allow")
    reader = os.open(tmp_path / "devices.allow", os.O_RDONLY | os.O_NONBLOCK)
    mounts = f"36 31 0:33 /docker {tmp_path} rw - cgroup cgroup rw,devices\n"
    rules = [Rule("c", 195, 0, "rwm"), Rule("b", 8, 0, "r")]
    line = cgroup.allow("5:devices:/docker\n", mounts, rules)
    assert os.read(reader, 100) == b"c 195:0 rwmb 8:0 r"
    assert line == f"allow 2 devices in {tmp_path}"
    os.close(reader)
