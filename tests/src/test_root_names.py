# SPDX-License-Identifier: Apache-2.0
"""Names turned into host names and back, and folders made in a root."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trees

from gpubind.errors import RootEscapeError
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path


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
