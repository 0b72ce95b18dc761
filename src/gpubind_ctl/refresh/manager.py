# SPDX-License-Identifier: Apache-2.0
"""What the service manager hears from us, where one started us: see sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket

VARIABLE = "NOTIFY_SOCKET"


def tell(*facts: str) -> None:
    """Send lines such as READY=1 to the manager, if there is one; it is never waited for."""
    place = os.environ.get(VARIABLE, "")
    if not place.startswith(("/", "@")):
        return
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_UNIX, kind) as speaker, contextlib.suppress(OSError):
        speaker.connect(f"\0{place[1:]}" if place.startswith("@") else place)
        speaker.send("\n".join(facts).encode())
