# SPDX-License-Identifier: Apache-2.0
"""One open folder changed: whole files by rename, nothing followed, nothing left behind."""

from __future__ import annotations

import os
import resource
import stat
from typing import TYPE_CHECKING

import pytest
import trees

from gpubind import folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "victim").write_text("of the host")
    (tmp_path / "victim").chmod(0o600)
    fd = os.open(trees.build(tmp_path / "root"), os.O_PATH)
    yield fd
    os.close(fd)
    assert (tmp_path / "victim").read_text() == "of the host"
    assert not (tmp_path / "created").exists()


def names(parent: int) -> list[str]:
    return sorted(os.listdir(f"/proc/self/fd/{parent}"))


def status(parent: int, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def text(parent: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def test_a_new_file_is_whole_and_has_its_mode(parent: int) -> None:
    folder.write(parent, "a", b"x" * 100_000)
    assert text(parent, "a") == b"x" * 100_000
    assert stat.S_IMODE(status(parent, "a").st_mode) == 0o644


def test_a_new_files_mode_stands_against_the_umask(parent: int) -> None:
    mask = os.umask(0o077)
    folder.write(parent, "a", b"", 0o755)
    os.umask(mask)
    assert stat.S_IMODE(status(parent, "a").st_mode) == 0o755


def test_a_replaced_file_keeps_its_mode(parent: int, tmp_path: Path) -> None:
    trees.build(tmp_path / "root", {"/a": "old"})
    os.chmod(tmp_path / "root/a", 0o600)
    folder.write(parent, "a", b"new")
    assert stat.S_IMODE(status(parent, "a").st_mode) == 0o600
    assert text(parent, "a") == b"new"


def test_a_replaced_file_keeps_no_setuid(parent: int, tmp_path: Path) -> None:
    trees.build(tmp_path / "root", {"/a": "old"})
    os.chmod(tmp_path / "root/a", 0o4755)
    folder.write(parent, "a", b"new")
    assert stat.S_IMODE(status(parent, "a").st_mode) == 0o755


def test_a_replaced_file_keeps_its_attributes(parent: int, tmp_path: Path) -> None:
    trees.build(tmp_path / "root", {"/a": "old"})
    os.setxattr(tmp_path / "root/a", "user.colour", b"green")
    folder.write(parent, "a", b"new")
    assert os.getxattr(tmp_path / "root/a", "user.colour") == b"green"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to give files away")
def test_a_replaced_file_keeps_its_owner(parent: int, tmp_path: Path) -> None:
    trees.build(tmp_path / "root", {"/a": "old"})
    os.chown(tmp_path / "root/a", 1234, 2345)
    folder.write(parent, "a", b"new")
    assert (status(parent, "a").st_uid, status(parent, "a").st_gid) == (1234, 2345)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to give files away")
def test_what_is_new_belongs_to_the_owner_of_its_folder(parent: int, tmp_path: Path) -> None:
    os.chown(tmp_path / "root", 1234, 2345)
    folder.write(parent, "file", b"")
    folder.symlink(parent, "x", "link")
    folder.make(parent, "folder", 0o755)
    owners = {(status(parent, n).st_uid, status(parent, n).st_gid) for n in names(parent)}
    assert owners == {(1234, 2345)}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to become somebody else")
def test_an_owner_that_cannot_be_given_is_no_failure(parent: int, tmp_path: Path) -> None:
    os.chmod(tmp_path / "root", 0o777)
    trees.build(tmp_path / "root", {"/a": "old"})
    os.seteuid(4321)
    try:
        folder.write(parent, "a", b"new")
        folder.symlink(parent, "x", "link")
    finally:
        os.seteuid(0)
    assert text(parent, "a") == b"new"
    assert status(parent, "link").st_uid == 4321


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to set such an attribute")
def test_an_attribute_that_cannot_be_set_is_left(parent: int, tmp_path: Path) -> None:
    os.chmod(tmp_path / "root", 0o777)
    trees.build(tmp_path / "root", {"/a": "old"})
    os.setxattr(tmp_path / "root/a", "security.mine", b"x")
    os.setxattr(tmp_path / "root/a", "user.mine", b"x")
    os.seteuid(4321)
    try:
        folder.write(parent, "a", b"new")
    finally:
        os.seteuid(0)
    assert os.listxattr(tmp_path / "root/a") == ["user.mine"]


def test_a_file_system_without_attributes_is_no_failure() -> None:
    made = os.memfd_create("x")
    folder._copy_attributes("/proc/self/fd/9999", made)
    assert os.listxattr(made) == []
    os.close(made)


ODD: trees.Tree = {
    "a link to a file of the host": "-> ../victim",
    "a dangling link": "-> ../created",
    "a FIFO": trees.FIFO,
    "a socket": trees.SOCKET,
    "a link to itself": "-> a",
}


@pytest.mark.parametrize("what", ODD)
def test_what_stands_there_is_replaced_never_followed(
    parent: int, tmp_path: Path, what: str
) -> None:
    trees.build(tmp_path / "root", {"/a": ODD[what]})
    folder.write(parent, "a", b"new")
    assert text(parent, "a") == b"new"
    assert stat.S_IMODE(status(parent, "a").st_mode) == 0o644


@pytest.mark.parametrize("what", ODD)
def test_a_link_replaces_what_stands_there(parent: int, tmp_path: Path, what: str) -> None:
    trees.build(tmp_path / "root", {"/a": ODD[what]})
    assert folder.symlink(parent, "target", "a")
    assert os.readlink("a", dir_fd=parent) == "target"
    assert names(parent) == ["a"]


def write(parent: int, base: str) -> None:
    folder.write(parent, base, b"new")


def link(parent: int, base: str) -> None:
    folder.symlink(parent, "target", base)


@pytest.mark.parametrize("act", [write, link])
@pytest.mark.parametrize("inside", [{}, {"/a/b": "x"}], ids=["empty", "full"])
def test_a_folder_in_place_is_an_error_and_nothing_is_left(
    parent: int, tmp_path: Path, act: Callable[[int, str], None], inside: trees.Tree
) -> None:
    trees.build(tmp_path / "root", {"/a": trees.FOLDER, **inside})
    before = trees.seen(tmp_path / "root/a")
    with pytest.raises(IsADirectoryError):
        act(parent, "a")
    assert names(parent) == ["a"]
    assert trees.seen(tmp_path / "root/a") == before


@pytest.mark.parametrize("act", [write, link])
def test_what_a_killed_process_left_is_in_nobodys_way(
    parent: int, tmp_path: Path, act: Callable[[int, str], None]
) -> None:
    left = (folder._temporary(), folder._temporary(), f".gpubind-{os.getpid()}")
    trees.build(tmp_path / "root", {"/a": "old", f"/{left[0]}": "-> ../victim", f"/{left[1]}": ""})
    trees.build(tmp_path / "root", {f"/{left[2]}/x": "y"})
    act(parent, "a")
    assert names(parent) == sorted([*left, "a"])


def test_a_temporary_name_is_never_given_twice() -> None:
    assert len({folder._temporary() for _ in range(100)}) == 100  # PIDs repeat between namespaces


@pytest.mark.parametrize("act", [write, link])
@pytest.mark.parametrize("base", ["x" * 255, "é" * 127])
def test_the_longest_name_can_be_written(
    parent: int, act: Callable[[int, str], None], base: str
) -> None:
    act(parent, base)
    act(parent, base)
    assert names(parent) == [base]


@pytest.mark.parametrize("act", [write, link])
def test_a_name_too_long_is_an_error_and_nothing_is_left(
    parent: int, act: Callable[[int, str], None]
) -> None:
    with pytest.raises(OSError, match="File name too long"):
        act(parent, "x" * 256)
    assert names(parent) == []


def test_a_file_that_does_not_fit_leaves_the_old_one(parent: int, tmp_path: Path) -> None:
    trees.build(tmp_path / "root", {"/a": "old"})
    child = os.fork()
    if child == 0:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            folder.write(parent, "a", b"x" * 10_000)
        except OSError as error:
            os._exit(7 if error.strerror == "File too large" else 8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert (names(parent), text(parent, "a")) == (["a"], b"old")


def test_a_new_link_is_made(parent: int) -> None:
    assert folder.symlink(parent, "target", "a") is True
    assert os.readlink("a", dir_fd=parent) == "target"


def test_a_link_that_is_there_is_left_as_it_is(parent: int, tmp_path: Path) -> None:
    folder.symlink(parent, "target", "a")
    before = trees.seen(tmp_path / "root")
    assert folder.symlink(parent, "target", "a") is False
    assert trees.seen(tmp_path / "root") == before


def test_a_link_with_another_text_is_replaced(parent: int) -> None:
    folder.symlink(parent, "old", "a")
    assert folder.symlink(parent, "new", "a") is True
    assert os.readlink("a", dir_fd=parent) == "new"


def test_a_folder_that_is_there_is_not_made_again(parent: int) -> None:
    folder.make(parent, "a", 0o755)
    with pytest.raises(FileExistsError):
        folder.make(parent, "a", 0o755)
