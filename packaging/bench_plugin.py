# SPDX-License-Identifier: Apache-2.0
"""What `bench` measures of the device plugin: how long it keeps a kubelet waiting, its memory.

Two installed plugins serve a simulated node of 16 GPUs over their real sockets: one each GPU 48
times, the other whole GPUs, where those are to be chosen that are close to each other. The calls
are made in turn, in another order each time, so that a busy moment meets all alike. A figure is a
multiple of what an empty call takes there, GetDevicePluginOptions: p50 of its p50, p99 of its p99.
The plugins have a /run of their own, so that they change no CDI spec of this host. Run by itself,
this measures nothing else. Needs root.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bench_scale
import demo
import install

from gpubind_ctl.simulate import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

GPUS, REPLICAS = 16, 48
CALLS = 1000
RESOURCE = "nvidia.com/gpu"
SERVICE = "v1beta1.DevicePlugin"
EMPTY = "an empty call"
FIRST = "ListAndWatch, the first list"
LIMIT_S = 60.0
PRIVATE = ("/usr/bin/unshare", "--mount", "--propagation=private", "/bin/sh", "-c")
OWN_RUN = 'mount -t tmpfs -o mode=755 bench /run && exec "$@"'
SHARED = {"name": RESOURCE, "replicas": REPLICAS}
CONFIGS = {
    "shared": {"version": "v1", "sharing": {"timeSlicing": {"resources": [SHARED]}}},
    "whole": {"version": "v1"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A process's resident memory in MiB, and its helpers'."""

    own: float
    helpers: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured: seconds by what was called, memory at first and after the calls."""

    taken: Mapping[str, Sequence[float]]
    size: int
    before: Memory
    after: Memory


def possible() -> bool:
    """Tell whether what the plugin needs beside gpubind is there."""
    return importlib.util.find_spec("grpc") is not None


class Client:
    """A kubelet that has one plugin register, and calls it."""

    def __init__(self, socket: str) -> None:
        import grpc

        from gpubind_plugin.api import messages

        self.messages = messages
        self.registered = threading.Event()
        method = grpc.unary_unary_rpc_method_handler(
            self._register,
            request_deserializer=messages.RegisterRequest.FromString,
            response_serializer=messages.Empty.SerializeToString,
        )
        handler = grpc.method_handlers_generic_handler("v1beta1.Registration", {"Register": method})
        self.server = grpc.server(futures.ThreadPoolExecutor(1))
        self.server.add_generic_rpc_handlers((handler,))
        self.server.add_insecure_port(f"unix:{socket}")
        self.server.start()
        self.folder = os.path.dirname(socket)

    def _register(self, request: Any, context: Any) -> Any:
        del context
        self.endpoint = request.endpoint
        self.registered.set()
        return self.messages.Empty()

    def dial(self) -> None:
        """Connect to the plugin once it has registered. Raises DemoError where it does not."""
        import grpc

        if not self.registered.wait(LIMIT_S):
            raise demo.DemoError(f"the device plugin did not register in {LIMIT_S:.0f} s")
        self.channel = grpc.insecure_channel(f"unix:{self.folder}/{self.endpoint}")

    def call(self, method: str, request: Any) -> bytes:
        """Call a method of the plugin; gives its answer as it came."""
        made = self.channel.unary_unary(
            f"/{SERVICE}/{method}", request_serializer=type(request).SerializeToString
        )
        answer: bytes = made(request, timeout=LIMIT_S)
        return answer

    def first(self) -> bytes:
        """Give the first list of devices that a new watcher is sent."""
        made = self.channel.unary_stream(
            f"/{SERVICE}/ListAndWatch",
            request_serializer=self.messages.Empty.SerializeToString,
        )
        stream = made(self.messages.Empty(), timeout=LIMIT_S)
        answer: bytes = next(stream)
        stream.cancel()
        return answer

    def devices(self, listed: bytes) -> list[str]:
        """Give the ids in a list of devices."""
        return [one.ID for one in self.messages.ListAndWatchResponse.FromString(listed).devices]

    def close(self) -> None:
        """Hang up, and be no kubelet any more."""
        if self.registered.is_set():
            self.channel.close()
        self.server.stop(None).wait()


def calls(client: Client, devices: Sequence[str]) -> dict[str, Callable[[int], object]]:
    """Give what is called, by name; each is told its turn."""
    m = client.messages

    def allocate(turn: int) -> object:
        one = m.ContainerAllocateRequest(devices_ids=[devices[turn % len(devices)]])
        return client.call("Allocate", m.AllocateRequest(container_requests=[one]))

    return {
        EMPTY: lambda _: client.call("GetDevicePluginOptions", m.Empty()),
        "Allocate": allocate,
        FIRST: lambda _: client.first(),
    }


def choices(
    client: Client, devices: Sequence[str], sizes: Sequence[int]
) -> dict[str, Callable[[int], object]]:
    """Give the calls that have so many devices chosen, by name."""
    m = client.messages

    def prefer(size: int, turn: int) -> object:
        del turn
        one = m.ContainerPreferredAllocationRequest(
            available_deviceIDs=devices, allocation_size=size
        )
        request = m.PreferredAllocationRequest(container_requests=[one])
        return client.call("GetPreferredAllocation", request)

    return {
        f"GetPreferredAllocation, {size} of {len(devices)}": functools.partial(prefer, size)
        for size in sizes
    }


def memory(pid: int) -> Memory:
    """Read a process's memory and that of the processes it started."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        helpers = tuple(_resident(int(one)) for one in file.read().split())
    return Memory(own=_resident(pid), helpers=helpers)


