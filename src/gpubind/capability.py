# SPDX-License-Identifier: Apache-2.0
"""Which part of a spec a container's driver capabilities let in. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeVar

    from gpubind.oci.types import Edits, LibraryItem, LinkItem, Mount, Node

    T = TypeVar("T", Node, Mount, LinkItem, LibraryItem)


def only(capabilities: Sequence[str], items: Iterable[T]) -> list[T]:
    """Give the items let in: those of one of the capabilities, and those of none at all."""
    return [
        item
        for item in items
        if not item.get("capabilities")
        or any(mark in capabilities for mark in item["capabilities"])
    ]


def narrow(capabilities: Sequence[str], edits: Edits) -> Edits:
    """Give the edits without the nodes and mounts of other capabilities."""
    given: Edits = {**edits}
    if "deviceNodes" in given:
        given["deviceNodes"] = only(capabilities, given["deviceNodes"])
    if "mounts" in given:
        given["mounts"] = only(capabilities, given["mounts"])
    return given
