# SPDX-License-Identifier: Apache-2.0
"""A kubelet as far as device plugins know it: registers them, follows their lists, allocates.

It wipes its folder when it starts, all but the checkpoint of what it allocated; it dials whoever
registers at the endpoint named and reads that stream until it ends; devices whose stream ended are
unhealthy. On demand it refuses, hangs, restarts, or dies in the middle of a call.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc

from gpubind_plugin.api import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT_S = 120.0  # no test waits so long unless something is wrong
CHECKPOINT = "kubelet_internal_checkpoint"
PLUGIN = "/v1beta1.DevicePlugin/"


class Endpoint:
    """One registered resource: the lists it sent, and whether its stream goes on."""

    def __init__(self, kubelet: Kubelet, request: Any) -> None:
        self.kubelet, self.request = kubelet, request
        self.lists: list[dict[str, str]] = []
        self.numa: dict[str, list[int]] = {}
        self.ended: grpc.StatusCode | None = None
        self.channel = grpc.insecure_channel(
            f"unix:{kubelet.folder}/{request.endpoint}",
            options=[("grpc.use_local_subchannel_pool", 1)],
        )
        self.options = self.call("GetDevicePluginOptions", messages.Empty(), "DevicePluginOptions")
        self.stream = self.channel.unary_stream(
            f"{PLUGIN}ListAndWatch",
            request_serializer=messages.Empty.SerializeToString,
            response_deserializer=messages.ListAndWatchResponse.FromString,
        )(messages.Empty())
        threading.Thread(target=self._follow, daemon=True).start()

    def call(self, method: str, request: Any, answer: str) -> Any:
        """Call a method of the plugin."""
        return self.channel.unary_unary(
            PLUGIN + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=messages.CLASSES[answer].FromString,
        )(request, timeout=LIMIT_S)

    def _follow(self) -> None:
        try:
            for sent in self.stream:
                with self.kubelet.changed:
                    self.lists.append({one.ID: one.health for one in sent.devices})
                    self.numa = {
                        one.ID: [node.ID for node in one.topology.nodes] for one in sent.devices
                    }
                    self.kubelet.changed.notify_all()
        except grpc.RpcError:
            pass
        with self.kubelet.changed:
            self.ended = self.stream.code()
            self.kubelet.changed.notify_all()

    @property
    def healthy(self) -> list[str]:
        """The devices that may be allocated now."""
        if self.ended is not None or not self.lists:
            return []
        return [name for name, health in self.lists[-1].items() if health == "Healthy"]

    def close(self) -> None:
        """Hang up."""
        self.stream.cancel()
        self.channel.close()


class Kubelet:
    """The kubelet of a folder; `refusal` is what it answers instead of registering."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = str(folder / "kubelet.sock")
        self.changed = threading.Condition()
        self.endpoints: dict[str, Endpoint] = {}
        self.registered: list[str] = []
        self.refusal = ""
        self.hanging = threading.Event()
        self.hanging.set()
        self.called = 0
        self.allocations: dict[str, dict[str, list[str]]] = {}
        self.server: grpc.Server | None = None

    def start(self) -> None:
        """Wipe the folder, load the checkpoint, listen."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in os.listdir(self.folder):
            if name != CHECKPOINT:
                (self.folder / name).unlink()
        with contextlib.suppress(FileNotFoundError):
            self.allocations = json.loads((self.folder / CHECKPOINT).read_text())
        self.listen()

    def listen(self) -> None:
        """Listen on the socket, and leave the folder as it is."""
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        method = grpc.unary_unary_rpc_method_handler(
            self._register,
            request_deserializer=messages.RegisterRequest.FromString,
            response_serializer=messages.Empty.SerializeToString,
        )
        table = {"Register": method}
        handler = grpc.method_handlers_generic_handler("v1beta1.Registration", table)
        self.server.add_generic_rpc_handlers((handler,))
        self.server.add_insecure_port(f"unix:{self.socket}")
        self.server.start()

    def stop(self) -> None:
        """Die: nobody is told, calls under way end in the middle."""
        for endpoint in self.endpoints.values():
            endpoint.close()
        self.endpoints = {}
        if self.server is not None:
            self.server.stop(None).wait()
            self.server = None
        self.hanging.set()

    def restart(self) -> None:
        """Die and start anew; what was registered is forgotten."""
        self.stop()
        self.registered = []
        self.start()

    def _register(self, request: Any, context: Any) -> Any:
        with self.changed:
            self.called += 1
            self.changed.notify_all()
        self.hanging.wait(LIMIT_S)
        if self.refusal:
            context.abort(grpc.StatusCode.UNKNOWN, self.refusal)
        if request.version != "v1beta1":
            context.abort(grpc.StatusCode.UNKNOWN, "requested API version is not supported")
        endpoint = Endpoint(self, request)
        with self.changed:
            before = self.endpoints.pop(request.resource_name, None)
            self.endpoints[request.resource_name] = endpoint
            self.registered.append(request.resource_name)
            self.changed.notify_all()
        if before is not None:
            before.close()
        return messages.Empty()

    def until(self, holds: Callable[[Kubelet], object]) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + LIMIT_S
        with self.changed:
            while not holds(self):
                left = deadline - time.monotonic()
                assert left > 0, f"it never came: {self.registered} {self.lists()}"
                self.changed.wait(min(left, 0.2))

    def lists(self) -> dict[str, dict[str, str]]:
        """Give the last list of each resource, those whose stream goes on."""
        return {
            name: one.lists[-1]
            for name, one in self.endpoints.items()
            if one.lists and one.ended is None
        }

    def allocate(self, resource: str, size: int, pod: str = "pod") -> Any:
        """Give a container devices as the kubelet would: what the plugin prefers of the free."""
        endpoint = self.endpoints[resource]
        taken = {one for pods in self.allocations.values() for one in pods.get(resource, ())}
        chosen = [one for one in endpoint.healthy if one not in taken]
        assert len(chosen) >= size, "insufficient devices"
        if endpoint.request.options.get_preferred_allocation_available:
            one = messages.ContainerPreferredAllocationRequest(
                available_deviceIDs=chosen, allocation_size=size
            )
            wanted = messages.PreferredAllocationRequest(container_requests=[one])
            answer = endpoint.call("GetPreferredAllocation", wanted, "PreferredAllocationResponse")
            chosen = list(answer.container_responses[0].deviceIDs)
        return self.ask(resource, chosen[:size], pod)

    def ask(self, resource: str, ids: list[str], pod: str = "pod") -> Any:
        """Give a container these devices, and keep in the checkpoint that it has them."""
        one = messages.ContainerAllocateRequest(devices_ids=ids)
        request = messages.AllocateRequest(container_requests=[one])
        answer = self.endpoints[resource].call("Allocate", request, "AllocateResponse")
        self.allocations.setdefault(pod, {}).setdefault(resource, []).extend(ids)
        (self.folder / CHECKPOINT).write_text(json.dumps(self.allocations))
        return answer.container_responses[0]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Kubelet]:
    """Run a kubelet with this folder."""
    kubelet = Kubelet(folder)
    kubelet.start()
    try:
        yield kubelet
    finally:
        kubelet.stop()
