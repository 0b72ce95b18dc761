# SPDX-License-Identifier: Apache-2.0
"""What is left of a spec without the parts that are none, so that one look finds all its faults."""

from __future__ import annotations

import copy
import re
from typing import Any

from gpubind.errors import DocumentError
from gpubind_cdi import validate
from gpubind_cdi.model import Spec

STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
UNKNOWN = re.compile(r'unknown field "(.*)"', re.DOTALL)
WORK = 1_000_000  # parts that are read in all, each time one is taken away anew


def problems(loaded: Any, structure: list[DocumentError]) -> list[DocumentError]:
    """Give the broken rules of a document that is no spec, beside the faults of its structure.

    What was taken away, and what is only wrong because of that, is not told again.
    """
    left = copy.deepcopy(loaded)
    gone = [fault.path for fault in structure]
    for _ in range(WORK // _size(left)):
        try:
            spec = Spec.parse(left)
        except DocumentError as error:
            place = _without(left, error)
            if place is None:
                return []
            gone.append(place)
        else:
            return [fault for fault in validate.problems(spec) if not _near(fault.path, gone)]
    return []


def _size(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + sum(map(_size, value)) if isinstance(value, list) else 1


def _near(path: str, gone: list[str]) -> bool:
    return any(path.startswith(place) or place.startswith(path) for place in gone if place)


def _without(document: Any, error: DocumentError) -> str | None:
    """Take away the nearest member that a fault is in; give its place, None where there is none."""
    holder, key, place = document, None, ""
    owner: Any = None
    reached = ""
    for match in STEP.finditer(error.path):
        step: Any = int(match[1]) if match[1] else match[2]
        try:
            following = holder[step]
        except (KeyError, IndexError, TypeError):
            break
        reached = error.path[: match.end()]
        if isinstance(holder, dict):
            owner, key, place = holder, step, reached
        holder = following
    unknown = UNKNOWN.match(error.message)
    if unknown and isinstance(holder, dict) and unknown[1] in holder:
        del holder[unknown[1]]
        return f"{reached}.{unknown[1]}"
    if owner is None:
        return None
    del owner[key]
    return place
