# SPDX-License-Identifier: Apache-2.0
"""The OCI state a runtime hands to its hooks on stdin (OCI runtime specification, runtime.md)."""

from __future__ import annotations

import os

from gpubind.errors import DocumentError
from gpubind.oci import codec
from gpubind.root import nameable

NAME = "the OCI state on stdin"
LIMIT = 1 << 20
"""Bytes a state may have."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def stdin() -> bytes:
    """Give what stands on stdin. Raises DocumentError where it is larger than LIMIT."""
    parts: list[bytes] = []
    size = 0
    while part := os.read(0, 1 << 16):
        parts.append(part)
        size += len(part)
        if size > LIMIT:
            raise DocumentError(f"larger than {LIMIT} bytes", file=NAME)
    return b"".join(parts)


def decoded(data: bytes) -> dict[str, Any]:
    """Give the state. Raises DocumentError where it is broken or no object."""
    state = codec.decode(data, NAME)
    if not isinstance(state, dict):
        raise DocumentError("expected an object", file=NAME)
    return state


def bundle(state: dict[str, Any]) -> str:
    """Give the bundle's folder; old runtimes call it bundlePath. Raises DocumentError."""
    path = state.get("bundle") or state.get("bundlePath")
    if not isinstance(path, str) or not path.startswith("/") or not nameable(path):
        raise DocumentError("expected a folder's name", path="bundle", file=NAME)
    return path


def pid(state: dict[str, Any]) -> int:
    """Give the number of the container's process. Raises DocumentError where there is none."""
    number = state.get("pid")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 1 << 31:
        raise DocumentError("expected the number of a process", path="pid", file=NAME)
    return number
