# SPDX-License-Identifier: Apache-2.0
"""A folder that is somebody's `/`: a driver root or a container's root.

Everything in there is reached through descriptors, so that no link and no race leads out of it:
openat2 with RESOLVE_IN_ROOT, or a walk over single components where the kernel has no openat2 or a
seccomp filter hides it. Inner names are absolute as seen inside; this is the only module that
turns them into host names and back.
"""

from __future__ import annotations

import errno
import posix
import stat

from gpubind import folder, linux
from gpubind.errors import RootEscapeError

MAX_LINKS = 40  # what the kernel allows, see path_resolution(7)
MAX_RETRIES = 32  # openat2 gives EAGAIN while a rename races a `..`
READ_LIMIT = 16 << 20

_FOLDER = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
_SEEN = posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC
_NO_OPENAT2 = (errno.ENOSYS, errno.EINVAL, errno.EPERM)
_RESOLVE = linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Root:
    """A descriptor of a folder, and what can be done below it.

    `path` is the folder's host name, `fd` its O_PATH descriptor. Usable as a context manager.
    Raises OSError where the folder can't be opened.
    """

    __slots__ = ("fd", "path", "walking")

    def __init__(self, path: str, *, walking: bool = False) -> None:
        linux.ready()
        self.path = path.rstrip("/") or "/"
        self.fd = posix.open(path, _FOLDER)
        self.walking = walking

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        posix.close(self.fd)

    def open(self, name: str, flags: int = posix.O_RDONLY) -> int:
        """Open an existing file and give its descriptor; links are followed inside the root."""
        _check(name)
        if not flags & posix.O_PATH:  # openat2 refuses these two beside it
            flags |= posix.O_NOCTTY | posix.O_NONBLOCK
        if not self.walking:
            for _ in range(MAX_RETRIES):
                try:
                    return linux.openat2(self.fd, name, flags, resolve=_RESOLVE)
                except OSError as error:
                    if error.errno == errno.EAGAIN:
                        continue
                    if error.errno not in _NO_OPENAT2:
                        raise
                    self.walking = True
                    break
        return self._walk(name, flags)[0]

    def resolve(self, name: str) -> str:
        """Give the inner name `name` ends at after all links. Raises FileNotFoundError."""
        _check(name)
        fd, names = self._walk(name, posix.O_PATH)
        posix.close(fd)
        return "/" + "/".join(names)

    def stat(self, name: str) -> posix.stat_result:
        """Give the file's status, links followed inside the root."""
        fd = self.open(name, posix.O_PATH)
        try:
            return posix.fstat(fd)
        finally:
            posix.close(fd)

    def lstat(self, name: str) -> posix.stat_result:
        """Give the status of the last component itself."""
        fd = self.open(name, posix.O_PATH | posix.O_NOFOLLOW)
        try:
            return posix.fstat(fd)
        finally:
            posix.close(fd)

    def exists(self, name: str) -> bool:
        """Tell whether `name` leads to something inside the root."""
        try:
            posix.close(self.open(name, posix.O_PATH))
        except OSError:
            return False
        return True

    def readlink(self, name: str) -> str:
        """Give the text of the link `name`. Raises OSError EINVAL where it is none."""
        fd = self.open(name, posix.O_PATH | posix.O_NOFOLLOW)
        try:
            if not stat.S_ISLNK(posix.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, posix.strerror(errno.EINVAL), name)
            return posix.readlink("", dir_fd=fd)
        finally:
            posix.close(fd)

    def listdir(self, name: str) -> list[str]:
        """Give the sorted names in the folder `name`."""
        fd = self.open(name, posix.O_RDONLY | posix.O_DIRECTORY)
        try:
            return sorted(posix.listdir(fd))
        finally:
            posix.close(fd)

    def read(self, name: str, limit: int = READ_LIMIT, *, follow: bool = True) -> bytes:
        """Give the bytes of the regular file `name`; of a last link's only with `follow`.

        Raises OSError: EINVAL where it is a FIFO, a device or a socket, EFBIG above `limit` bytes.
        Such a thing is never opened: to open a device node can be an act of its own.
        """
        seen = self.open(name, posix.O_PATH | (0 if follow else posix.O_NOFOLLOW))
        try:
            _regular(posix.fstat(seen), name)
            fd = reopened(seen, posix.O_RDONLY | posix.O_NONBLOCK)
        finally:
            posix.close(seen)
        try:
            return contents(fd, name, limit)
        finally:
            posix.close(fd)

    def outer(self, name: str) -> str:
        """Give the host's name of an inner name."""
        return name if self.path == "/" else self.path + ("" if name == "/" else name)

    def inner(self, path: str) -> str:
        """Give the inner name of a host name. Raises RootEscapeError where it is elsewhere."""
        if self.path == "/":
            return path
        if path != self.path and not path.startswith(self.path + "/"):
            raise RootEscapeError(path, self.path)
        return path[len(self.path) :] or "/"

    def make_folders(self, name: str, mode: int = 0o755, *, own: bool = False) -> int:
        """Give an O_PATH descriptor of the folder `name`, made with its parents where absent.

        A new folder gets the owner of the folder it is made in. Raises OSError: EEXIST where a
        dangling link stands in the way; with `own`, EXDEV where the folder is the host's of that
        name, which a volume can put into a container.
        """
        name = name.rstrip("/")
        try:
            found = self.open(name or "/", _FOLDER)
        except FileNotFoundError:
            pass
        else:
            return _own(found, name) if own else found
        head, _, base = name.rpartition("/")
        parent = self.make_folders(head, mode, own=own)
        try:
            folder.make(parent, base, mode)
            return posix.open(base, _FOLDER | posix.O_NOFOLLOW, dir_fd=parent)
        finally:
            posix.close(parent)

    def _walk(self, name: str, flags: int) -> tuple[int, list[str]]:
        """Open `name` component by component; give the descriptor and the names it went through.

        Each step is one name below a descriptor and never follows a link by itself; `..` goes
        back to the descriptor the step came from, so a folder moved away meanwhile leads nowhere.
        """
        trail = [posix.dup(self.fd)]
        names: list[str] = []
        steps = _steps(name)
        links = 0
        try:
            while steps:
                step = steps.pop()
                if step == "..":
                    _cut(trail, names, max(len(names) - 1, 0))
                    continue
                trail.append(posix.open(step, _SEEN, dir_fd=trail[-1]))
                names.append(step)
                is_link = stat.S_ISLNK(posix.fstat(trail[-1]).st_mode)
                if not is_link or (not steps and flags & posix.O_NOFOLLOW):
                    continue
                text = posix.readlink("", dir_fd=trail[-1])
                links += 1
                _bound(links)
                _cut(trail, names, 0 if text.startswith("/") else len(names) - 1)
                steps += _steps(text)
            return reopened(trail[-1], flags), names
        except OSError as error:
            error.filename = name
            raise
        finally:
            for fd in trail:
                posix.close(fd)


