# SPDX-License-Identifier: Apache-2.0
"""The order of names in an ld.so.cache, which the loader's search by halving relies on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from ldcaches import I386, X86

from gpubind import ldcache
from gpubind.ldcache import Entry, merge, read


def libcmp(one: bytes, two: bytes) -> int:
    """Compare names as glibc does: numbers by value and above letters, letters as signed char."""

    def parts(name: bytes) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        number = None
        for letter in name + b"\0":
            if 48 <= letter < 58:
                number = (number or 0) * 10 + letter - 48
                continue
            if number is not None:
                number = (number + 2**31) % 2**32 - 2**31
                found.append((1, number))
                number = None
            found.append((0, letter - 256 if letter > 127 else letter))
        return found

    return (parts(one) > parts(two)) - (parts(one) < parts(two))


NAMES = some.text("lib.so0129\x80\xff_Z-", max_size=14).map(lambda text: text.encode("latin-1"))


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(NAMES, NAMES)
def test_names_rank_as_glibc_compares_them(one: bytes, two: bytes) -> None:
    first, second = ldcache.rank(one), ldcache.rank(two)
    assert (first > second) - (first < second) == libcmp(one, two)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (b"libfoo.so.9", b"libfoo.so.10"),
        (b"libfoo.so", b"libfoo.so.1"),
        (b"libfoo.so.", b"libfoo.so.1"),
        (b"libz.so", b"lib2.so"),
        (b"lib\xe4.so", b"lib"),
        (b"lib.so.4294967297", b"lib.so.2"),
        (b"lib.so.3000000000", b"lib.so.0"),
        (b"lib.so.99", b"lib.so.100"),
        (b"lib1a", b"lib01b"),
        (b"lib", b"lib\1"),
        (b"lib" + b"9" * 9000, b"lib5"),
    ],
    ids=lambda name: repr(name[:20]),
)
def test_a_name_ranks_below_another(low: bytes, high: bytes) -> None:
    assert ldcache.rank(low) < ldcache.rank(high)
    assert libcmp(low, high) == -1


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(some.lists(some.tuples(NAMES.filter(bool), some.sampled_from([X86, I386]))), some.data())
def test_any_libraries_in_any_order_come_out_sorted(
    wanted: list[tuple[bytes, int]], data: some.DataObject
) -> None:
    libraries = [Entry(name, b"/usr/lib/" + name, flags) for name, flags in dict(wanted).items()]
    shuffled = data.draw(some.permutations(libraries))
    cut = len(shuffled) // 2
    in_two_steps = read(merge(merge(b"", shuffled[:cut]), shuffled[cut:]))
    for found in (in_two_steps, read(merge(b"", shuffled))):
        ranks = [(ldcache.rank(entry.name), entry.flags) for entry in found]
        assert ranks == sorted(ranks, reverse=True)
        assert set(found) == set(libraries)
