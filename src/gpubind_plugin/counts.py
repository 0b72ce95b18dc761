# SPDX-License-Identifier: Apache-2.0
"""Whoever counts what the plugin does: `gpubind_plugin.metrics`, or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Counts(Protocol):
    """What is counted, and what is measured. To be called in any thread."""

    def count(self, name: str, **labels: str) -> None:
        """Count one more `name` (such as `allocations`) with these labels."""

    def devices(self, resource: str, all_of_them: int, unhealthy: int) -> None:
        """Note how many devices a resource has now, and how many of them are unhealthy."""

    def events(self, told: Mapping[str, int]) -> None:
        """Note how often each event was told so far, by kind and number: `xid 79`."""

    def looked(self, seconds: float, result: str) -> None:
        """Note how long a look at the node took; `result` is `done` or `failed`."""


class Nobody:
    """Counts nothing: nobody asks."""

    __slots__ = ()

    def count(self, name: str, **labels: str) -> None:
        """Forget it, as nobody asks."""

    def devices(self, resource: str, all_of_them: int, unhealthy: int) -> None:
        """Forget it, as nobody asks."""

    def events(self, told: Mapping[str, int]) -> None:
        """Forget it, as nobody asks."""

    def looked(self, seconds: float, result: str) -> None:
        """Forget it, as nobody asks."""
