# SPDX-License-Identifier: Apache-2.0
"""Join several edits into one, as the device `all` joins those of all devices."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from gpubind_cdi.model import NO_EDITS, ContainerEdits
from gpubind_cdi.transform import dedupe

if TYPE_CHECKING:
    from collections.abc import Iterable


def run(edits: Iterable[ContainerEdits]) -> ContainerEdits:
    """Give the union of `edits` in their order, each thing once.

    There can be only one intelRdt: the last one stands.
    """
    parts = list(edits)
    joined: dict[str, Any] = {}
    for part in fields(ContainerEdits):
        held = [getattr(one, part.name) for one in parts]
        if isinstance(getattr(NO_EDITS, part.name), tuple):
            joined[part.name] = tuple(item for items in held for item in items)
        else:
            joined[part.name] = next((value for value in reversed(held) if value is not None), None)
    return dedupe.once(ContainerEdits(**joined))
