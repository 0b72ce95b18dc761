# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile caches are refused by name or merged soundly, at little cost."""

import struct
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from ldcaches import IMAGE, OURS, X86, both, new, old

from gpubind.errors import DocumentError
from gpubind.ldcache import merge, read

GOOD = {
    "new": new(IMAGE),
    "2.31": new(IMAGE, (), flags=0),
    "both": both(IMAGE),
    "old": old(IMAGE),
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_cache_cut_off_anywhere_is_damaged(kind: str) -> None:
    for length in range(1, len(GOOD[kind])):
        with pytest.raises(DocumentError, match=r"\[LDCACHE-DAMAGED\]$"):
            merge(GOOD[kind][:length], OURS)
        with pytest.raises(DocumentError, match=r"\[LDCACHE-DAMAGED\]$"):
            read(GOOD[kind][:length])


def patched(at: int, value: int, cache: bytes = GOOD["new"]) -> bytes:
    return cache[:at] + value.to_bytes(4, "little") + cache[at + 4 :]


EXTENSION = int.from_bytes(GOOD["new"][32:36], "little")


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        (bytes(4096), "it does not start as one"),
        (b"glibc-ld.so.cache1.0" + GOOD["new"][20:], "it does not start as one"),
        (GOOD["new"] + bytes(2**24), "it is larger than 16777216 bytes"),
        (patched(28, 3), "it is of the other byte order"),
        (patched(28, 1), "it is of the other byte order"),
        (patched(20, len(IMAGE) << 24), "117440512 entries do not fit"),
        (patched(20, 2**32 - 1), "4294967295 entries do not fit"),
        (patched(12, 2**32 - 1, GOOD["old"]), "4294967295 entries do not fit"),
        (patched(20, 2**15 + 1) + bytes(2**20), "32769 entries do not fit"),
        (patched(24, 2**32 - 1), "the names do not fit"),
        (patched(52, 2**32 - 1), "a name does not lie among the names"),
        (patched(52, 0), "a name does not lie among the names"),
        (patched(56, 47), "a name does not lie among the names"),
        (patched(56, EXTENSION), "a name does not lie among the names"),
        (patched(20, 2**32 - 1, GOOD["old"]), "a name does not lie among the names"),
        (patched(32, EXTENSION + 1), "the extension does not fit"),
        (patched(32, 2**32 - 4), "the extension does not fit"),
        (patched(32, EXTENSION + 4), "the extension does not start as one"),
        (patched(EXTENSION + 4, 3), "the extension's sections do not fit"),
        (patched(EXTENSION + 4, 2**32 - 1), "the extension's sections do not fit"),
        (patched(EXTENSION + 4, 65) + bytes(2000), "the extension's sections do not fit"),
        (patched(EXTENSION + 16, 2**32 - 1), "a section does not fit"),
        (patched(EXTENSION + 20, 2**32 - 1), "a section does not fit"),
        (patched(EXTENSION + 36, 6), "the list of glibc-hwcaps folders is cut off"),
        (patched(EXTENSION + 40, 2**32 - 1), "a name does not lie among the names"),
        (new([(b"a", b"/" + b"a" * 4095, X86, 0)]), "a name is longer than 4095 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "cache",
)
@pytest.mark.parametrize("act", [read, lambda cache: merge(cache, OURS)], ids=["read", "merge"])
def test_a_damaged_cache_is_named_so(
    act: Callable[[bytes], object], cache: bytes, message: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        act(cache)
    assert str(caught.value) == f"the library cache is damaged: {message} [LDCACHE-DAMAGED]"


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    some.sampled_from(list(GOOD.values())),
    some.lists(some.tuples(some.integers(0, 900), some.integers(0, 255)), max_size=6),
)
def test_a_changed_cache_is_damaged_or_gives_a_sound_one(
    cache: bytes, changes: list[tuple[int, int]]
) -> None:
    changed = bytearray(cache)
    for at, value in changes:
        changed[at % len(changed)] = value
    try:
        merged = merge(bytes(changed), OURS)
    except DocumentError as error:
        assert error.identifier == "LDCACHE-DAMAGED"  # noqa: PT017 - one of two good outcomes
        return
    assert set(OURS) <= set(read(merged))
    assert merge(merged, OURS) == merged


def test_a_hostile_cache_costs_little() -> None:
    count = 2**15
    start = 48 + 24 * count
    table = b"".join(
        struct.pack("<iIIIQ", X86, start, start + at % 4000, 0, 0) for at in range(count)
    )
    names = b"1" * 4095 + b"\0"
    header = b"glibc-ld.so.cache1.1" + struct.pack("<IIIIIII", count, len(names), 2, 0, 0, 0, 0)
    begin = time.process_time()
    merged = merge(header + table + names, OURS)
    assert time.process_time() - begin < 5
    assert int.from_bytes(merged[20:24], "little") == count + len(OURS)
