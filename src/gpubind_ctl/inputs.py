# SPDX-License-Identifier: Apache-2.0
"""The bytes of a file an operator names, `-` being standard input; never more than a spec has."""

from __future__ import annotations

import os
import sys

from gpubind import root


def read(name: str) -> bytes:
    """Give the bytes. Raises OSError: for a FIFO or device EINVAL, EFBIG above MAX_SIZE."""
    from gpubind_cdi.document import MAX_SIZE

    if name == "-":
        return sys.stdin.buffer.read(MAX_SIZE + 1)
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        return root.contents(fd, name, MAX_SIZE)
    finally:
        os.close(fd)