def nameable(name: str) -> bool:
    """Tell whether a file can have this name at all; documents can hold texts that are none."""
    try:
        return b"\0" not in linux.fsencode(name)
    except UnicodeEncodeError:
        return False


def _check(name: str) -> None:
    """Refuse a name no file can have: the kernel would see only the part before a zero byte."""
    if not nameable(name):
        raise OSError(errno.EINVAL, "no file can have such a name", name)


def _steps(name: str) -> list[str]:
    """Give the components of a name, the first one last."""
    return [step for step in name.split("/") if step not in ("", ".")][::-1]


def _cut(trail: list[int], names: list[str], kept: int) -> None:
    """Go back to the folder that is `kept` names below the root."""
    del names[kept:]
    while len(trail) > kept + 1:
        posix.close(trail.pop())


def is_host(fd: int, name: str) -> bool:
    """Tell whether what is open is the host's own of that name, which a volume can put there."""
    try:
        return linux.same(posix.fstat(fd), posix.stat(name or "/"))
    except OSError:
        return False  # the host has none


def _own(fd: int, name: str) -> int:
    if not is_host(fd, name):
        return fd
    posix.close(fd)
    raise OSError(errno.EXDEV, "is the host's own folder", name)


def _bound(links: int) -> None:
    if links > MAX_LINKS:
        raise OSError(errno.ELOOP, posix.strerror(errno.ELOOP))


def reopened(seen: int, flags: int) -> int:
    """Open what an O_PATH descriptor stands for, whatever has become of its name since.

    Raises OSError, ELOOP for the descriptor of a link unless `flags` have O_PATH.
    """
    if flags & posix.O_PATH and not flags & posix.O_DIRECTORY:
        return posix.dup(seen)
    if stat.S_ISLNK(posix.fstat(seen).st_mode):
        raise OSError(errno.ELOOP, posix.strerror(errno.ELOOP))
    flags = flags & ~posix.O_NOFOLLOW | posix.O_CLOEXEC
    return posix.open(f"/proc/self/fd/{seen}", flags)


def _regular(status: posix.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", name)


def contents(fd: int, name: str, limit: int = READ_LIMIT) -> bytes:
    """Give the bytes of an open regular file; `name` is for the message.

    Raises OSError: EINVAL where it is not a regular file, EFBIG above `limit` bytes.
    """
    status = posix.fstat(fd)
    _regular(status, name)
    parts = []
    left = limit + 1 if status.st_size <= limit else 0
    while left > 0 and (part := posix.read(fd, min(left, max(status.st_size + 1, 1 << 16)))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", name)
    return b"".join(parts)
