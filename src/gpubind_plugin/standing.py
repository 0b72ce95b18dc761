# SPDX-License-Identifier: Apache-2.0
"""What is wrong at the moment, each with a reason: said once when it begins and once when it ends.

    standing.begins("driver", NO_DRIVER, "no NVIDIA driver in /driver-root: …")
    standing.ends("driver")

It is what /healthz shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gpubind_plugin.logs import INFO, WARNING

if TYPE_CHECKING:
    from gpubind_plugin.logs import Log

STARTING = "starting"  # the first look at the node is not over
NO_DRIVER = "no-driver"  # there is no driver, or its kernel module is not loaded
NO_LIBRARY = "no-library"  # the driver is loaded, its libraries are not where we look
DRIVER = "driver-failed"  # the driver's library does not answer, or says that it can't work
NO_DEVICES = "no-devices"  # the driver serves no GPU, or none that the configuration offers
PARTIAL = "partial"  # some devices are left out, or are not healthy
MIG = "mig-strategy"  # the GPUs' MIG modes do not fit the strategy
CONFIG = "bad-config"  # a new configuration was refused; the one before holds
SPECS = "specs-failed"  # the CDI specs could not be written
NO_KUBELET = "no-kubelet"  # the kubelet's socket is not there
SOCKET = "socket-failed"  # our own socket can't be served
REFUSED = "not-registered"  # the kubelet did not register a resource
WAITING = "not-ready"  # a resource waits for what it needs, such as the MPS daemon
FINE = frozenset({NO_DEVICES, PARTIAL})
"""Reasons with which all that can be served is served."""


class Trouble(NamedTuple):
    """Why something is not as it should be, in a word and in a line."""

    reason: str
    message: str


class Standing:
    """The troubles there are, by what they are about."""

    __slots__ = ("_log", "troubles")

    def __init__(self, log: Log) -> None:
        self._log = log
        self.troubles: dict[str, Trouble] = {}

    def begins(self, topic: str, reason: str, message: str) -> None:
        """Note a trouble, and say it unless it is said already."""
        trouble = Trouble(reason, message)
        if self.troubles.get(topic) != trouble:
            self.troubles[topic] = trouble
            level = INFO if reason == STARTING else WARNING
            self._log.tell(level, message, about=topic, reason=reason)

    def ends(self, topic: str) -> None:
        """Note that there is no trouble with something, and say so where there was."""
        trouble = self.troubles.pop(topic, None)
        if trouble is not None:
            self._log.info("is well now", about=topic, was=trouble.reason)

    def forget(self, topic: str) -> None:
        """Note that something is no longer anybody's concern; nothing is said."""
        self.troubles.pop(topic, None)

    @property
    def fine(self) -> bool:
        """Whether all that can be served is served."""
        return all(trouble.reason in FINE for trouble in self.troubles.values())

    def document(self) -> dict[str, object]:
        """Give it as /healthz shows it."""
        troubles = list(self.troubles.items())  # the loop may go on meanwhile
        return {
            "status": "ok" if not troubles else "degraded" if self.fine else "failed",
            "troubles": [
                {"about": topic, "reason": trouble.reason, "message": trouble.message}
                for topic, trouble in sorted(troubles)
            ],
        }
