# SPDX-License-Identifier: Apache-2.0
"""The start path's modules in one file: a start opens that and not thirty, and looks for none.

`gpubind.packing` writes it when gpubind is installed, with the interpreter that containers start.
Where it is missing, cut short or another interpreter's, the modules beside it are imported as ever.
Like compiled files it is trusted as the folder it lies in is.
"""

from __future__ import annotations

import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec  # `importlib` would have to be loaded
from _frozen_importlib_external import MAGIC_NUMBER

NAME = "start.pack"
STDERR = 2  # a number up to this is what stdin or an output that was closed left free
HEAD = 16
"""Bytes of the head: the interpreter's magic number, the index's length, the file's (4, 4, 8)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    Index = dict[str, tuple[bool, int, int]]


class Pack:
    """Finds and loads modules from an open pack (see PEP 451).

    `index` says of each module whether it is a package, and its code's place behind `start` and
    length.
    """

    __slots__ = ("_fd", "_index", "_start")

    def __init__(self, fd: int, index: Index, start: int) -> None:
        self._fd = fd
        self._index = index
        self._start = start

    def find_spec(
        self, name: str, _path: object = None, _target: object = None, /
    ) -> ModuleSpec | None:
        """Give the spec of a module that is in the pack, None of any other."""
        known = self._index.get(name)
        if known is None:
            return None
        return ModuleSpec(name, self, is_package=known[0])  # type: ignore[arg-type] # PEP 451's

    def create_module(self, _spec: object) -> None:
        """Leave making the module to the interpreter."""

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code."""
        _, place, length = self._index[module.__name__]
        code = posix.pread(self._fd, length, self._start + place)
        exec(marshal.loads(code), vars(module))  # noqa: S102, S302 - see the top


def use(folder: str) -> None:
    """Import from the pack in `folder` what is in it; from the usual places without one."""
    try:
        fd = posix.open(f"{folder}/{NAME}", posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError:
        return
    head = posix.read(fd, HEAD)
    length = int.from_bytes(head[4:8], "little")
    whole = posix.fstat(fd).st_size == int.from_bytes(head[8:], "little")
    if fd > STDERR and head[:4] == MAGIC_NUMBER and whole:
        index = marshal.loads(posix.pread(fd, length, HEAD))  # noqa: S302 - see the top
        sys.meta_path.insert(0, Pack(fd, index, HEAD + length))
    else:
        posix.close(fd)
