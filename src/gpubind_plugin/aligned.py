# SPDX-License-Identifier: Apache-2.0
"""Which of the free GPUs a container gets: those that are close, and leave close ones behind.

The free GPUs are divided into sets of the size asked for such that the scores of all pairs within
sets add up to the most; of these sets the container gets the one with the highest score. That is
the field's answer, to the order of equals, found without going through all divisions: GPUs
that have the same scores with all others are one kind, and what is best for what is left depends
on the kinds alone. Where even that takes more than STEPS sets, a set is grown from each GPU.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpubind_plugin.links import Score

    Set = tuple[int, ...]

STEPS = 40_000
NONE = -(1 << 40)  # a score that no addition makes good


def best(available: Sequence[str], required: Sequence[str], size: int, score: Score) -> list[str]:
    """Give the `size` of `available` to take, with all that are required.

    The list is empty where there are no such, as the field has it.
    """
    return counted(available, required, size, score)[0]


def counted(
    available: Sequence[str], required: Sequence[str], size: int, score: Score
) -> tuple[list[str], int]:
    """Give what `best` gives, and how many sets were looked at."""
    names, wanted = list(dict.fromkeys(available)), set(required)
    if not 0 < size <= len(names) or len(wanted) > size or not wanted <= set(names):
        return [], 0
    search = _Search(names, wanted, size, score)
    try:
        found = search.found()
    except OverflowError:
        found = search.grown()
    return [names[place] for place in found], search.steps


class _Search:
    """GPUs by their place in the list; as many nobodies as needed make it divide evenly.

    A set has all nobodies or none; the one that has them is never the answer.
    """

    def __init__(self, names: Sequence[str], required: set[str], size: int, score: Score) -> None:
        self.size = size
        self.all: Set = tuple(range(len(names)))
        self.required = {place for place in self.all if names[place] in required}
        self.scores = [
            [score(one, other) if one != other else 0 for other in names] for one in names
        ]
        self.kinds = [self._kind(place) for place in self.all]
        self.known: dict[Set, int] = {}
        self.steps = 0

    def found(self) -> Set:
        """Give the best set. Raises OverflowError after too many steps."""
        good = [
            one for one in self._division() if len(one) == self.size and self.required <= set(one)
        ]
        return max(good, key=self._score, default=())  # of equals the first

    def grown(self) -> Set:
        """Give the best of the sets that grow from each GPU by whichever adds most."""
        starts = [set(self.required)] if self.required else [{place} for place in self.all]
        sets = []
        for start in starts:
            while len(start) < self.size:
                left = (place for place in self.all if place not in start)
                start.add(max(left, key=lambda one: sum(self.scores[one][it] for it in start)))
            sets.append(tuple(sorted(start)))
        return max(sets, key=self._score)

    def _kind(self, place: int) -> int:
        """Give the first GPU that this one could be exchanged for."""
        if place in self.required:
            return place
        return next(
            other
            for other in self.all
            if other == place or (other not in self.required and self._alike(place, other))
        )

    def _alike(self, one: int, other: int) -> bool:
        return all(
            self.scores[one][it] == self.scores[other][it]
            for it in self.all
            if it not in (one, other)
        )

    def _score(self, chosen: Set) -> int:
        return sum(self.scores[one][other] for one, other in itertools.combinations(chosen, 2))

    def _division(self) -> Iterator[Set]:
        """Give the sets of the first of the best divisions."""
        left = self.all
        while left:
            most = self._most(left)
            for chosen, rest in self._sets(left):
                if most >= 0 and self._score(chosen) + self._most(rest) == most:
                    yield chosen
                    left = rest
                    break
            else:
                return

    def _most(self, left: Set) -> int:
        """Give what the best division of these adds up to; far below 0 where there is none."""
        if not left:
            return 0
        key = tuple(sorted(self.kinds[place] for place in left))
        if key not in self.known:
            totals = (self._score(chosen) + self._most(rest) for chosen, rest in self._sets(left))
            self.known[key] = max(totals, default=NONE)
        return self.known[key]

    def _sets(self, left: Set) -> Iterator[tuple[Set, Set]]:
        """Give each allowed set with the first of these, and what it leaves, in order."""
        nobodies = -len(left) % self.size
        others, free = range(1, len(left)), tuple(range(len(left), len(left) + nobodies))
        full = itertools.combinations(others, self.size - 1)
        short = itertools.combinations(others, self.size - 1 - nobodies) if nobodies else iter(())
        for places in heapq.merge(full, (one + free for one in short)):
            self.steps += 1
            if self.steps > STEPS:
                raise OverflowError
            taken = {0, *places}
            chosen = tuple(left[place] for place in sorted(taken) if place < len(left))
            held = self.required & set(chosen)
            if not held or (held == self.required and len(chosen) == self.size):
                yield chosen, tuple(one for at, one in enumerate(left) if at not in taken)
