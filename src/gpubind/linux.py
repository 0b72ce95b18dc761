# SPDX-License-Identifier: Apache-2.0
"""What the start path needs of the kernel beside `posix`. No policy here.

The start path uses `posix`, which the interpreter has loaded already, in place of `os`: that
costs 0.6 ms at every container start. The few functions `os` has and `posix` lacks are here, as are
system calls Python has no function for, under the kernel's own names.
`_ctypes` is used without `ctypes`: the public module costs about 1 ms more at every container
start. Where the private one no longer fits, `ctypes` itself is loaded.
"""

from __future__ import annotations

import posix
import sys

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

NR_OPENAT2 = 437  # the same number on every architecture, see openat2(2)
_HOW_SIZE = 24  # struct open_how: three 64-bit words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_syscall: Callable[..., tuple[int, int]] | None = None


def fsencode(name: str) -> bytes:
    """Give a file's name as the kernel takes it, as os.fsencode does."""
    return name.encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def fsdecode(name: bytes) -> str:
    """Give a file's name as text, as os.fsdecode does."""
    return name.decode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def environment() -> dict[str, str]:
    """Give the process's environment variables."""
    return {fsdecode(name): fsdecode(value) for name, value in posix.environ.items()}


def same(one: posix.stat_result, other: posix.stat_result) -> bool:
    """Tell whether two results of stat(2) are of one file."""
    return (one.st_ino, one.st_dev) == (other.st_ino, other.st_dev)


def exists(path: str) -> bool:
    """Tell whether a host's file is there, its links followed."""
    return _found(posix.stat, path)


def lexists(path: str) -> bool:
    """Tell whether a host's file or a link of that name is there."""
    return _found(posix.lstat, path)


def _found(look: Callable[[str], posix.stat_result], path: str) -> bool:
    try:
        look(path)
    except (OSError, ValueError):
        return False
    return True


def openat2(folder: int, path: str, flags: int, *, resolve: int) -> int:
    """Open `path` below the descriptor `folder` as `resolve` demands, and give the descriptor.

    Raises OSError with the path: ENOSYS where the kernel has no such call (before 5.6), EAGAIN
    where a rename raced a `..`. See openat2(2).
    """
    how = b"".join(word.to_bytes(8, "little") for word in (flags | posix.O_CLOEXEC, 0, resolve))
    fd, error = _call()(NR_OPENAT2, folder, fsencode(path), how, _HOW_SIZE)
    if fd < 0:
        raise OSError(error, posix.strerror(error), path)
    return fd


def ready() -> None:
    """Load what system calls need, before a foreign tree is opened; a call does it else."""
    _call()


def _call() -> Callable[..., tuple[int, int]]:
    global _syscall  # noqa: PLW0603 - bound once, on first use: most starts need no system call
    if _syscall is None:
        try:
            _syscall = _bare()
        except (ImportError, AttributeError, TypeError):
            _syscall = _full()
    return _syscall


def _bare() -> Callable[..., tuple[int, int]]:
    """Bind syscall(2) through `_ctypes` alone."""
    import _ctypes

    long = type("long", (_ctypes._SimpleCData,), {"_type_": "l"})  # noqa: SLF001 - see the top
    integer = type("int", (_ctypes._SimpleCData,), {"_type_": "i"})  # noqa: SLF001 - see the top
    text = type("text", (_ctypes._SimpleCData,), {"_type_": "z"})  # noqa: SLF001 - see the top
    prototype = type(
        "syscall",
        (_ctypes.CFuncPtr,),
        {
            "_argtypes_": (long, integer, text, text, long),
            "_restype_": long,
            "_flags_": _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO,
        },
    )
    program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type] # as in `ctypes.CDLL(None)`
    function = prototype(_ctypes.dlsym(program, "syscall"))
    return lambda *words: (function(*words), _ctypes.get_errno())


def _full() -> Callable[..., tuple[int, int]]:
    """Bind syscall(2) through `ctypes`."""
    import ctypes

    function = ctypes.CDLL(None, use_errno=True).syscall
    function.argtypes = (
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_long,
    )
    function.restype = ctypes.c_long
    return lambda *words: (function(*words), ctypes.get_errno())
