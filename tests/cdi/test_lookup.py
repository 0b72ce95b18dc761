# SPDX-License-Identifier: Apache-2.0
"""Files and libraries are found inside the root only, whatever the root holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import driver_roots
import pytest
from driver_roots import FIFO, LIBRARIES, SOCKET, lib
from gpubind_cdi.lookup import files, library

from gpubind import ldcache
from gpubind.errors import UsageError
from gpubind.root import Root

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from driver_roots import Tree

CURRENT = f"{LIBRARIES}/nvidia/current"
DEBIAN: dict[str, bytes | str] = {
    f"{CURRENT}/libcuda.so.550.54.15": lib("libcuda.so.1"),
    f"{CURRENT}/libcuda.so.1": "-> libcuda.so.550.54.15",
    "/etc/alternatives/glx--libcuda.so.1": f"-> {CURRENT}/libcuda.so.1",
    f"{LIBRARIES}/libcuda.so.1": "-> /etc/alternatives/glx--libcuda.so.1",
}


def found(folder: Path, tree: Tree, given: Sequence[str] = ()) -> list[str]:
    """Give the paths of all libcuda in a root, rejected ones with their reason."""
    with Root(driver_roots.grow(folder, tree)) as root:
        places = library.folders(root, given)
        every = library.libraries(root, places, lambda name: name.startswith("libcuda.so"))
        return [
            one.path if isinstance(one, library.Library) else f"{one.path}: {one.why}"
            for one in every
        ]


def folders(folder: Path, tree: Tree) -> list[str]:
    with Root(driver_roots.grow(folder, tree)) as root:
        return [one.path for one in library.folders(root)]


@pytest.mark.parametrize(
    "place",
    [
        "/usr/lib64",
        LIBRARIES,
        "/usr/lib/aarch64-linux-gnu",
        CURRENT,
        "/lib64",
        "/lib/x86_64-linux-gnu",
        "/usr/lib/i386-linux-gnu",
        "/usr/lib",
    ],
)
def test_each_usual_folder_is_searched(tmp_path: Path, place: str) -> None:
    name = f"{place}/libcuda.so.550.54.15"
    assert found(tmp_path, {name: lib("libcuda.so.1")}) == [name]


def test_a_merged_usr_is_searched_once(tmp_path: Path) -> None:
    tree: Tree = {"/usr/lib/libcuda.so.1": lib("libcuda.so.1"), "/lib": "-> usr/lib"}
    assert folders(tmp_path, tree) == ["/usr/lib"]


def test_debians_links_all_lead_to_one_file(tmp_path: Path) -> None:
    assert found(tmp_path, DEBIAN) == [f"{CURRENT}/libcuda.so.550.54.15"]


def test_a_driver_folder_of_any_name_is_found_through_the_link(tmp_path: Path) -> None:
    tree: dict[str, bytes | str] = {
        name.replace("current", "tesla-470"): content for name, content in DEBIAN.items()
    }
    tree["/etc/alternatives/glx--libcuda.so.1"] = f"-> {LIBRARIES}/nvidia/tesla-470/libcuda.so.1"
    assert folders(tmp_path, tree) == [LIBRARIES, "/usr/lib", f"{LIBRARIES}/nvidia/tesla-470"]


def test_an_unusual_folder_is_found_through_the_roots_own_cache(tmp_path: Path) -> None:
    entry = ldcache.Entry(b"libcuda.so.1", b"/opt/nv/libcuda.so.1", ldcache.FLAGS["x86-64"])
    tree: Tree = {
        "/opt/nv/libcuda.so.1": "-> libcuda.so.550.54.15",
        "/opt/nv/libcuda.so.550.54.15": lib("libcuda.so.1"),
        "/etc/ld.so.cache": ldcache.merge(b"", [entry]),
    }
    assert found(tmp_path, tree) == ["/opt/nv/libcuda.so.550.54.15"]


@pytest.mark.parametrize("cache", [b"", b"x", b"glibc-ld.so.cache1.1" + b"\xff" * 60])
def test_a_damaged_cache_is_as_good_as_none(tmp_path: Path, cache: bytes) -> None:
    tree: Tree = {"/etc/ld.so.cache": cache, "/usr/lib64/libcuda.so.1": lib("libcuda.so.1")}
    assert found(tmp_path, tree) == ["/usr/lib64/libcuda.so.1"]


def test_given_folders_replace_the_usual_ones_by_host_or_inner_name(tmp_path: Path) -> None:
    tree: Tree = {
        "/usr/lib64/libcuda.so.1": lib("libcuda.so.1"),
        "/a/libcuda.so.1": lib("libcuda.so.1"),
        "/b/libcuda.so.1": lib("libcuda.so.1"),
    }
    given = [f"{tmp_path}/b", "/a"]
    assert found(tmp_path, tree, given) == ["/b/libcuda.so.1", "/a/libcuda.so.1"]


def test_a_given_folder_that_is_none_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="/nowhere is no folder in the driver root"):
        found(tmp_path, {}, ["/nowhere"])


def test_links_out_of_the_root_stay_in_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    driver_roots.grow(outside, {"/libcuda.so.9.9": lib("libcuda.so.1")})
    up = "../" * 20
    tree: Tree = {
        "/usr/lib64/libcuda.so.1": f"-> {outside}/libcuda.so.9.9",
        "/usr/lib64/libcuda.so.2": f"-> {up}{outside}/libcuda.so.9.9",
        "/usr/lib64/libcuda.so.3": "-> /inner/libcuda.so.5",
        "/lib64": f"-> {outside}",
        "/inner/libcuda.so.5": lib("libcuda.so.1"),
    }
    assert found(tmp_path / "root", tree) == ["/inner/libcuda.so.5"]


def test_what_is_no_library_is_named_and_costs_no_time(tmp_path: Path) -> None:
    good = lib("libcuda.so.1")
    tree: Tree = {
        "/usr/lib64/libcuda.so.1": FIFO,
        "/usr/lib64/libcuda.so.2": good[:100],
        "/usr/lib64/libcuda.so.3": "-> libcuda.so.3",
        "/usr/lib64/libcuda.so.4": None,
        "/usr/lib64/libcuda.so.5": "-> gone",
        "/usr/lib64/libcuda.so.6": good,
        "/usr/lib64/libcuda.so.7": SOCKET,
    }
    start = time.monotonic()
    names = found(tmp_path, tree)
    assert time.monotonic() - start < 1
    assert [name.partition(": ")[0][-1] for name in names] == ["1", "2", "3", "4", "6", "7"]
    assert names[0] == "/usr/lib64/libcuda.so.1: not a regular file"
    assert names[1] == "/usr/lib64/libcuda.so.2: the file is cut off"
    assert "Too many levels" in names[2]
    assert names[4] == "/usr/lib64/libcuda.so.6"


def test_soname_machine_and_fingerprint_come_from_the_file(tmp_path: Path) -> None:
    content = lib("libcuda.so.1", "i386")
    with Root(driver_roots.grow(tmp_path, {"/usr/lib32/libcuda.so.5.6": content})) as root:
        (one,) = library.libraries(root, library.folders(root), lambda _: True)
    assert isinstance(one, library.Library)
    status = (tmp_path / "usr/lib32/libcuda.so.5.6").stat()
    assert (one.base, one.soname, one.machine) == ("libcuda.so.5.6", "libcuda.so.1", "i386")
    assert (one.modified_ns, one.size) == (status.st_mtime_ns, len(content))


def test_the_first_file_of_the_right_kind_is_given(tmp_path: Path) -> None:
    tree = {"/a": None, "/b": FIFO, "/c": "-> nowhere", "/d": "-> e", "/e": "x"}
    with Root(driver_roots.grow(tmp_path, tree)) as root:
        file = files.first(root, ("/a", "/b", "/c", "/d"))
        assert file is not None
        assert (file.name, file.path) == ("/d", "/e")
        assert files.first(root, ("/a", "/b", "/c")) is None


def test_a_program_must_be_executable(tmp_path: Path) -> None:
    with Root(driver_roots.grow(tmp_path, {"/usr/bin/a": "x", "/usr/lib/b": "x"})) as root:
        assert files.find(root, "/usr/bin/a", files.is_program) is not None
        assert files.find(root, "/usr/lib/b", files.is_program) is None


def test_names_match_a_pattern_in_order(tmp_path: Path) -> None:
    tree = {"/f/gsp_b.bin": "x", "/f/gsp_a.bin": "x", "/f/gsp": "x", "/f/gsp_d.bin": None}
    with Root(driver_roots.grow(tmp_path, tree)) as root:
        assert [one.path for one in files.matching(root, "/f", ["gsp*.bin"])] == [
            "/f/gsp_a.bin",
            "/f/gsp_b.bin",
        ]
        assert list(files.matching(root, "/absent", ["*"])) == []
        assert list(files.matching(root, "/f/gsp", ["*"])) == []


def test_text_of_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    with Root(driver_roots.grow(tmp_path, {"/f": FIFO, "/b": b"a\xff"})) as root:
        assert [files.text(root, name) for name in ("/f", "/absent", "/b")] == ["", "", "a\ufffd"]
