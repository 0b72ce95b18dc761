# SPDX-License-Identifier: Apache-2.0
"""A container's config.json (OCI runtime specification): read, found a root for, written back.

The document stays a dict: fields nobody here knows ride along.
"""

from __future__ import annotations

import errno
import posix

from gpubind import folder, linux
from gpubind.errors import DocumentError, ToolkitError
from gpubind.oci import codec
from gpubind.root import contents, nameable

LIMIT = 16 << 20
"""Bytes a config.json may have."""

_STAGES = "prestart createRuntime createContainer startContainer poststart poststop"
_SHAPES = (
    ("process", "an object"),
    ("process.user", "an object"),
    ("process.user.uid", "a number"),
    ("process.user.gid", "a number"),
    ("process.user.additionalGids", "a list of numbers"),
    ("mounts", "a list of objects"),
    ("hooks", "an object"),
    *((f"hooks.{stage}", "a list of objects") for stage in _STAGES.split()),
    ("linux", "an object"),
    ("linux.namespaces", "a list of objects"),
    ("linux.gidMappings", "a list of objects"),
    ("linux.devices", "a list of objects"),
    ("linux.resources", "an object"),
    ("linux.resources.devices", "a list of objects"),
    ("linux.netDevices", "an object"),
)
_NAMES = {"mounts": "destination", "linux.devices": "path"}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gpubind.oci.types import Spec


def load(file: str) -> Spec:
    """Give the spec in `file`.

    Raises ToolkitError for a file that can't be read (missing, a link, a FIFO, larger than LIMIT)
    and DocumentError for one that is no JSON object.
    """
    try:
        flags = (
            posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_NOFOLLOW
        )
        fd = posix.open(file, flags)
        try:
            data = contents(fd, file, LIMIT)
        finally:
            posix.close(fd)
    except OSError as error:
        link = error.errno == errno.ELOOP
        why = "is a link, which no engine makes there" if link else error.strerror
        raise ToolkitError(f"{file}: {why}", identifier="SPEC-READ") from None
    value = codec.decode(data, file)
    if not isinstance(value, dict):
        raise DocumentError(f"expected an object, found {type(value).__name__}", file=file)
    return value  # type: ignore[return-value] # checked field by field where it is used


def save(file: str, spec: Spec) -> None:
    """Put the spec in place of `file` by rename; mode and owner stay. Raises ToolkitError."""
    data = codec.encode(spec)
    head, _, base = file.rpartition("/")
    try:
        parent = posix.open(head or "/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        try:
            folder.write(parent, base, data)
        finally:
            posix.close(parent)
    except OSError as error:
        raise ToolkitError(
            f"{file}: can't be written: {error.strerror}", identifier="SPEC-WRITE"
        ) from None


def root_of(spec: Spec, file: str) -> str:
    """Give the absolute host name of the container's root folder.

    Raises DocumentError where root.path is absent, empty, the host's `/`, or leads out of the
    bundle though it is relative.
    """
    root = spec.get("root")
    path = root.get("path") if isinstance(root, dict) else None
    if not isinstance(path, str) or not path or not nameable(path):
        raise DocumentError("expected a folder's name", path="root.path", file=file)
    if not path.startswith("/"):
        names = [name for name in path.split("/") if name not in ("", ".")]
        if ".." in names:
            raise DocumentError("leads out of the bundle", path="root.path", file=file)
        if not names:
            raise DocumentError("is the bundle itself", path="root.path", file=file)
        path = "/".join([file.rpartition("/")[0], *names])
    try:
        is_host = linux.same(posix.stat(path), posix.stat("/"))
    except OSError as error:
        raise ToolkitError(
            f"{file}: root.path {path}: {error.strerror}", identifier="SPEC-ROOT"
        ) from None
    if is_host:
        raise DocumentError("is the host's own root", path="root.path", file=file)
    return path


def check(spec: Spec, file: str) -> None:
    """Refuse a spec whose parts that edits touch have another shape than config.md says.

    Raises DocumentError with the place. Absent and null parts are fine.
    """
    for place, shape in _SHAPES:
        value: object = spec
        for step in place.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None and not _has(value, shape):
            raise DocumentError(f"expected {shape}", path=place, file=file)
        if value and place in _NAMES:
            _check_names(value, place, file)


def _has(value: object, shape: str) -> bool:
    if shape == "an object":
        return isinstance(value, dict)
    if shape == "a number":
        return isinstance(value, int) and not isinstance(value, bool)
    one = "an object" if shape == "a list of objects" else "a number"
    return isinstance(value, list) and all(_has(entry, one) for entry in value)


def _check_names(value: Any, place: str, file: str) -> None:
    for index, entry in enumerate(value):
        if not isinstance(entry.get(_NAMES[place]), str):
            step = f"{place}[{index}].{_NAMES[place]}"
            raise DocumentError("expected text", path=step, file=file)


def environment(spec: Spec, file: str) -> list[str]:
    """Give process.env, [] where there is none. Raises DocumentError for anything but texts."""
    process = spec.get("process")
    if process is None:
        return []
    if not isinstance(process, dict):
        raise DocumentError("expected an object", path="process", file=file)
    env = process.get("env")
    if env is None:
        return []
    if not isinstance(env, list):
        raise DocumentError("expected a list", path="process.env", file=file)
    for index, entry in enumerate(env):
        if not isinstance(entry, str):
            raise DocumentError("expected text", path=f"process.env[{index}]", file=file)
    return env
