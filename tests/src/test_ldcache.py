# SPDX-License-Identifier: Apache-2.0
"""What merging libraries into an ld.so.cache gives."""

import struct

import pytest
from ldcaches import (
    CUDA,
    CUDA32,
    GLCORE,
    HWCAP_EXTENSION,
    HWCAPS,
    I386,
    IMAGE,
    LIB,
    LIB32,
    OURS,
    X86,
    Row,
    both,
    entries,
    hwcaps_and_generator,
    new,
    old,
    old_entries,
)

from gpubind.errors import DocumentError
from gpubind.ldcache import Entry, merge, read

MIXED = [
    *entries(IMAGE[:1]),
    GLCORE,
    *entries(IMAGE[1:6]),
    CUDA,
    CUDA32,
    *entries(IMAGE[6:]),
]


@pytest.mark.parametrize(
    ("cache", "want"),
    [
        pytest.param(b"", [GLCORE, CUDA, CUDA32], id="no cache"),
        pytest.param(new([], ()), [GLCORE, CUDA, CUDA32], id="a cache of nothing"),
        pytest.param(new(IMAGE), MIXED, id="glibc 2.36"),
        pytest.param(new(IMAGE, (), flags=0), MIXED, id="glibc 2.31, new format only"),
        pytest.param(both(IMAGE), MIXED, id="glibc 2.31, both formats"),
        pytest.param(both(IMAGE[:6]), MIXED[:-1], id="both formats, an even number"),
        pytest.param(old(IMAGE), MIXED, id="glibc 2.1"),
        pytest.param(old(IMAGE[:6]), MIXED[:-1], id="glibc 2.1, an even number"),
        pytest.param(old([]), [GLCORE, CUDA, CUDA32], id="glibc 2.1, nothing"),
    ],
)
def test_ours_take_their_places_among_what_the_image_has(cache: bytes, want: list[Entry]) -> None:
    merged = merge(cache, OURS)
    assert read(merged) == want
    assert merge(merged, OURS) == merged


def test_a_new_cache_is_the_same_byte_for_byte_as_written_here_with_tails_shared() -> None:
    path = LIB + b"libcuda.so.1\0"
    header = b"glibc-ld.so.cache1.1" + struct.pack("<IIIIIII", 1, len(path), 2, 0, 0, 0, 0)
    row = struct.pack("<iIIIQ", X86, 72 + len(LIB), 72, 0, 0)
    assert merge(b"", [CUDA]) == header + row + path


def test_a_name_that_is_no_tail_of_its_path_gets_a_string_of_its_own() -> None:
    entry = Entry(b"libGLX_indirect.so.0", LIB + b"libGLX_nvidia.so.0", X86)
    assert read(merge(new(IMAGE), [entry, CUDA]))[3:4] != [entry]
    assert set(read(merge(new(IMAGE), [entry, CUDA]))) == {entry, CUDA, *entries(IMAGE)}


def test_hwcaps_keep_their_entries_names_and_the_generator() -> None:
    merged = merge(new(IMAGE), OURS)
    assert hwcaps_and_generator(merged) == (list(HWCAPS), b"a test")
    rows = struct.iter_unpack("<iIIIQ", merged[48 : 48 + 24 * len(MIXED)])
    assert [row[4] for row in rows] == [0, 0, HWCAP_EXTENSION | 1, *[0] * 7]


def test_the_old_table_keeps_its_entries_when_the_new_one_grows() -> None:
    for cache in (both(IMAGE), old(IMAGE)):
        assert old_entries(merge(cache, OURS)) == entries([*IMAGE, IMAGE[-1]])


def test_an_old_table_with_garbage_beside_a_new_one_is_left_out() -> None:
    cache = both(IMAGE)
    cache = cache[:20] + b"\xff\xff\xff\xff" + cache[24:]
    assert merge(cache, OURS) == merge(new(IMAGE, (), flags=0), OURS)


def test_ours_come_before_the_same_name_elsewhere_even_for_hwcaps() -> None:
    mine = Entry(b"libm.so.6", b"/opt/driver/libm.so.6", X86)
    assert read(merge(new(IMAGE), [mine]))[1:3] == [mine, *entries(IMAGE[1:2])]


def test_of_two_of_ours_with_one_name_the_first_stays_first() -> None:
    twin = Entry(b"libcuda.so.1", b"/usr/local/cuda/compat/libcuda.so.1", X86)
    assert read(merge(b"", [twin, CUDA])) == [twin, CUDA]
    assert read(merge(b"", [CUDA, twin, CUDA])) == [CUDA, twin]


