# SPDX-License-Identifier: Apache-2.0
"""What the plugin's loop asks of others: the node, the health of its GPUs, what must be ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gpubind_plugin import seeing
from gpubind_plugin.keeper import TURN_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpubind_plugin.config import Config
    from gpubind_plugin.logs import Log
    from gpubind_plugin.seeing import Seen

AGAIN_S = 60.0  # what no file shows, such as a GPU that is lost, is looked for so often


class Health(Protocol):
    """Whoever knows which GPUs are not well, beyond what a look shows."""

    def looked(self, config: Config, seen: Seen) -> None:
        """Hear what a look gave."""

    def failed(self, error: Exception) -> None:
        """Hear that a look failed."""

    def unhealthy(self) -> Mapping[str, str]:
        """Give the UUIDs of GPUs and MIG devices that nobody should get, with the reasons."""

    def events(self) -> Mapping[str, int]:
        """Give how often each thing was told so far, by kind and number: `xid 79`."""

    def close(self) -> None:
        """End the watching."""


class Well:
    """Knows of nothing that is not well: a `Health`."""

    __slots__ = ()

    def looked(self, config: Config, seen: Seen) -> None:
        """Forget it at once."""

    def failed(self, error: Exception) -> None:
        """Forget it at once."""

    def unhealthy(self) -> Mapping[str, str]:
        """Give nothing, as all is well."""
        return {}

    def events(self) -> Mapping[str, int]:
        """Give nothing, as nothing was told."""
        return {}

    def close(self) -> None:
        """Have nothing to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the loop asks: the node, whether it has changed, and what must be ready.

    `health` makes who knows what is not well, from a function that it calls in any thread when
    that is another; `ready` says why a resource can't be served yet, empty where it can.
    """

    see: Callable[[Config], Seen] = seeing.see
    mark: Callable[[Config], object] = seeing.mark
    health: Callable[[Callable[[], None], Log], Health] = lambda changed, log: Well()  # noqa: ARG005 - nobody knows
    ready: Callable[[Config, str], str] = lambda config, resource: ""  # noqa: ARG005 - the default needs neither
    turn_s: float = TURN_S
    again_s: float = AGAIN_S
