# SPDX-License-Identifier: Apache-2.0
"""CUDA forward compatibility: when an image's own libcuda is preferred, and when never."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import compat_libs
import pytest
import trees

from gpubind import ldcache, plan, words
from gpubind.errors import UsageError
from gpubind.operation import compat
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = "aarch64" if os.uname().machine == "aarch64" else "x86-64"
FACTS = {"Format": 1, "CUDA Version": "12.9", "Driver": [535, 550, 575], "Device": [1]}
FOLDER = "/usr/local/cuda-12.9/compat"
DRIVER = plan.LdCache(["/usr/lib/gpu"], ["/usr/lib/gpu/libcuda.so.1"])


def image(root: Path, note: bytes | None, version: str = "575.57.08") -> Root:
    """Lay out an image with a compat folder behind the usual link; give its root."""
    library = compat_libs.library("libcuda.so.1", note, MACHINE)
    trees.build(
        root,
        {
            "/usr/local/cuda": "-> cuda-12.9",
            f"{FOLDER}/libcuda.so.{version}": library,
            f"{FOLDER}/libcuda.so.1": f"-> libcuda.so.{version}",
        },
    )
    return Root(str(root))


def perform(
    root: Root, driver: str = "550.54.15", cuda: str = "12.4"
) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    with root:
        return plan.perform(root, [compat.CudaCompat(driver, cuda), DRIVER], notes), notes


def first(root: Path) -> bytes:
    """Give the path the loader takes for libcuda.so.1."""
    found = ldcache.read((root / "etc/ld.so.cache").read_bytes())
    return next(entry.path for entry in found if entry.name == b"libcuda.so.1")


def test_a_library_whose_note_names_the_drivers_branch_is_preferred(host: Path) -> None:
    perform(image(host / "root", compat_libs.note(FACTS)))
    assert first(host / "root") == f"{FOLDER}/libcuda.so.1".encode()
    assert (host / "root" / compat.DROP_IN[1:]).read_text() == f"{FOLDER}\n"


def test_a_second_start_changes_nothing(host: Path) -> None:
    perform(image(host / "root", compat_libs.note(FACTS)))
    before = trees.seen(host / "root")
    assert perform(Root(str(host / "root"))) == ([], [])
    assert trees.seen(host / "root") == before


def test_a_newer_driver_takes_the_preference_back(host: Path) -> None:
    perform(image(host / "root", compat_libs.note(FACTS)))
    done, _ = perform(Root(str(host / "root")), driver="580.65.06")
    assert "remove 00-compat-gpubind.conf" in done
    assert first(host / "root") == b"/usr/lib/gpu/libcuda.so.1"


@pytest.mark.parametrize(
    ("own", "driver", "cuda", "facts", "used"),
    [
        ("575.57.08", "550.54.15", "12.4", FACTS, True),
        ("575.57.08", "545.23.06", "12.3", FACTS, False),  # a branch the note does not name
        ("575.57.08", "575.51.03", "12.9", FACTS, True),  # a later release of the same branch
        ("575.51.03", "575.57.08", "12.9", FACTS, False),
        ("575.57.08", "575.57.08", "12.9", FACTS, False),
        ("575.57.08", "", "12.8", FACTS, True),  # only the host's CUDA version is known
        ("575.57.08", "", "12.10", FACTS, False),  # 12.10 is above 12.9
        ("575.57.08", "", "", FACTS, False),
        ("575.57.08", "550.54.15", "", None, True),  # no note: the branches decide
        ("575.57.08", "575.51.03", "", None, False),
        ("575.57.08", "580.65.06", "", None, False),
        ("575.57.08", "550.54.15", "12.4", None, False),
        ("575.57.08", "550.54.15", "12.4", {"Format": 1, "Driver": "550"}, False),
        ("575.57.08", "550.x", "12.4", {"Format": 1, "CUDA Version": 12}, False),
    ],
)
def test_the_note_and_the_versions_decide(
    own: str, driver: str, cuda: str, facts: dict[str, object] | None, *, used: bool
) -> None:
    assert compat.fits(own, driver, cuda, facts) is used


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("550.54.15", (550, 54, 15)),
        ("550", (550,)),
        ("", ()),
        ("550.", ()),
        ("-1.1", ()),
        ("1e9.1", ()),
        ("9" * 5000, ()),
        ("\uff15\uff15\uff10.1", ()),  # digits, but not ASCII
        ("999.1\n/evil", ()),
    ],
)
def test_a_version_is_dotted_ascii_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert compat.numbers(version) == numbers


def test_several_libcudas_are_a_note_and_none_is_used(host: Path) -> None:
    root = image(host / "root", compat_libs.note(FACTS))
    trees.build(host / "root", {f"{FOLDER}/libcuda.so.560.1.1": "x"})
    _, notes = perform(root)
    assert notes == [
        f"{FOLDER} has several libcuda, none used: libcuda.so.560.1.1, libcuda.so.575.57.08"
    ]
    assert first(host / "root") == b"/usr/lib/gpu/libcuda.so.1"


@pytest.mark.parametrize(
    "note",
    [
        compat_libs.note(b"\xff\xfe"),
        compat_libs.note(b'{"Format":1'),
        compat_libs.note({"Format": 2}),
        compat_libs.note([]),
        compat_libs.note(b"[" * 60000),
        b"",
        b"\0" * 8,
        b"\xff" * 64,
        compat_libs.note(FACTS)[:-10],
        b"\0" * 70000,
    ],
    ids=["utf8", "json", "format", "list", "deep", "empty", "short", "sizes", "cut", "large"],
)
def test_row58_a_broken_note_is_a_note_to_the_operator(host: Path, note: bytes) -> None:
    _, notes = perform(image(host / "root", note))
    assert len(notes) == 1
    assert notes[0].startswith(f"{FOLDER}/libcuda.so.575.57.08 is not used: ")
    assert not (host / "root" / compat.DROP_IN[1:]).exists()


def test_row58_a_note_of_somebody_else_counts_as_none(host: Path) -> None:
    note = compat_libs.note(FACTS, owner=b"Somebody\0")
    done, notes = perform(image(host / "root", note), cuda="")
    assert notes == []
    assert "write 00-compat-gpubind.conf" in done


def test_row58_a_library_cut_anywhere_raises_nothing(host: Path) -> None:
    whole = compat_libs.library("libcuda.so.1", compat_libs.note(FACTS), MACHINE)
    for size in range(0, len(whole), 61):
        root = image(host / f"root{size}", None)
        (host / f"root{size}" / FOLDER[1:] / "libcuda.so.575.57.08").write_bytes(whole[:size])
        perform(root)
        assert first(host / f"root{size}") == b"/usr/lib/gpu/libcuda.so.1"


@pytest.mark.parametrize(
    "content",
    [trees.FIFO, trees.FOLDER, "-> /", "-> ../../../../canary/etc/ld.so.cache", "-> libcuda.so.1"],
    ids=["fifo", "folder", "root", "outside", "loop"],
)
def test_only_a_regular_file_counts(host: Path, content: trees.Special | str) -> None:
    trees.build(host / "root", {f"{compat.FOLDER}/libcuda.so.999.1": content})
    _, notes = perform(Root(str(host / "root")))
    assert notes == []
    assert first(host / "root") == b"/usr/lib/gpu/libcuda.so.1"


@pytest.mark.parametrize(
    "place",
    ["-> ../../../../../canary", "-> compat", "a file", trees.FIFO],
    ids=["outside", "loop", "file", "fifo"],
)
def test_a_hostile_folder_is_not_used(host: Path, place: trees.Special | str) -> None:
    trees.build(host / "root", {compat.FOLDER: place})
    assert perform(Root(str(host / "root")))[1] == []


def test_a_library_of_another_machine_is_not_entered(host: Path) -> None:
    other = "x86-64" if MACHINE == "aarch64" else "aarch64"
    root = image(host / "root", compat_libs.note(FACTS))
    library = compat_libs.library("libcuda.so.1", compat_libs.note(FACTS), other)
    (host / "root" / FOLDER[1:] / "libcuda.so.575.57.08").write_bytes(library)
    perform(root)
    assert first(host / "root") == b"/usr/lib/gpu/libcuda.so.1"


def test_the_hooks_words_are_the_fields() -> None:
    operation = compat.CudaCompat("550.54.15", "12.4", "/opt/compat")
    assert words.of([operation]) == [
        "enable-cuda-compat",
        *("--host-driver-version", "550.54.15", "--host-cuda-version", "12.4"),
        *("--cuda-compat-container-root", "/opt/compat"),
    ]


def test_words_are_read_back() -> None:
    operation = compat.CudaCompat("550.54.15", "12.4")
    (read,) = words.parse(words.of([operation])).operations
    assert (
        str(read)
        == str(operation)
        == "prefer CUDA libraries of " + ("/usr/local/cuda/compat if they fit driver 550.54.15")
    )


def test_without_a_version_of_the_host_nothing_is_done() -> None:
    assert words.parse(["enable-cuda-compat"]).operations == []


def test_a_relative_folder_is_refused() -> None:
    line = ["enable-cuda-compat", "--cuda-compat-container-root", "x"]
    with pytest.raises(UsageError, match="'x' is not absolute"):
        words.parse(line)