def _resident(pid: int) -> float:
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


@contextlib.contextmanager
def served(home: str, name: str) -> Iterator[tuple[Client, subprocess.Popen[bytes]]]:
    """Run the plugin that is installed in `home`, with one of CONFIGS, and give its kubelet."""
    place = f"{home}/plugin-{name}"
    layout.lay_out(bench_scale.node(GPUS, 0), f"{place}/node")
    with open(f"{place}/config.json", "w", encoding="ascii") as file:
        json.dump(CONFIGS[name], file)
    client = Client(f"{place}/kubelet.sock")
    words = (
        f"{home}/bin/gpubind-device-plugin",
        f"--driver-root={place}/node",
        f"--driver-root-ctr-path={place}/node",
        f"--config-file={place}/config.json",
        f"--kubelet-socket={place}/kubelet.sock",
    )
    null = subprocess.DEVNULL
    started = subprocess.Popen((*PRIVATE, OWN_RUN, "sh", *words), stdin=null, stderr=null)
    try:
        client.dial()
        yield client, started
    finally:
        started.terminate()
        started.wait()
        client.close()


def run(home: str, rounds: int = CALLS) -> Figures:
    """Measure the plugin that is installed in `home`. Raises DemoError."""
    import grpc

    with served(home, "shared") as (client, process), served(home, "whole") as (other, _):
        try:
            listed = client.first()
            devices = client.devices(listed)
            before = memory(process.pid)
            named = {
                **calls(client, devices),
                **choices(client, devices, (1, 8)),
                **choices(other, other.devices(other.first()), (8,)),
            }
            taken = timed(named, rounds)
        except grpc.RpcError as error:
            raise demo.DemoError(f"the device plugin refuses a call: {error}") from None
        after = memory(process.pid)
        return Figures(taken=taken, size=len(listed), before=before, after=after)


def timed(named: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, list[float]]:
    """Call each so often, in turn; gives the seconds that each call took."""
    taken: dict[str, list[float]] = {name: [] for name in named}
    for turn in range(rounds):
        names = list(named)
        random.Random(turn).shuffle(names)  # noqa: S311 - who comes after whom counts, no secret
        for name in names:
            begun = time.perf_counter()
            named[name](turn)
            taken[name].append(time.perf_counter() - begun)
    return taken


def shares(values: Sequence[float]) -> tuple[float, float]:
    """Give the median and what 99 of 100 stay below. Pure."""
    return statistics.median(values), sorted(values)[min(len(values) - 1, len(values) * 99 // 100)]


def told(figures: Figures) -> Iterator[str]:
    """Give the lines of the table. Pure."""
    empty = shares(figures.taken[EMPTY])
    rounds = len(figures.taken[EMPTY])
    yield f"device plugin, {GPUS} GPUs, each {REPLICAS} times, {rounds} calls; times: of {EMPTY}"
    yield f"{'what':36}{'p50':>10}{'p99':>12}{'p50 times':>11}{'p99 times':>11}"
    for name, values in figures.taken.items():
        half, most = shares(values)
        yield (
            f"{name:36}{half * 1000:7.2f} ms{most * 1000:9.2f} ms"
            f"{half / empty[0]:11.2f}{most / empty[1]:11.2f}"
        )
    yield f"the list has {figures.size:,} bytes"
    yield f"memory (VmRSS): {_memory(figures.before)} at first, {_memory(figures.after)} after"


def _memory(found: Memory) -> str:
    helpers = "".join(f" and {one:.1f}" for one in found.helpers)
    return f"{found.own:.1f}{helpers} MiB"


def main() -> int:
    """Install, measure the plugin alone, and print."""
    home = demo.private_folder("/dev/shm")  # noqa: S108 - mkdtemp's folder
    try:
        install.install(home)
        load = os.getloadavg()[0]
        print(f"load {load:.1f} on {len(os.sched_getaffinity(0))} processors before")
        print(*told(run(home)), sep="\n")
    except (demo.DemoError, install.InstallError, OSError, subprocess.SubprocessError) as error:
        print(f"the bench stops: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
