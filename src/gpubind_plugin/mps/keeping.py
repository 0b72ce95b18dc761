# SPDX-License-Identifier: Apache-2.0
"""The MPS daemons of a node: started, watched, begun anew on SIGHUP, stopped on SIGTERM."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING

from gpubind import errors
from gpubind.errors import ToolkitError
from gpubind_plugin import looking, resources
from gpubind_plugin.mps import control, plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubind_plugin.config import Config
    from gpubind_plugin.logs import Log
    from gpubind_plugin.mps.plan import Daemon

READY = ".ready"
TURN_S = 30.0  # between looks at the daemons, and before a start that failed is tried again
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Signals:
    """The signals of this process from now on, as they come."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        # Written to by the handler proper, so that none comes unseen just before a wait.
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def next(self, seconds: float) -> int:
        """Give the next signal's number, 0 where none comes in time."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return os.read(self._reader, 1)[0] if poll.poll(seconds * 1000) else 0


class Keeping:
    """The daemons that are wanted and those that run, below a root.

    `load` gives the configuration. A daemon that can't be started is tried again each turn; the
    others run meanwhile.
    """

    def __init__(
        self, load: Callable[[], Config], log: Log, root: str = plan.ROOT, turn_s: float = TURN_S
    ) -> None:
        self._load, self._log, self._root, self._turn_s = load, log, root, turn_s
        self._tools = control.Programs(control=control.CONTROL, smi=control.SMI)
        self._wanted: list[Daemon] = []
        self._running: list[Daemon] = []
        self._told: dict[str, int] = {}  # how far each daemon's log is passed on
        self._waiting = False

    def run(self, next_signal: Callable[[float], int]) -> None:
        """Keep the daemons until a signal says that this is the end; then none is left.

        `next_signal` gives a signal's number, 0 after so many seconds without one.
        """
        config = self._load()
        self._unready()  # whoever left the mark was ended before it could take it away
        try:
            while True:
                self._turn(config)
                number = next_signal(self._turn_s)
                if number == signal.SIGHUP:
                    config = self._again(config)
                    self._stop()
                elif number:
                    self._log.info("ends", signal=signal.Signals(number).name)
                    return
        finally:
            self._stop()

    def _again(self, config: Config) -> Config:
        """Give the configuration as it is now; one that is wrong is said, and the old one holds."""
        try:
            return self._load()
        except (ToolkitError, OSError) as error:
            self._log.warning(f"the old configuration holds: {_line(error)}")
            return config

    def _turn(self, config: Config) -> None:
        """See that all daemons run that are wanted."""
        if not self._wanted:
            try:
                self._want(config)
            except (ToolkitError, OSError) as error:
                self._log.warning(f"{_line(error)}; retrying in {self._turn_s:g}s")
                return
        for daemon in self._wanted:
            if daemon not in self._running or not self._answers(daemon):
                self._start(daemon)
        if self._wanted and len(self._running) == len(self._wanted):
            with open(os.path.join(self._root, READY), "wb"):
                pass
        self._pass_on()

    def _want(self, config: Config) -> None:
        """Look which daemons are wanted."""
        if config.sharing.mps.resources:
            facts = looking.look(config)
            self._wanted = plan.daemons(resources.offer(config, facts).resources)
            self._tools = control.programs(facts.roots.driver)
        if not self._wanted and not self._waiting:
            self._log.warning("no devices are configured for MPS sharing: waiting")
        self._waiting = not self._wanted

    def _answers(self, daemon: Daemon) -> bool:
        try:
            control.tell(self._tools, self._root, daemon.resource, [control.PROBE])
        except ToolkitError as error:
            self._log.warning(f"MPS daemon is gone: {error}", resource=daemon.resource)
            self._end(daemon)
            return False
        return True

    def _start(self, daemon: Daemon) -> None:
        self._told.pop(daemon.resource, None)
        try:
            control.start(self._tools, self._root, daemon)
        except (ToolkitError, OSError) as error:
            message = f"failed to start MPS daemon: {_line(error)}; retrying in {self._turn_s:g}s"
            self._log.warning(message, resource=daemon.resource)
            return
        self._running.append(daemon)
        self._log.info("MPS daemon runs", resource=daemon.resource, gpus=len(daemon.uuids))

    def _end(self, daemon: Daemon) -> None:
        """Stop a daemon, and say what of that did not work; without all nothing is ready."""
        self._unready()
        self._running.remove(daemon)
        for failure in control.stop(self._tools, self._root, daemon):
            self._log.warning(failure, resource=daemon.resource)
        self._log.info("MPS daemon ended", resource=daemon.resource)

    def _unready(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._root, READY))

    def _stop(self) -> None:
        self._pass_on()
        for daemon in [*self._running]:
            self._end(daemon)
        self._wanted, self._waiting = [], False

    def _pass_on(self) -> None:
        """Say what the daemons have written into their logs since."""
        for daemon in self._running:
            name = os.path.join(control.folder(self._root, daemon.resource, "log"), "control.log")
            with contextlib.suppress(OSError), open(name, "rb") as file:
                file.seek(self._told.get(daemon.resource, 0))
                for line in file:
                    said = line.decode("utf-8", "replace").rstrip()
                    self._log.info(said, resource=daemon.resource)
                self._told[daemon.resource] = file.tell()


def _line(error: ToolkitError | OSError) -> str:
    return str(error) if isinstance(error, ToolkitError) else errors.line(error, "SYS-REFUSED")
