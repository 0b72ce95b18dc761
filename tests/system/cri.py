# SPDX-License-Identifier: Apache-2.0
"""A kubelet's view of containerd: pods and containers by the Container Runtime Interface.

Only what the tests ask for, with messages written by hand; the numbers are those of
https://github.com/kubernetes/cri-api/blob/v0.28.0/pkg/apis/runtime/v1/api.proto
"""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING

import grpc
from system import images

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from system.engines.containerd import Containerd

    Value = int | str | bytes

EXITED = 2
COUNTER = itertools.count()
NODE_NETWORK = 2  # of the NamespaceModes: no network plugin is asked


def message(*fields: tuple[int, Value]) -> bytes:
    """Encode a protobuf message of (number, value); a text, bytes or number below 128."""
    return b"".join(_field(number, value) for number, value in fields)


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return bytes((*_varint(number << 3), *_varint(value)))
    data = value.encode() if isinstance(value, str) else value
    return bytes((*_varint(number << 3 | 2), *_varint(len(data)))) + data


def _varint(value: int) -> Iterator[int]:
    while value > 127:
        yield value & 127 | 128
        value >>= 7
    yield value


def read(data: bytes) -> dict[int, Value]:
    """Decode a protobuf message's fields by number, the last of each."""
    found: dict[int, Value] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            found[key >> 3] = varint()
        else:
            assert key & 7 == 2, "the answers hold numbers, texts and messages"
            size = varint()
            found[key >> 3] = data[at : at + size]
            at += size
    return found


class Cri:
    """Containers through a running containerd's CRI plugin; they log below `folder`."""

    def __init__(self, containerd: Containerd, folder: str) -> None:
        self.folder = folder
        self.target = f"unix://{containerd.socket_on_the_host()}"

    def call(self, method: str, request: bytes) -> dict[int, Value]:
        """Call a method of the runtime service; its error is a grpc.RpcError."""
        with grpc.insecure_channel(self.target) as channel:
            made = channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
            return read(made(request, timeout=60, wait_for_ready=True))

    def run(
        self,
        *words: str,
        handler: str = "",
        environment: Mapping[str, str] | None = None,
        devices: Sequence[str] = (),
        annotations: Mapping[str, str] | None = None,
        mounts: Sequence[tuple[str, str]] = (),
        nodes: Sequence[tuple[str, str]] = (),
        image: str = images.TAG,
    ) -> list[str]:
        """Run a container in a pod of its own; gives the lines it wrote.

        `handler` is a RuntimeClass's: a runtime's name, "" for the default; `devices` are CDI's;
        `annotations` are the container's, `mounts` and device `nodes` go from a path of the host to
        one of the container, as a device plugin gives them.
        """
        name = f"pod-{next(COUNTER)}"
        container = message(
            (1, message((1, name))),
            (2, message((1, image))),
            *((3, word) for word in words),
            *((6, message((1, key), (2, value))) for key, value in (environment or {}).items()),
            *((7, message((1, inside), (2, outside))) for outside, inside in mounts),
            *((8, message((1, inside), (2, outside), (3, "rw"))) for outside, inside in nodes),
            *((10, message((1, key), (2, value))) for key, value in (annotations or {}).items()),
            (11, f"{name}.log"),
            *((17, message((1, device))) for device in devices),
        )
        self._run(self._pod(name), container, handler)
        with open(os.path.join(self.folder, f"{name}.log"), encoding="utf-8") as stream:
            return [line.rstrip("\n").split(" ", 3)[3] for line in stream]

    def _pod(self, name: str) -> bytes:
        """Give the configuration of a pod."""
        security = message((1, message((1, NODE_NETWORK))))
        metadata = message((1, name), (2, name), (3, "tests"))
        return message((1, metadata), (3, self.folder), (8, message((2, security))))

    def _run(self, config: bytes, container: bytes, handler: str) -> None:
        """Take a pod with its one container through its life."""
        pod = self.call("RunPodSandbox", message((1, config), (2, handler)))[1]
        try:
            created = message((1, pod), (2, container), (3, config))
            made = self.call("CreateContainer", created)[1]
            self.call("StartContainer", message((1, made)))
            self._wait(made)
        finally:
            self.call("StopPodSandbox", message((1, pod)))
            self.call("RemovePodSandbox", message((1, pod)))

    def _wait(self, made: Value) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            status = self.call("ContainerStatus", message((1, made)))[1]
            assert isinstance(status, bytes)
            if read(status).get(3) == EXITED:
                return
            time.sleep(0.05)
        raise AssertionError("the container did not end within 30 s")
