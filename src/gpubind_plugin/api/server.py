# SPDX-License-Identifier: Apache-2.0
"""A gRPC server on a unix socket: for the device plugin service, and in tests for the kubelet's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import grpc
import grpc.aio

from gpubind.errors import ToolkitError
from gpubind_plugin.api import messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SERVICE = f"{messages.PACKAGE}.DevicePlugin"
GRACE_S = 1.0  # calls under way get so long when the server stops
OPTIONS = (("grpc.so_reuseport", 0),)


class DevicePlugin(Protocol):
    """Whoever answers for one resource. A ToolkitError becomes the call's error."""

    def options(self, request: Any) -> Any:
        """Give the DevicePluginOptions for an Empty."""

    def watch(self) -> AsyncIterator[bytes]:
        """Give each list of devices, a ListAndWatchResponse as bytes; without end."""

    def preferred(self, request: Any) -> Any:
        """Give the PreferredAllocationResponse for a PreferredAllocationRequest."""

    def allocate(self, request: Any) -> Any:
        """Give the AllocateResponse for an AllocateRequest."""

    def pre_start(self, request: Any) -> Any:
        """Give the PreStartContainerResponse for a PreStartContainerRequest."""


async def serve(plugin: DevicePlugin, path: str) -> grpc.aio.Server:
    """Answer calls on a socket made at `path`, which must not exist. Raises OSError if refused."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((_handler(plugin),))
    try:
        bound = server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise OSError(None, str(error), path) from None
    if not bound:
        raise OSError(None, "can't listen there", path)
    await server.start()
    return server


def _handler(plugin: DevicePlugin) -> Any:
    """Give the five methods as grpc wants them."""

    async def watch(request: Any, context: Any) -> AsyncIterator[bytes]:
        del request, context
        async for devices in plugin.watch():
            yield devices

    table = {
        "GetDevicePluginOptions": _unary(plugin.options, "Empty"),
        "ListAndWatch": grpc.unary_stream_rpc_method_handler(
            watch, request_deserializer=messages.Empty.FromString
        ),
        "GetPreferredAllocation": _unary(plugin.preferred, "PreferredAllocationRequest"),
        "Allocate": _unary(plugin.allocate, "AllocateRequest"),
        "PreStartContainer": _unary(plugin.pre_start, "PreStartContainerRequest"),
    }
    return grpc.method_handlers_generic_handler(SERVICE, table)


def _unary(method: Callable[[Any], Any], request: str) -> Any:
    """Give a method that answers, or ends the call as the field's plugin does: UNKNOWN and why."""

    async def answer(message: Any, context: Any) -> Any:
        try:
            return method(message)
        except ToolkitError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, error.message)

    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=messages.CLASSES[request].FromString,
        response_serializer=_bytes,
    )


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
