# SPDX-License-Identifier: Apache-2.0
"""Calls over a unix socket: to the kubelet, and to ourselves."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from gpubind.errors import ToolkitError
from gpubind_plugin.api import messages, server

LIMIT_S = 5.0
REGISTER = f"/{messages.PACKAGE}.Registration/Register"
OPTIONS = (
    ("grpc.default_authority", "localhost"),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a socket that was dead is tried anew at once
)


async def register(socket: str, endpoint: str, resource: str, options: Any) -> None:
    """Tell the kubelet of a resource and the socket beside its own where we serve it.

    Raises ToolkitError K8S-REGISTER where it does not answer in LIMIT_S seconds, or refuses.
    """
    request = messages.RegisterRequest(
        version=messages.VERSION, endpoint=endpoint, resource_name=resource, options=options
    )
    try:
        await _call(socket, REGISTER, request, messages.Empty)
    except grpc.aio.AioRpcError as error:
        raise ToolkitError(
            f"the kubelet at {socket} did not register {resource}: {_said(error)}",
            identifier="K8S-REGISTER",
            hint="see the kubelet's log",
        ) from None


async def dial(socket: str) -> None:
    """Ask our own server for its options. Raises ToolkitError K8S-SOCKET where it is not up."""
    method = f"/{server.SERVICE}/GetDevicePluginOptions"
    try:
        await _call(socket, method, messages.Empty(), messages.DevicePluginOptions)
    except grpc.aio.AioRpcError as error:
        raise ToolkitError(
            f"{socket} can't be served: {_said(error)}",
            identifier="K8S-SOCKET",
            hint="is the folder on a file system with sockets?",
        ) from None


async def _call(socket: str, method: str, request: Any, answer: Any) -> None:
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=OPTIONS) as channel:
        call = channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        await call(request, timeout=LIMIT_S)


def _said(error: grpc.aio.AioRpcError) -> str:
    return " ".join(f"{error.code().name.lower()}: {error.details()}".split())
