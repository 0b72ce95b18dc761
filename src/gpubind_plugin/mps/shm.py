# SPDX-License-Identifier: Apache-2.0
"""The tmpfs that MPS daemons and their clients share as /dev/shm: half of the machine's memory."""

from __future__ import annotations

import os

NAME = "shm"
OPTIONS = "size={size}"
FALLBACK = "65536k"
TRUTH = "/proc/meminfo"
RELATIME = 1 << 21  # MS_RELATIME, see mount(2)


def size(meminfo: str) -> str:
    """Give half of MemTotal as tmpfs(5) takes it, such as `8171224k`; FALLBACK where unknown."""
    for line in meminfo.splitlines():
        words = line.split()
        if words[:1] == ["MemTotal:"] and len(words) == 3 and words[1].isdigit():
            return f"{int(words[1]) // 2}{words[2][0].lower()}"
    return FALLBACK


def mount(root: str) -> None:
    """Mount the tmpfs on `shm` below the root, in place of one that is there. Raises OSError."""
    from gpubind import mounting

    place = os.path.join(root, NAME)
    os.makedirs(place, 0o1777, exist_ok=True)
    while os.path.ismount(place):
        top = os.open(place, os.O_PATH | os.O_DIRECTORY)
        try:
            mounting.detach(top)
        finally:
            os.close(top)
    with open(TRUTH, encoding="utf-8") as file:
        options = OPTIONS.format(size=size(file.read()))
    flags = mounting.NOSUID | mounting.NODEV | mounting.NOEXEC | RELATIME
    target = os.open(place, os.O_PATH | os.O_DIRECTORY)
    try:
        mounting.mount(NAME, target, "tmpfs", flags, options)
    finally:
        os.close(target)