def test_entries_of_an_earlier_driver_are_replaced() -> None:
    elsewhere = (b"libcuda.so.1", b"/opt/image/libcuda.so.1", X86, 0)
    earlier: list[Row] = [
        (b"libother.so.1", LIB + b"libcuda.so.1", X86, 0),  # same path
        (b"libcuda.so.1", b"/usr/lib64/libcuda.so.1", X86, 0),  # same name in an own folder
        elsewhere,
        (b"libcuda.so.1", LIB32 + b"libcuda.so.1", I386, 0),
    ]
    merged = merge(new(earlier), [CUDA, CUDA32], own_folders=[b"/usr/lib64/"])
    assert read(merged) == [CUDA, *entries([elsewhere]), CUDA32]


def test_whatever_has_the_path_of_one_of_ours_is_replaced() -> None:
    row = (b"libother.so.1", CUDA.path, I386, 0)
    assert read(merge(new([row]), [CUDA])) == [CUDA]


def test_an_old_table_keeps_the_names_of_what_the_new_one_loses() -> None:
    rows = [IMAGE[0], (b"libcuda.so.1", b"/usr/lib64/libcuda.so.1", X86, 0)]
    merged = merge(both(rows), [CUDA], own_folders=[b"/usr/lib64"])
    assert old_entries(merged) == entries(rows)
    assert read(merged) == [*entries(rows[:1]), CUDA]


def test_an_old_table_of_odd_length_is_followed_by_padding() -> None:
    inner = new(IMAGE, (), flags=0)
    cache = old(IMAGE)[: 16 + 12 * len(IMAGE)] + bytes(4) + inner
    assert len(IMAGE) % 2
    assert merge(cache, OURS) == merge(inner, OURS)


@pytest.mark.parametrize("flags", [0, 2])
def test_what_the_header_says_besides_stays(flags: int) -> None:
    cache = bytearray(new(IMAGE, (), flags=flags))
    cache[29:32] = b"abc"
    cache[36:48] = b"unused, 12 b"
    merged = merge(bytes(cache), OURS)
    assert merged[28:32] + merged[36:48] == bytes(cache[28:32] + cache[36:48])


def test_another_architecture_in_an_own_folder_stays() -> None:
    row = (b"libcuda.so.1", b"/usr/lib64/libcuda.so.1", I386, 0)
    assert read(merge(new([row]), [CUDA], own_folders=[b"/usr/lib64"])) == [CUDA, *entries([row])]


def test_a_neighbour_of_an_own_folder_stays() -> None:
    row = (b"libcuda.so.1", b"/usr/lib64-old/libcuda.so.1", X86, 0)
    assert read(merge(new([row]), [CUDA], own_folders=[b"/usr/lib64"])) == [CUDA, *entries([row])]


def test_a_cache_does_not_grow_from_changing_drivers() -> None:
    def driver(version: bytes) -> list[Entry]:
        name = b"libnvidia-ml.so." + version
        return [CUDA, Entry(name, LIB + name, X86)]

    cache = merge(merge(new(IMAGE), driver(b"535.1")), driver(b"550.2"))
    for _ in range(3):
        cache = merge(merge(cache, driver(b"535.1")), driver(b"550.2"))
        assert len(read(cache)) == len(IMAGE) + 3
    assert len(cache) < len(new(IMAGE)) + 3 * (24 + 60)


def test_entries_are_equal_when_all_they_say_is() -> None:
    same = Entry(CUDA.name, CUDA.path, CUDA.flags)
    others = (CUDA32, GLCORE, CUDA.path)
    assert {CUDA, same} == {CUDA}
    assert all(other != CUDA for other in others)
    assert repr(CUDA) == f"Entry(b'libcuda.so.1', {CUDA.path!r}, 0x0303)"


def test_nothing_to_add_changes_no_entry() -> None:
    assert read(merge(new(IMAGE), [])) == entries(IMAGE)
    assert read(b"") == []


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"", b"/lib/a", X86),
        Entry(b"a", b"", X86),
        Entry(b"a\0b", b"/lib/a", X86),
        Entry(b"a", b"/lib/a\0", X86),
        Entry(b"a", b"/" + b"a" * 4096, X86),
        Entry(b"a", b"/lib/a", -1),
        Entry(b"a", b"/lib/a", 2**31),
    ],
)
def test_an_entry_that_no_cache_can_hold_is_refused(entry: Entry) -> None:
    with pytest.raises(DocumentError, match=r"can't hold Entry.*\[LDCACHE-ENTRY\]$"):
        merge(b"", [entry])
