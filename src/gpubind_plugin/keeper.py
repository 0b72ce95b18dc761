# SPDX-License-Identifier: Apache-2.0
"""Keeps one resource on its socket and registered, whatever happens to socket and kubelet.

Each second it looks at two files: our socket and the kubelet's. Both are asked for by stat(2), not
inotify(7): the kubelet's folder may be wiped, mounted over or not be there yet, which loses watches
without a word, and a second is soon enough.

The socket is made beside its place, dialled, and put there by rename(2). So it is up when it is
seen, what was there before is replaced in one step, and gRPC, which removes what it has made, never
removes another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import time
from typing import TYPE_CHECKING

from gpubind import errors
from gpubind.errors import ToolkitError
from gpubind_plugin import aside
from gpubind_plugin import standing as reasons
from gpubind_plugin.api import client, server, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio

    from gpubind_plugin.counts import Counts
    from gpubind_plugin.logs import Log
    from gpubind_plugin.service import Service
    from gpubind_plugin.standing import Standing

TURN_S = 1.0
FIRST_S, LAST_S = 1.0, 30.0  # before a registration that failed is tried again
LONGEST = 107  # bytes of a socket's path, see unix(7)
DEFAULT = "/var/lib/kubelet/device-plugins/kubelet.sock"

Identity = tuple[int, int, int]


class Keeper:
    """One resource's socket, and its registration with the kubelet at `kubelet`.

    Where `kubelet` is empty, nothing is registered. `ready` says why it is too early to serve,
    empty where it is not.
    """

    __slots__ = (
        *("_counts", "_kubelet", "_known", "_log", "_made", "_ready", "_server", "_service"),
        *("_standing", "_turn_s", "endpoint", "path"),
    )

    def __init__(
        self,
        service: Service,
        kubelet: str,
        *,
        standing: Standing,
        counts: Counts,
        log: Log,
        ready: Callable[[], str] = str,
        turn_s: float = TURN_S,
    ) -> None:
        self.endpoint = f"nvidia-{service.resource.partition('/')[2]}.sock"
        self.path = os.path.join(os.path.dirname(kubelet or DEFAULT), self.endpoint)
        self._service, self._kubelet, self._ready = service, kubelet, ready
        self._standing, self._counts, self._log = standing, counts, log
        self._turn_s = turn_s
        self._server: grpc.aio.Server | None = None
        self._made: Identity | None = None  # our socket, as we put it there
        self._known: Identity | None = None  # the kubelet's socket where we are registered

    async def keep(self) -> None:
        """Serve until cancelled, or until a new kubelet need not hear of a resource left empty."""
        failures = 0
        try:
            while not self._over():
                kubelet = identity(self._kubelet)
                try:
                    await self._turn(kubelet)
                    failures = 0
                except Exception as error:  # noqa: BLE001 - a defect is told, and tried again
                    self._failed(error)
                    failures += 1
                await self._pause(kubelet, failures)
        finally:
            await self.close()
            self._standing.forget(self._service.resource)

    def _over(self) -> bool:
        """Whether the resource has no devices, and no kubelet waits to hear so."""
        empty = not self._service.offered.devices
        return empty and (self._known is None or identity(self._kubelet) != self._known)

    async def _turn(self, kubelet: Identity | None) -> None:
        """Do what is to be done now; raises where that fails."""
        if self._kubelet and not os.path.isdir(os.path.dirname(self._kubelet)):
            kubelet = None
        elif not self.served:
            self._known = None
            waiting = await aside.run(self._ready)
            if waiting:
                self._standing.begins(self._service.resource, reasons.WAITING, waiting)
                return
            await self._serve()
        if self._kubelet and kubelet is None:
            self._known = None
            message = f"there is no {self._kubelet}: waiting for the kubelet"
            self._standing.begins(self._service.resource, reasons.NO_KUBELET, message)
            return
        if self._kubelet and kubelet != self._known:
            await self._register(kubelet)
        self._standing.ends(self._service.resource)

    @property
    def served(self) -> bool:
        """Whether our socket is where we put it."""
        return self._server is not None and identity(self.path) == self._made

    async def _serve(self) -> None:
        """Make our socket, see that it answers, and put it in its place."""
        await self.close()
        beside = f"{self.path}.new"
        if len(os.fsencode(beside)) > LONGEST:
            raise _refused(f"{self.path} is too long for a socket", "shorten --kubelet-socket")
        _check(beside)
        _check(self.path)
        _probe(beside)
        self._service.open()
        self._server = await server.serve(self._service, beside)
        await client.dial(beside)
        os.rename(beside, self.path)
        self._made = identity(self.path)
        self._log.info("serving", resource=self._service.resource, socket=self.path)

    async def _register(self, kubelet: Identity | None) -> None:
        resource = self._service.resource
        try:
            await client.register(self._kubelet, self.endpoint, resource, wire.options())
        except ToolkitError:
            self._counts.count("registrations", resource=resource, result="failed")
            raise
        self._known = kubelet
        self._counts.count("registrations", resource=resource, result="done")
        devices = len(self._service.offered.devices)
        self._log.info("registered", resource=resource, endpoint=self.endpoint, devices=devices)

    def _failed(self, error: Exception) -> None:
        registering = isinstance(error, ToolkitError) and error.identifier == "K8S-REGISTER"
        reason = reasons.REFUSED if registering else reasons.SOCKET
        message = (
            str(error) if isinstance(error, ToolkitError) else errors.line(error, "K8S-SOCKET")
        )
        self._standing.begins(self._service.resource, reason, message)

    async def _pause(self, kubelet: Identity | None, failures: int) -> None:
        """Wait a turn; after failures longer, unless the kubelet's socket is another."""
        wait = backoff(failures, FIRST_S, LAST_S) if failures else self._turn_s
        until = time.monotonic() + wait
        while identity(self._kubelet) == kubelet and (left := until - time.monotonic()) > 0:  # noqa: ASYNC110 - a file makes no event
            await asyncio.sleep(min(left, self._turn_s))

    async def close(self) -> None:
        """Remove our socket, let those who watch go, and end the server."""
        if self._made is not None and identity(self.path) == self._made:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        self._made = None
        self._service.close()
        ended, self._server = self._server, None
        if ended is not None:
            await ended.stop(server.GRACE_S)


def backoff(failures: int, first_s: float, last_s: float) -> float:
    """Give how long to wait after so many failures, in seconds: twice as long each time."""
    return float(min(first_s * 2 ** min(failures - 1, 30), last_s))


def identity(path: str) -> Identity | None:
    """Give what makes a file this one, None where there is none or it can't be looked at."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


def _check(path: str) -> None:
    """Raise ToolkitError where what lies at `path` is not a socket that we may have left there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise _refused(f"{path} is no socket", "remove it, or see who made it")
    if found.st_uid != os.geteuid():
        raise _refused(f"{path} belongs to user {found.st_uid}", "does another plugin run?")


def _probe(path: str) -> None:
    """Raise OSError with the reason where no socket can be made at `path`; gRPC gives none."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        try:
            probe.bind(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
    os.unlink(path)


def _refused(message: str, hint: str) -> ToolkitError:
    return ToolkitError(message, identifier="K8S-SOCKET", hint=hint)
