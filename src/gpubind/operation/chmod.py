# SPDX-License-Identifier: Apache-2.0
"""Modes of folders and files in a container's root, for users who are not root there."""

from __future__ import annotations

import os
import stat

from gpubind.errors import UsageError
from gpubind.root import is_host, reopened

NAME = "chmod"
OPTIONS = ("--mode", "--path")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind import ldcache
    from gpubind.root import Root


class Chmod:
    """Give folders and regular files a mode; what is absent or something else is left alone."""

    __slots__ = ("mode", "paths")
    required = False

    def __init__(self, mode: int, paths: Sequence[str]) -> None:
        self.mode = mode
        self.paths = tuple(paths)

    def __str__(self) -> str:
        return f"chmod {self.mode:o} {' '.join(self.paths)}"

    def writes(self) -> tuple[str, ...]:
        """Give the inner names this changes."""
        return self.paths

    def words(self) -> list[str]:
        """Give the hook's words for this."""
        pairs = (word for path in self.paths for word in ("--path", path))
        return [NAME, "--mode", f"{self.mode:o}", *pairs]

    def do(self, root: Root, done: list[str], notes: list[str]) -> list[ldcache.Entry]:
        """Change the modes, never through a final link. Raises OSError."""
        for path in self.paths:
            try:
                seen = root.open(path, os.O_PATH | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            try:
                if stat.S_IFMT(os.fstat(seen).st_mode) not in (stat.S_IFDIR, stat.S_IFREG):
                    notes.append(f"chmod: {path} is neither folder nor file")
                    continue
                fd = reopened(seen, os.O_RDONLY | os.O_NONBLOCK)  # just that, whatever is there now
            finally:
                os.close(seen)
            try:
                if is_host(fd, path):
                    notes.append(f"chmod: {path} is the host's own")
                elif stat.S_IMODE(os.fstat(fd).st_mode) != self.mode:
                    os.fchmod(fd, self.mode)
                    done.append(f"chmod {self.mode:o} {path}")
            finally:
                os.close(fd)
        return []


def parse(options: list[tuple[str, str]]) -> list[Chmod]:
    """Give the operation of the hook's options. Raises UsageError, for setuid and setgid too."""
    modes = [value for option, value in options if option == "--mode"]
    paths = [value for option, value in options if option == "--path"]
    text = modes[-1] if modes else ""
    if not text or len(text) > 5 or not set(text) <= set("01234567"):
        raise UsageError(f"chmod: --mode {text!r} is no octal mode", identifier="ARG-MODE")
    mode = int(text, 8)
    if mode > 0o1777:
        raise UsageError(
            f"chmod: --mode {text} is above 1777: no setuid, no setgid", identifier="ARG-MODE"
        )
    for path in paths:
        if not path.startswith("/"):
            raise UsageError(f"chmod: --path {path!r} is not absolute", identifier="ARG-VALUE")
    return [Chmod(mode, paths)] if paths else []
