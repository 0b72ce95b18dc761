# SPDX-License-Identifier: Apache-2.0
"""The graphics driver's application profile: which GPUs EGL programs in the container may use."""

from __future__ import annotations

import os
import stat

from gpubind import folder

NAME = "update-application-profile"
OPTIONS: tuple[str, ...] = ()
FOLDER = "/etc/nvidia/nvidia-application-profiles-rc.d"
FILE = f"{FOLDER}/10-container.conf"
MAX_MINOR = 63  # the profile's value is a mask of 64 bits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpubind import ldcache
    from gpubind.root import Root


class ApplicationProfile:
    """Let EGL see the GPUs with these minor numbers; None for those in the root's /dev."""

    __slots__ = ("minors",)
    required = False

    def __init__(self, minors: Iterable[int] | None = None) -> None:
        self.minors = None if minors is None else tuple(minors)

    def __str__(self) -> str:
        if self.minors is None:
            return "write the application profile for the GPUs in /dev"
        return f"write the application profile for GPUs {', '.join(map(str, self.minors))}"

    def writes(self) -> tuple[str, ...]:
        """Give the inner names this changes."""
        return (FILE,)

    def words(self) -> list[str]:
        """Give the hook's words for this: the hook looks at /dev itself."""
        return [NAME]

    def do(self, root: Root, done: list[str], notes: list[str]) -> list[ldcache.Entry]:
        """Write the profile where it says something else. Raises OSError."""
        minors = _nodes(root) if self.minors is None else self.minors
        high = [minor for minor in minors if minor > MAX_MINOR]
        if high:
            notes.append(f"no application profile for GPUs with minor number {high}")
        data = document(minor for minor in minors if minor <= MAX_MINOR)
        if not data or _old(root) == data:
            return []
        head, _, base = FILE.rpartition("/")
        parent = root.make_folders(head, 0o555, own=True)
        try:
            folder.write(parent, base, data, 0o444)
        finally:
            os.close(parent)
        done.append(f"write {base}")
        return []


def parse(options: list[tuple[str, str]]) -> list[ApplicationProfile]:
    """Give the operation; the hook has no options."""
    return [] if options else [ApplicationProfile()]


def document(minors: Iterable[int]) -> bytes:
    """Give the profile's text for these GPUs, nothing for none. Pure."""
    mask = sum(1 << minor for minor in set(minors))
    if not mask:
        return b""
    return (
        '{"profiles":[{"name":"_container_","settings":["EGLVisibleDGPUDevices",'
        f"{mask:#x}"
        ']}],"rules":[{"pattern":[],"profile":"_container_"}]}'
    ).encode()


def _nodes(root: Root) -> list[int]:
    """Give the minor numbers of the character devices /dev/nvidiaN."""
    try:
        names = root.listdir("/dev")
    except OSError:
        return []
    minors = []
    for name in names:
        number = name.removeprefix("nvidia")
        if number != name and number.isascii() and number.isdigit():
            status = root.lstat(f"/dev/{name}")
            if stat.S_ISCHR(status.st_mode):
                minors.append(os.minor(status.st_rdev))
    return minors


def _old(root: Root) -> bytes | None:
    try:
        return root.read(FILE, 1 << 16)
    except OSError:
        return None
