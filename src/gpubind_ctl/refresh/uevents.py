# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of devices and modules: see netlink(7), NETLINK_KOBJECT_UEVENT."""

from __future__ import annotations

import errno
import socket

FAMILY = 15  # NETLINK_KOBJECT_UEVENT, linux/netlink.h
KERNEL = 1  # the group the kernel speaks to; udev speaks to 2
BUFFER = 1 << 20  # a driver that loads on a large node tells some hundred things at once
LARGEST = 1 << 13
NVIDIA = "10DE:"


class Uevents:
    """An open socket of the kernel's events; OSError where there is none to be had."""

    __slots__ = ("_socket",)

    def __init__(self) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, FAMILY)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self._socket.bind((0, KERNEL))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Give the descriptor for poll(2)."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hear no more of it."""
        self._socket.close()

    def heard(self) -> str:
        """Give the last thing that matters of all that came, empty where none did.

        Events that the kernel had to drop may have mattered, and are said to be lost.
        """
        reason = ""
        while True:
            try:
                data, sender = self._socket.recvfrom(LARGEST)
            except BlockingIOError:
                return reason
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                reason = "events of the kernel that were lost"
                continue
            if sender[0] == 0:  # the kernel's own; whoever else may send has an address
                reason = matters(data) or reason


def matters(data: bytes) -> str:
    """Give in words what an event is, where it may change what a spec says; empty else.

    That is: a module of the driver, an NVIDIA device of the PCI bus, a node for graphics, and
    whatever the driver itself calls a device.
    """
    header, *rows = data.decode("utf-8", "replace").split("\0")
    action, at, path = header.partition("@")
    if not at:
        return ""
    facts = dict(row.split("=", 1) for row in rows if "=" in row)
    subsystem = facts.get("SUBSYSTEM", "")
    name = path.rpartition("/")[2]
    ours = (
        (subsystem == "module" and name.startswith("nvidia"))
        or (subsystem == "pci" and facts.get("PCI_ID", "").upper().startswith(NVIDIA))
        or (subsystem == "drm" and name.startswith(("card", "renderD")) and "-" not in name)
        or subsystem.startswith("nvidia")
    )
    return f"{action} {subsystem} {name}" if ours else ""
