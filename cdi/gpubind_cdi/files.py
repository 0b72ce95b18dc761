# SPDX-License-Identifier: Apache-2.0
"""Writing a spec and its sidecar so that no reader ever sees half of one.

Each file is made under a name no reader looks at, in its own folder, with mode 0644 from the first
instant whatever the umask; it is on disk before it gets its name by rename, and so is the rename.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubind import paths
from gpubind.errors import PartialError, UsageError
from gpubind_cdi import document, sidecar, sidecar_writer

if TYPE_CHECKING:
    from gpubind_cdi.generate import Generated

FORMATS = {".yaml": "yaml", ".json": "json"}
SIDECARS = "sidecars"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Where spec and sidecar were written, and whether the spec's bytes were new."""

    spec: str
    sidecar: str
    changed: bool


def place(output: str, form: str = "") -> tuple[str, str]:
    """Give the file a spec for `output` is written to, and its format.

    A name that does not end in .yaml or .json, the only ones engines read, gets the format's
    ending appended. Raises UsageError where name and format disagree or the format is none.
    """
    if form not in ("", *FORMATS.values()):
        raise UsageError(f"no format {form!r}", identifier="USE-FORMAT", hint="use yaml or json")
    ending = os.path.splitext(output)[1]
    known = FORMATS.get(ending, "")
    if known and form and known != form:
        raise UsageError(
            f"{output} does not fit the format {form}",
            identifier="USE-FORMAT",
            hint=f"leave out --format, or name the file .{form}",
        )
    form = known or form or "yaml"
    return (output if known else f"{output}.{form}"), form


def text(generated: Generated, form: str = "yaml") -> bytes:
    """Give the spec as the bytes of a file."""
    return document.dump(generated.spec.document(), form)


def save(generated: Generated, output: str, *, form: str = "", state: str = paths.STATE) -> Saved:
    """Write the spec to `output` (see `place`), then its sidecar under `state`.

    A spec that would not change is left alone, so that no reader takes it for a new one. Folders
    that are absent are made. Raises UsageError for a name that can't be used, OSError
    where the spec could not be written and is as it was before, PartialError where only the
    sidecar could not be.
    """
    _refuse_special(output)
    path, form = place(output, form)
    path = os.path.abspath(path)
    _refuse_special(path)
    data = text(generated, form)
    changed = keep(path, data)
    beside = sidecar.path_of(os.path.join(state, SIDECARS), path)
    facts: Any = sidecar_writer.tied(generated.sidecar, path, data)
    try:
        put(beside, document.dump(facts, "json"))
    except OSError as error:
        raise PartialError(
            f"{path} is written, its sidecar {beside} is not: {error.strerror}",
            identifier="SPEC-NO-SIDECAR",
            hint="driver capabilities of its files are then guessed from their names",
        ) from error
    return Saved(spec=path, sidecar=beside, changed=changed)


def keep(path: str, data: bytes) -> bool:
    """Put a file in place unless it is so already; tell whether it was not. Raises OSError."""
    changed = not _holds(path, data)
    if changed:
        put(path, data)
    return changed


def put(path: str, data: bytes) -> None:
    """Put a file in place, whole and durable. Raises OSError; the old file then stays."""
    folder, base = os.path.split(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        temporary = f".{base[:200]}.{os.getpid()}.{os.urandom(6).hex()}.tmp"
        try:
            _write(fd, temporary, data)
            os.rename(temporary, base, src_dir_fd=fd, dst_dir_fd=fd)
        except BaseException as error:
            _remove(fd, temporary)
            if isinstance(error, OSError):
                error.filename, error.filename2 = path, None
            raise
        os.fsync(fd)
    finally:
        os.close(fd)


def withdraw(path: str) -> None:
    """Remove a file, durably; none there is as good. Raises OSError."""
    folder, base = os.path.split(path)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _remove(fd, base)
        os.fsync(fd)
    finally:
        os.close(fd)


def _holds(path: str, data: bytes) -> bool:
    """Tell whether a file is as `put` would leave it."""
    try:
        status = os.lstat(path)
        ours = status.st_uid == os.geteuid() and status.st_mode == stat.S_IFREG | 0o644
        if not ours or status.st_size != len(data):
            return False
        with open(path, "rb") as file:
            return file.read() == data
    except OSError:
        return False


def _write(folder: int, base: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(base, flags, 0o644, dir_fd=folder)
    try:
        os.fchmod(fd, 0o644)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(folder: int, base: str) -> None:
    try:
        os.unlink(base, dir_fd=folder)
    except FileNotFoundError:
        return


def _refuse_special(path: str) -> None:
    """Refuse what a rename would wreck: a folder, device, FIFO or socket of that name."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode) or not os.path.basename(path):
        raise UsageError(f"{path} is not a regular file", identifier="USE-OUTPUT")
