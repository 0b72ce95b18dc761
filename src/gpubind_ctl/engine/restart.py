# SPDX-License-Identifier: Apache-2.0
"""Daemons restarted: by systemd, or by a signal to the process; and whether they came up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol

from gpubind.errors import ToolkitError, UsageError
from gpubind_ctl.engine import unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_ctl.engine.engine import Daemon, Host, Service

PATIENCE = 60  # seconds for a daemon to come up
_INTERVAL = 0.2
MODES = ("auto", "systemd", "signal")


class Restarter(Protocol):
    """Something that makes a daemon read its files again."""

    def restart(self, service: Service) -> None:
        """Ask for it; the daemon need not be up when this returns, or ever."""


class Systemd:
    """Restarts the unit."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def restart(self, service: Service) -> None:
        """Restart the unit; whether that worked is seen by asking the daemon."""
        self.host.output("systemctl", "reset-failed", service.unit)
        self.host.output("systemctl", "--no-block", "restart", service.unit)


class Signal:
    """Has the running process read its files again, without restarting it."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def restart(self, service: Service) -> None:
        """Send SIGHUP to the daemon, if it still runs."""
        daemon = self.host.running(service)
        if daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.pid, signal.SIGHUP)


def of(mode: str, host: Host, service: Service) -> Restarter:
    """Give the way to restart; `auto` is systemd where that runs.

    Raises ToolkitError where there is none, so that nothing is changed then.
    """
    if not service.program:
        raise UsageError(
            "this engine has no daemon", identifier="USE-RESTART", hint="leave --restart out"
        )
    if mode == "systemd" or (mode == "auto" and os.path.isdir("/run/systemd/system")):
        return Systemd(host)
    if not service.reloads:
        raise _none(f"{service.program} has no signal for it", "restart it by its supervisor")
    if host.running(service) is None:
        raise _none(f"no {service.program} is running", "leave --restart out, and start it")
    return Signal(host)


def up(service: Service, host: Host, runtime: str, since: float, patience: float) -> bool:
    """Wait until the daemon answers and, if it reloads, knows the runtime; tell whether it did.

    `since` is the earliest start that counts, in seconds of the epoch; 0 is any. `patience` is in
    seconds.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        daemon = host.running(service)
        if daemon is not None and daemon.started >= since and _answers(service, daemon, runtime):
            return True
        time.sleep(_INTERVAL)
    return False


def _answers(service: Service, daemon: Daemon, runtime: str) -> bool:
    for path in _sockets(service, daemon):
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.settimeout(5)
                one.connect(path)
                return not service.reloads or not runtime or runtime in _runtimes(one)
        except OSError:
            continue
    return False


def _sockets(service: Service, daemon: Daemon) -> Iterator[str]:
    """Give the paths a daemon listens on: of its command line, else the usual ones."""
    given = unit.flag(daemon.argv, "--host", "-H", "--address", "-a") or ""
    path = given.removeprefix("unix://")
    if path.startswith("/"):
        yield path
    else:
        yield from service.sockets


def _runtimes(one: socket.socket) -> tuple[str, ...]:
    """Give the runtimes dockerd says it has, none where it says something else."""
    one.sendall(b"GET /info HTTP/1.0\r\n\r\n")
    parts = []
    while part := one.recv(1 << 16):
        parts.append(part)
    try:
        value: Any = json.loads(b"".join(parts).partition(b"\r\n\r\n")[2])
        return tuple(value["Runtimes"])
    except (ValueError, KeyError, TypeError):
        return ()


def _none(message: str, hint: str) -> ToolkitError:
    return ToolkitError(message, identifier="ENGINE-RESTART", hint=hint)
