# SPDX-License-Identifier: Apache-2.0
"""/metrics for Prometheus and /healthz, where an address is configured; nothing else is served.

    gpubind_devices{resource,health}              devices offered now
    gpubind_allocations_total{resource}           containers that were given devices
    gpubind_allocation_errors_total{resource}     requests refused
    gpubind_registrations_total{resource,result}  with the kubelet
    gpubind_configurations_total{result}          loaded anew
    gpubind_events_total{kind,code}               what GPUs told, such as Xid 79
    gpubind_look_seconds{result}                  how long a look at the node took

and Prometheus' own figures of the process, such as its memory.
"""

from __future__ import annotations

import json
import socket
import threading
from http import server
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gpubind.errors import ToolkitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOOPBACK = "127.0.0.1"
PATIENCE_S = 10.0  # for a client that says nothing
COUNTED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "allocations": ("Containers that were given devices", ("resource",)),
    "allocation_errors": ("Requests for devices that were refused", ("resource",)),
    "registrations": ("Registrations with the kubelet", ("resource", "result")),
    "configurations": ("Configurations loaded anew", ("result",)),
    "events": ("Events that GPUs told", ("kind", "code")),
}


class Metrics:
    """What is counted and measured, in a registry of its own: a `gpubind_plugin.counts.Counts`."""

    __slots__ = ("_counters", "_devices", "_looks", "_told", "registry")

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._told: dict[str, int] = {}
        prometheus_client.ProcessCollector(registry=self.registry)
        self._counters = {
            name: Counter(f"gpubind_{name}", text, labels, registry=self.registry)
            for name, (text, labels) in COUNTED.items()
        }
        self._devices = Gauge(
            "gpubind_devices", "Devices offered", ("resource", "health"), registry=self.registry
        )
        self._looks = Histogram(
            "gpubind_look_seconds",
            "How long a look at the node took",
            ("result",),
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )

    def count(self, name: str, **labels: str) -> None:
        """Count one more, of those in COUNTED."""
        self._counters[name].labels(**labels).inc()

    def devices(self, resource: str, all_of_them: int, unhealthy: int) -> None:
        """Note how many devices a resource has now."""
        self._devices.labels(resource, "healthy").set(all_of_them - unhealthy)
        self._devices.labels(resource, "unhealthy").set(unhealthy)

    def events(self, told: Mapping[str, int]) -> None:
        """Note how often each event was told so far."""
        for name, total in told.items():
            kind, _, code = name.partition(" ")
            self._counters["events"].labels(kind, code).inc(total - self._told.get(name, 0))
        self._told = dict(told)

    def looked(self, seconds: float, result: str) -> None:
        """Note how long a look at the node took."""
        self._looks.labels(result).observe(seconds)

    def text(self) -> bytes:
        """Give all of it as Prometheus reads it."""
        return prometheus_client.generate_latest(self.registry)


class Page:
    """A server of /metrics and /healthz at `address`, in threads of its own, until closed.

    `standing` gives what /healthz shows, and whether that is good. Raises UsageError K8S-OPTION
    for an address that is none, ToolkitError K8S-METRICS where it can't be listened on.
    """

    __slots__ = ("_server", "address")

    def __init__(
        self,
        address: str,
        metrics: Metrics,
        standing: Callable[[], tuple[Mapping[str, object], bool]],
    ) -> None:
        host, port = place(address)

        class Handler(_Handler):
            def answer(self) -> tuple[int, str, bytes] | None:
                if self.path == "/metrics":
                    return 200, prometheus_client.CONTENT_TYPE_LATEST, metrics.text()
                if self.path == "/healthz":
                    document, good = standing()
                    text = json.dumps(document, indent=2) + "\n"
                    return 200 if good else 503, "application/json", text.encode()
                return None

        kind = _Server6 if ":" in host else _Server
        try:
            self._server = kind((host, port), Handler)
        except OSError as error:
            raise ToolkitError(
                f"metrics can't be served at {address}: {error.strerror or error}",
                identifier="K8S-METRICS",
                hint="give another --metrics-address",
            ) from None
        self.address = f"{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


class _Server(server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hung up is no news."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(server.BaseHTTPRequestHandler):
    timeout = PATIENCE_S
    server_version = "gpubind"
    sys_version = ""

    def answer(self) -> tuple[int, str, bytes] | None:
        """Give status, type and content for the path; None where there is nothing."""
        return None

    def do_GET(self) -> None:
        """Answer, or say that there is nothing here."""
        found = self.answer() or (404, "text/plain", b"there are /metrics and /healthz\n")
        status, kind, content = found
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' word
        """Say nothing: who asks, and how often, is not our business."""


def place(address: str) -> tuple[str, int]:
    """Give host and port of `HOST:PORT`, `[V6]:PORT`, or `PORT` and `:PORT` on loopback."""
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageError(
            f"--metrics-address: {address!a} is no address",
            identifier="K8S-OPTION",
            hint="give HOST:PORT, or a PORT of this host alone",
        )
    return host.strip("[]") or LOOPBACK, int(port)
