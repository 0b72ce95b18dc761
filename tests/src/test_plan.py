# SPDX-License-Identifier: Apache-2.0
"""A plan performed in a container's root: all of it, and once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import plans
import pytest
import trees

from gpubind import ldcache, plan
from gpubind.errors import DocumentError, ToolkitError

if TYPE_CHECKING:
    from pathlib import Path


def entries(root: Path) -> list[tuple[bytes, bytes]]:
    found = ldcache.read((root / "etc/ld.so.cache").read_bytes())
    return [(entry.name, entry.path) for entry in found]


def test_everything_is_made_in_an_empty_root(host: Path, *, walking: bool) -> None:
    assert plans.perform(host / "root", plans.PLAN, walking=walking) == (plans.WRITTEN, [])
    assert os.readlink(host / "root/usr/lib/gpu/libcuda.so") == "libcuda.so.1"
    assert (b"libcuda.so.1", b"/usr/lib/gpu/libcuda.so.1") in entries(host / "root")
    assert (b"libcuda.so.1", b"/usr/lib32/libcuda.so.1") in entries(host / "root")
    assert (host / "root/etc/ld.so.conf").read_text() == "include /etc/ld.so.conf.d/*.conf\n"
    assert (host / "root/etc/ld.so.conf.d/00-gpubind.conf").read_text() == "/usr/lib/gpu\n"


def test_a_second_time_changes_nothing(host: Path, *, walking: bool) -> None:
    plans.perform(host / "root", plans.PLAN, walking=walking)
    before = trees.seen(host / "root")
    assert plans.perform(host / "root", plans.PLAN, walking=walking) == ([], [])
    assert trees.seen(host / "root") == before


def test_nothing_to_do_does_nothing(host: Path) -> None:
    assert plans.perform(host / "root", []) == ([], [])
    assert trees.seen(host / "root").keys() == {"."}


def test_a_damaged_cache_is_made_anew(host: Path) -> None:
    trees.build(host / "root", {"/etc/ld.so.cache": b"glibc-ld.so.cache1.1\xff"})
    done, notes = plans.perform(host / "root", [plans.CACHE])
    assert done[:2] == ["/etc/ld.so.cache is damaged: make it anew", "write ld.so.cache"]
    assert (b"libcuda.so.1", b"/usr/lib/gpu/libcuda.so.1") in entries(host / "root")
    assert notes == []


def test_a_cache_too_large_to_read_is_made_anew(host: Path) -> None:
    trees.build(host / "root", {"/etc/ld.so.cache": trees.sparse(200 << 30)})
    plans.perform(host / "root", [plans.CACHE])
    assert (host / "root/etc/ld.so.cache").stat().st_size < 4096


def test_the_files_of_an_image_are_kept(host: Path) -> None:
    trees.build(host / "root", {"/etc/ld.so.conf": "/opt/lib\n", "/etc/ld.so.conf.d/a.conf": "/a"})
    plans.perform(host / "root", [plans.CACHE])
    assert "/opt/lib\n" in (host / "root/etc/ld.so.conf").read_text()
    assert (host / "root/etc/ld.so.conf.d/a.conf").read_text() == "/a"


def test_musl_is_told_where_its_loader_is(host: Path) -> None:
    base = f"ld-musl-{os.uname().machine}"
    trees.build(host / "root", {f"/lib/{base}.so.1": "loader"})
    done, _ = plans.perform(host / "root", [plans.CACHE])
    assert done[-1] == f"write {base}.path"
    assert (host / f"root/etc/{base}.path").read_text().split()[0] == plans.FOLDER


def test_musl_is_not_told_where_it_is_not(host: Path) -> None:
    plans.perform(host / "root", [plans.CACHE])
    assert os.listdir(host / "root/etc") != []
    assert not [name for name in os.listdir(host / "root/etc") if "musl" in name]


def test_a_link_in_the_root_itself_is_made(host: Path) -> None:
    assert plans.perform(host / "root", [plan.Link("usr/lib", "/lib")])[0] == [
        "link /lib -> usr/lib"
    ]


@pytest.mark.parametrize(
    "name", ["/usr/", "/", "/usr/..", "/usr/.", "/usr\0/x", "/usr/x\0", "/\ud800/x"]
)
def test_a_link_needs_a_name(host: Path, name: str) -> None:
    with pytest.raises(ToolkitError, match=r"is no name for a link \[ARG-LINK\]"):
        plans.perform(host / "root", [plan.Link("x", name)])


@pytest.mark.parametrize("target", ["a\0b", "\ud800"])
def test_a_link_needs_a_target_that_can_be_one(host: Path, target: str) -> None:
    with pytest.raises(ToolkitError, match="ARG-LINK"):
        plans.perform(host / "root", [plan.Link(target, "/usr/x")])


@pytest.mark.parametrize("folder", ["relative", "/with\nline", "/a:b"])
def test_a_folder_that_no_search_file_can_name_is_an_error(host: Path, folder: str) -> None:
    with pytest.raises(DocumentError, match="LDCONF-FOLDER"):
        plans.perform(host / "root", [plan.LdCache([folder], [])])


def test_an_operation_says_what_it_does() -> None:
    assert str(plans.LINK) == "link /usr/lib/gpu/libcuda.so -> libcuda.so.1"
    assert str(plans.CACHE) == "enter 2 libraries of /usr/lib/gpu into /etc/ld.so.cache"


def test_an_operation_names_what_it_writes() -> None:
    assert plans.LINK.writes() == ("/usr/lib/gpu/libcuda.so",)
    assert "/etc/ld.so.cache" in plans.CACHE.writes()
