# SPDX-License-Identifier: Apache-2.0
"""Foreign trees reached through descriptors, by openat2 and by the walk that stands in for it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING

import pytest
import trees

from gpubind.root import Root, contents, reopened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("/usr/lib/x", b"library"),
        ("usr/lib/x", b"library"),
        ("//usr/./lib//x", b"library"),
        ("/lib/x", b"library"),
        ("/absolute/x", b"library"),
        ("/up/x", b"library"),
        ("/../../usr/lib/x", b"library"),
        ("/lib/../../secret", b"inside"),
        ("/../secret", b"inside"),
        ("/a/b/c/back", b"inside"),
        ("/a/b/c/absolute/x", b"library"),
        ("/a/b/c/absolute/../lib/x", b"library"),
        ("/absolute/../../../secret", b"inside"),
        ("/chain/1", b"end"),
    ],
)
def test_every_way_ends_inside(root: Root, name: str, text: bytes) -> None:
    assert root.read(name) == text


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("/absent", errno.ENOENT),
        ("/out", errno.ENOENT),
        ("/dangling", errno.ENOENT),
        ("/loop", errno.ELOOP),
        ("/chain/0", errno.ELOOP),
        ("/secret/x", errno.ENOTDIR),
        ("/" + "x" * 256, errno.ENAMETOOLONG),
        ("/secret\0/x", errno.EINVAL),
        ("/\ud800", errno.EINVAL),
        ("/usr/lib", errno.EINVAL),
    ],
)
def test_what_cannot_be_read_names_itself(root: Root, name: str, number: int) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        root.read(name)
    assert (caught.value.errno, caught.value.filename) == (number, name)


def test_a_name_of_255_bytes_is_read(root: Root) -> None:
    trees.build(root.path, {"/" + "é" * 127: "long"})
    assert root.read("/" + "é" * 127) == b"long"


@pytest.mark.parametrize("kind", [trees.FIFO, trees.SOCKET], ids=["fifo", "socket"])
def test_what_is_no_file_is_refused_at_once(root: Root, kind: trees.Special) -> None:
    trees.build(root.path, {"/odd": kind})
    with pytest.raises(OSError, match="not a regular file"):
        root.read("/odd")


def opened(path: str, act: Callable[[], object]) -> bool:
    """Tell whether `act` opens the file `path`, by inotify(7)."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert libc.inotify_add_watch(watch, os.fsencode(path), 0x20) > 0  # IN_OPEN
    act()
    try:
        return bool(struct.unpack_from("iI", os.read(watch, 4096))[1] & 0x20)
    except BlockingIOError:
        return False
    finally:
        os.close(watch)


def test_a_device_of_the_image_is_not_even_opened(root: Root) -> None:
    trees.build(root.path, {"/odd": trees.FIFO})

    def read() -> None:
        with pytest.raises(OSError, match="not a regular file"):
            root.read("/odd")

    assert not opened(f"{root.path}/odd", read)
    assert opened(f"{root.path}/secret", lambda: root.read("/secret"))


def test_a_huge_file_is_refused_by_its_size(root: Root) -> None:
    trees.build(root.path, {"/huge": trees.sparse(200 << 30)})
    with pytest.raises(OSError, match="larger than 16777216 bytes"):
        root.read("/huge")


def test_a_file_of_just_the_limit_is_read_whole(root: Root) -> None:
    assert root.read("/usr/lib/x", limit=7) == b"library"


def test_a_file_one_byte_above_the_limit_is_refused(root: Root) -> None:
    with pytest.raises(OSError, match="larger than 6 bytes"):
        root.read("/usr/lib/x", limit=6)


def test_a_file_that_claims_to_be_empty_is_bounded_too() -> None:
    fd = os.open("/proc/self/mountinfo", os.O_RDONLY)
    with pytest.raises(OSError, match="larger than 3 bytes"):
        contents(fd, "mountinfo", limit=3)
    os.close(fd)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("/lib/x", "/usr/lib/x"),
        ("/up", "/usr/lib"),
        ("/", "/"),
        ("/..", "/"),
        ("/a/b/c/back", "/secret"),
    ],
)
def test_resolve_gives_the_inner_name_of_the_end(root: Root, name: str, end: str) -> None:
    assert root.resolve(name) == end


@pytest.mark.parametrize("name", ["/absent", "/dangling"])
def test_resolve_of_nothing_is_an_error(root: Root, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        root.resolve(name)


def test_resolve_refuses_a_name_no_file_can_have(root: Root) -> None:
    with pytest.raises(OSError, match="no file can have such a name"):
        root.resolve("/a\0")


def test_stat_follows_and_lstat_does_not(root: Root) -> None:
    assert root.stat("/lib").st_ino == os.stat(f"{root.path}/usr/lib").st_ino
    assert root.lstat("/lib").st_ino == os.lstat(f"{root.path}/lib").st_ino


def test_readlink_gives_the_text(root: Root) -> None:
    assert root.readlink("/lib") == "usr/lib"


def test_readlink_of_a_file_is_an_error(root: Root) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        root.readlink("/secret")


def test_exists_follows_inside(root: Root) -> None:
    assert root.exists("/absolute/x")


@pytest.mark.parametrize("name", ["/absent", "/dangling", "/loop", "/a\0"])
def test_what_leads_nowhere_does_not_exist(root: Root, name: str) -> None:
    assert not root.exists(name)


def test_listdir_is_sorted(root: Root) -> None:
    assert root.listdir("/absolute/..") == ["lib"]
    assert root.listdir("/a/b/../..")[:3] == ["a", "absolute", "chain"]


def test_listdir_of_an_empty_folder_is_empty(root: Root) -> None:
    assert root.listdir("/empty") == []


@pytest.mark.parametrize("name", ["/absent", "/secret"])
def test_listdir_of_what_is_no_folder_is_an_error(root: Root, name: str) -> None:
    with pytest.raises(OSError, match=name):
        root.listdir(name)


def test_a_link_that_must_not_be_followed_is_refused(root: Root) -> None:
    with pytest.raises(OSError, match="symbolic links"):
        root.open("/lib", os.O_RDONLY | os.O_NOFOLLOW)


def test_no_descriptor_is_left_open(root: Root) -> None:
    before = os.listdir("/proc/self/fd")
    for name in ("/lib/x", "/absent", "/loop", "/up", "/chain/0", "/secret/x"):
        root.exists(name)
    assert os.listdir("/proc/self/fd") == before


def test_what_is_opened_is_not_inherited(root: Root) -> None:
    fd = root.open("/lib/x")
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_a_descriptor_is_reopened_whatever_its_name_has_become(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/a": "first", "/b": "second"})
    fd = os.open(tmp_path / "a", os.O_PATH)
    os.rename(tmp_path / "b", tmp_path / "a")
    again = reopened(fd, os.O_RDONLY)
    assert os.read(again, 9) == b"first"
    os.close(again)
    os.close(fd)


@pytest.mark.parametrize("name", ["/etc", "/usr/lib", "/"])
def test_the_hosts_own_folder_is_not_given_to_be_changed(name: str) -> None:
    with Root("/") as root, pytest.raises(OSError, match="is the host's own folder") as caught:
        root.make_folders(name, own=True)
    assert caught.value.errno == errno.EXDEV


def test_a_folder_of_a_name_the_host_has_is_the_containers(host: Path) -> None:
    with Root(str(host / "root")) as root:
        for _ in range(2):
            os.close(root.make_folders("/etc/ld.so.conf.d", own=True))
    assert (host / "root/etc/ld.so.conf.d").is_dir()
