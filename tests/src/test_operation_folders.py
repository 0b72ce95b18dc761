# SPDX-License-Identifier: Apache-2.0
"""Libraries found in folders, as ldconfig finds them: links by SONAME, entries in the cache."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import image_roots
import pytest
import trees

from gpubind import ldcache, plan, words
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

LIB = image_roots.LIB
CUDA = image_roots.library("libcuda.so.1")


def perform(place: Path, tree: trees.Tree) -> tuple[dict[str, str], list[str]]:
    """Lay a root out and act; gives its links by name, and the cache's paths."""
    trees.build(str(place), tree)
    line = words.parse(["update-ldcache", "--folder", LIB])
    with Root(str(place)) as root:
        plan.perform(root, line.operations, [])
    folder = f"{place}{LIB}"
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    links = {name: os.readlink(f"{folder}/{name}") for name in names if is_link(folder, name)}
    with open(f"{place}/etc/ld.so.cache", "rb") as file:
        return links, [os.fsdecode(entry.path) for entry in ldcache.read(file.read())]


def is_link(folder: str, name: str) -> bool:
    return os.path.islink(os.path.join(folder, name))


def test_a_library_gets_the_link_that_programs_ask_for_and_an_entry(tmp_path: Path) -> None:
    tree: trees.Tree = {f"{LIB}/libcuda.so.550.54.15": CUDA}
    wanted = {"libcuda.so.1": "libcuda.so.550.54.15"}, [f"{LIB}/libcuda.so.1"]
    assert perform(tmp_path, tree) == wanted


def test_the_newest_of_two_is_linked_though_an_image_has_the_older(tmp_path: Path) -> None:
    tree: trees.Tree = {
        f"{LIB}/libcuda.so.99.2": CUDA,
        f"{LIB}/libcuda.so.550.54.15": CUDA,
        f"{LIB}/libcuda.so.1": "-> libcuda.so.99.2",
    }
    assert perform(tmp_path, tree)[0] == {"libcuda.so.1": "libcuda.so.550.54.15"}


def test_what_an_image_s_cache_has_keeps_its_place(tmp_path: Path) -> None:
    flags = ldcache.FLAGS["x86-64"]
    first, second = (f"{folder}/libz.so.1" for folder in ("/opt/lib", LIB))
    known = [ldcache.Entry(b"libz.so.1", path.encode(), flags) for path in (first, second)]
    tree: trees.Tree = {
        "/etc/ld.so.cache": ldcache.merge(b"", known),
        f"{LIB}/libz.so.1": image_roots.library("libz.so.1"),
        f"{LIB}/libcuda.so.550.54.15": CUDA,
    }
    assert perform(tmp_path, tree)[1] == [first, second, f"{LIB}/libcuda.so.1"]


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {LIB: trees.FOLDER},
        {f"{LIB}/libcuda.so.550.54.15": "no library"},
        {f"{LIB}/libcuda.so.1": "-> /etc/passwd"},
        {f"{LIB}/libcuda.so.1": "-> libcuda.so.1"},
        {f"{LIB}/libcuda.so.1": trees.FOLDER},
        {f"{LIB}/cuda.so.1": CUDA},
        {f"{LIB}/libcuda.so.1": image_roots.library("../libcuda.so.1")},
    ],
)
def test_what_is_no_library_is_passed_by(tree: trees.Tree, tmp_path: Path) -> None:
    links = perform(tmp_path, tree)[0]
    assert links == {
        name.rpartition("/")[2]: text[3:]
        for name, text in tree.items()
        if isinstance(text, str) and text.startswith("-> ")
    }


def test_a_file_is_never_replaced_by_a_link(tmp_path: Path) -> None:
    tree: trees.Tree = {f"{LIB}/libcuda.so.1": CUDA, f"{LIB}/libcuda.so.550": CUDA}
    assert perform(tmp_path, tree)[0] == {}


def test_its_words_are_the_field_s() -> None:
    said = shlex.split("update-ldcache --folder /a --folder /b")
    assert words.of(words.parse(said).operations) == said
