# SPDX-License-Identifier: Apache-2.0
"""What happens to GPUs while somebody watches: the port.

    with contextlib.closing(listening.to(root)) as source:
        while True:
            for event in source.wait(30.0):
                ...

Both sources run in a process of their own, so that a call that hangs or crashes in the driver's
library ends the watching and nothing else. What happened before is not told. A GPU that is
plugged in later is not watched either: begin anew after the GPUs have changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

XID = "xid"  # an error that the kernel module reports; `code` is its number
ECC = "ecc"  # memory errors that could not be corrected
MIG = "mig"  # the GPU's MIG devices are others now
UNWATCHED = "unwatched"  # this GPU can't be watched; `message` says why


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened: its kind, of those above, and the GPU's UUID.

    `time` is when it was noticed, in seconds since the epoch. `gi` and `ci` name the MIG device it
    happened to; they are None where it happened to the whole GPU. `uuid` is empty where nobody
    says which GPU it was.
    """

    kind: str
    time: float
    uuid: str = ""
    gi: int | None = None
    ci: int | None = None
    code: int = 0
    message: str = ""


class GpuEvents(Protocol):
    """Whoever tells what happens to the GPUs, one watcher each."""

    def fileno(self) -> int:
        """Give a descriptor for poll(2), readable where `wait` would not wait.

        It can be another after each call of `wait`.
        """

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Give what happened since the last call, at once where something did.

        Else the first within `timeout_s` seconds; () where nothing happens. Raises ToolkitError
        where the source can tell no more: DRV-EVENTS, or what NVML said. It says so each time,
        without waiting; begin anew, not at once.
        """

    def close(self) -> None:
        """End the watching and its process; no zombie is left."""
