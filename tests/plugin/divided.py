# SPDX-License-Identifier: Apache-2.0
"""The best of all ways to divide GPUs into sets, found by going through all of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Score = Callable[[str, str], int]


def divisions(left: Sequence[str | None], size: int) -> Iterator[list[list[str | None]]]:
    """Give all divisions into sets: the first of what is left is always in the next set."""
    if not left:
        yield []
        return
    nobodies = left.count(None)
    for places in itertools.combinations(range(1, len(left)), size - 1):
        one = [left[0], *(left[place] for place in places)]
        if one.count(None) in (0, nobodies):
            rest = [it for at, it in enumerate(left) if at and at not in places]
            for more in divisions(rest, size):
                yield [one, *more]


def best(names: list[str], required: set[str], size: int, score: Score) -> list[str]:
    """Give the best set of the first of the best divisions."""

    def of(one: list[str | None]) -> int:
        return sum(score(a, b) for a, b in itertools.combinations(one, 2) if a and b)

    found: list[list[str | None]] | None = None
    padded: list[str | None] = [*names, *[None] * (-len(names) % size)]
    for division in divisions(padded, size):
        good = [one for one in division if None not in one and required <= set(one)]
        if good and (found is None or sum(map(of, division)) > sum(map(of, found))):
            found = division
    sets = [one for one in found or [] if None not in one and required <= set(one)]
    return [one for one in max(sets, key=of, default=[]) if one]
