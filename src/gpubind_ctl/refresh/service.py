# SPDX-License-Identifier: Apache-2.0
"""The resident refresh of one spec file: what it listens to, what it does, what it says."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from gpubind_cdi import signs

from gpubind import config
from gpubind_ctl import roots
from gpubind_ctl.refresh import manager, once, owned, presence, record, waiting, watch
from gpubind_ctl.refresh.gpus import Gpus
from gpubind_ctl.refresh.uevents import Uevents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpubind_cdi.events import GpuEvents

    from gpubind_ctl.refresh.job import Job
    from gpubind_ctl.refresh.once import Outcome
    from gpubind_ctl.refresh.watch import Source

FIRST_RETRY_S, LAST_RETRY_S = 10.0, 320.0
FORCING = (watch.HANGUP, "mig ", "xid ")
"""Reasons to look at the driver though no file has changed."""


class Service:
    """A job that is refreshed whenever something happened to it.

    `tell` hears one line for each change. `gpus` are listened to while there are some, `others`
    always. The first look waits up to `wait_s` seconds for the driver.
    """

    __slots__ = ("_gpus", "_job", "_known", "_others", "_retry_s", "_tell", "_wait_s")

    def __init__(
        self,
        job: Job,
        tell: Callable[[str], None],
        *,
        wait_s: float = 0.0,
        gpus: Gpus | None = None,
        others: Sequence[Source] = (),
    ) -> None:
        self._job = job
        self._tell = tell
        self._wait_s = wait_s
        self._gpus = gpus
        self._others = others
        self._retry_s = 0.0
        self._known: dict[str, Any] = {}

    def sources(self) -> Sequence[Source]:
        """Give what is listened to now."""
        if self._gpus is None:
            return self._others
        if not self._gone():
            self._gpus.begin()
        return (*self._others, self._gpus)

    def look(self, reason: str) -> float:
        """Refresh, say what came of it, and give after how long to try again, 0 for not at all."""
        if self._gpus is not None and reason:
            self._gpus.close()  # it knows the GPUs of before, and would be in the way of an unload
        force = reason.startswith(FORCING)
        outcome = waiting.refresh(self._job, self._wait_s, self._tell, force=force)
        self._wait_s = 0.0
        if record.note(self._job, outcome) or outcome.state == once.WRITTEN:
            self._say(outcome, reason)
        self._known = self._seen(held=outcome.status in (0, 3))
        manager.tell("READY=1", f"STATUS={outcome.message or outcome.state}")
        later = min(self._retry_s * 2, LAST_RETRY_S) if self._retry_s else FIRST_RETRY_S
        self._retry_s = later if outcome.status else 0.0
        return self._retry_s

    def changed(self) -> str:
        """Give what is not as it was after the last look, empty for nothing."""
        if self._gone() != self._known["gone"]:
            return "the driver, which came or went"
        if config.stamp(self._job.output) != self._known["file"]:
            return self._job.output
        return signs.difference(self._known["signs"])

    def _gone(self) -> str:
        try:
            return presence.gone(self._job)
        except OSError as error:
            return str(error)  # a look says it in full

    def _seen(self, *, held: bool) -> dict[str, Any]:
        """Give what `changed` compares with: what the spec was made of, if it holds."""
        made: dict[str, Any] = {}
        with contextlib.suppress(OSError):
            made = owned.look(self._job).made or {}
        known = made.get("signs", {})
        return {
            "gone": self._gone(),
            "file": config.stamp(self._job.output),
            "signs": known if held else signs.again(known),
        }

    def _say(self, outcome: Outcome, reason: str) -> None:
        because = f" ({reason})" if reason and not outcome.identifier else ""
        holds = f"{self._job.output} holds" if outcome.state == once.CURRENT and reason else ""
        if outcome.message or holds:
            self._tell(f"{outcome.message or holds}{because}")
        for note in outcome.notes:
            self._tell(note)


@contextlib.contextmanager
def listened(
    job: Job, tell: Callable[[str], None], *, gpu_events: bool
) -> Iterator[tuple[Gpus | None, tuple[Source, ...]]]:
    """Give what tells of GPUs, if that is wanted, and of devices on this host.

    A host whose kernel tells nothing is looked at every interval all the same.
    """
    with contextlib.ExitStack() as stack:
        others: tuple[Source, ...] = ()
        try:
            others = (stack.enter_context(contextlib.closing(Uevents())),)
        except OSError as error:
            tell(f"the kernel tells nothing of devices here: {error.strerror}")
        gpus = Gpus(lambda: _begun(job)) if gpu_events else None
        if gpus is not None:
            stack.enter_context(contextlib.closing(gpus))
        yield gpus, others


def _begun(job: Job) -> GpuEvents:
    from gpubind_cdi import listening, simulated

    with roots.opened(job.driver_root, job.dev_root) as found:
        own = simulated.is_simulated(found.nodes)
        root = found.nodes if own else found.driver
        return listening.to(root, job.options.library_search_paths)
