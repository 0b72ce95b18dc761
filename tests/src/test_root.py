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

from gpubind.errors import RootEscapeError
from gpubind.root import Root, contents, reopened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHAIN: trees.Tree = {f"/chain/{step}": f"-> {step + 1}" for step in range(41)} | {
    "/chain/41": "end"
}
TREE: trees.Tree = {
    "/secret": "inside",
    "/usr/lib/x": "library",
    "/lib": "-> usr/lib",
    "/absolute": "-> /usr/lib",
    "/up": "-> ../../../../usr/lib",
    "/out": "-> /proc/self/root/secret",
    "/loop": "-> loop2",
    "/loop2": "-> loop",
    "/dangling": "-> /nowhere/at/all",
    "/a/b/c/back": "-> ../../../secret",
    "/empty": trees.FOLDER,
    **CHAIN,
}


@pytest.fixture(params=[False, True], ids=["openat2", "walking"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    (tmp_path / "secret").write_text("outside")
    path = trees.build(tmp_path / "root", TREE)
    with Root(path, walking=request.param) as made:
        yield made
        assert made.walking is request.param, "openat2 was given up"


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


def test_inner_takes_the_root_off(tmp_path: Path) -> None:
    with Root(f"{tmp_path}/") as root:
        assert root.inner(f"{tmp_path}/lib/x") == "/lib/x"
        assert root.inner(str(tmp_path)) == "/"


def test_a_neighbour_with_the_same_beginning_is_not_inside(tmp_path: Path) -> None:
    with Root(str(tmp_path)) as root, pytest.raises(RootEscapeError, match="is not under"):
        root.inner(f"{tmp_path}-backup/x")


def test_outer_puts_the_root_before(tmp_path: Path) -> None:
    with Root(str(tmp_path)) as root:
        assert root.outer("/lib/x") == f"{tmp_path}/lib/x"
        assert root.outer("/") == str(tmp_path)


def test_the_hosts_root_changes_no_name() -> None:
    with Root("/") as root:
        assert (root.outer("/etc"), root.inner("/etc"), root.path) == ("/etc", "/etc", "/")


@pytest.mark.parametrize("name", ["absent", "file"])
def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=name):
        Root(str(tmp_path / name))


def test_make_folders_makes_what_is_absent(root: Root) -> None:
    os.close(root.make_folders("/var/cache/deep/"))
    assert os.path.isdir(f"{root.path}/var/cache/deep")


def test_make_folders_follows_links_inside(root: Root) -> None:
    os.close(root.make_folders("/absolute/new/one"))
    assert os.path.isdir(f"{root.path}/usr/lib/new/one")


def test_make_folders_of_the_root_gives_the_root(root: Root) -> None:
    fd = root.make_folders("/")
    assert os.path.samestat(os.fstat(fd), os.stat(root.path))
    os.close(fd)


@pytest.mark.parametrize("name", ["/dangling", "/dangling/x", "/secret", "/secret/x", "/loop/x"])
def test_make_folders_refuses_what_stands_in_the_way(root: Root, name: str) -> None:
    before = trees.seen(root.path)
    with pytest.raises(OSError, match=r"\[Errno"):
        root.make_folders(name)
    assert trees.seen(root.path) == before


def test_new_folders_have_their_mode_under_any_umask(root: Root) -> None:
    mask = os.umask(0o077)
    try:
        os.close(root.make_folders("/fresh"))
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(mask)
    assert os.stat(f"{root.path}/fresh").st_mode & 0o777 == 0o755


def test_a_kernel_without_openat2_is_walked(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/x": "found"})

    class Refused(Root):
        __slots__ = ()

        def _walk(self, name: str, flags: int) -> tuple[int, list[str]]:
            assert self.walking
            return super()._walk(name, flags)

    with Refused(str(tmp_path)) as root:
        # O_TMPFILE without O_WRONLY is what the kernel calls invalid, as an unknown call's EINVAL
        with pytest.raises(OSError, match="Invalid"):
            root.open("/x", os.O_TMPFILE)
        assert root.walking
        assert root.read("/x") == b"found"
