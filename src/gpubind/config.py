# SPDX-License-Identifier: Apache-2.0
"""The operator's config.toml as the start path reads it: a JSON twin, and TOML where that is stale.

Keys are flat, written with dots as in the file's own sections. The twin is written by
`gpubind cdi compile`; parsing TOML here costs 13 ms, so it is the exception.
"""

from __future__ import annotations

import os

from gpubind import paths
from gpubind.errors import DocumentError, ToolkitError
from gpubind.oci import codec
from gpubind.root import contents

RUNTIMES = "nvidia-container-runtime.runtimes"
DEFAULT_KIND = "nvidia-container-runtime.modes.cdi.default-kind"
SPEC_DIRS = "nvidia-container-runtime.modes.cdi.spec-dirs"

DEFAULTS: dict[str, object] = {
    RUNTIMES: ["runc", "crun"],
    DEFAULT_KIND: "nvidia.com/gpu",
    SPEC_DIRS: ["/etc/cdi", "/var/run/cdi"],
}
"""Every key the start path reads, and its value where the operator says nothing."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Config:
    """The settings of one installation; `file` is where they were or would be read from."""

    __slots__ = ("file", "values")

    def __init__(self, values: dict[str, object], file: str) -> None:
        self.values = values
        self.file = file

    def text(self, key: str) -> str:
        """Give a text. Raises DocumentError naming file and key where it is something else."""
        value = self.values.get(key, DEFAULTS[key])
        if not isinstance(value, str):
            raise DocumentError("expected text", path=key, file=self.file)
        return value

    def texts(self, key: str) -> list[str]:
        """Give a list of texts. Raises DocumentError where it is something else."""
        value = self.values.get(key, DEFAULTS[key])
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise DocumentError("expected a list of texts", path=key, file=self.file)
        return value


def load(etc: str = paths.ETC, state: str = paths.STATE) -> Config:
    """Give the settings: defaults where there is no file, the twin where it fits, else the TOML.

    Raises ToolkitError for a file that can't be read or is no TOML.
    """
    file = f"{etc}/config.toml"
    found = stamp(file)
    if found is None:
        return Config({}, file)
    twin = trusted(f"{state}/config.json")
    if twin is not None and twin.get("stamp") == found and isinstance(twin.get("values"), dict):
        return Config(twin["values"], file)
    return Config(parse(file), file)


def parse(file: str) -> dict[str, object]:
    """Give the flat keys of a config.toml. Raises ToolkitError naming file and line."""
    import tomllib

    try:
        with open(file, "rb") as stream:
            document = tomllib.load(stream)
    except OSError as error:
        raise ToolkitError(f"{file}: {error.strerror}", identifier="CONFIG-READ") from None
    except (ValueError, RecursionError) as error:
        raise ToolkitError(f"{file}: {error}", identifier="CONFIG-TOML") from None
    return flat(document)


def flat(document: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """Give a nested table with the keys of its leaves joined by dots."""
    values: dict[str, object] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values


def stamp(path: str) -> list[int] | None:
    """Give what tells one state of a file or folder from another, None where there is nothing.

    Modification time and change time in nanoseconds, size, inode: see inode(7).
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns]


def trusted(file: str) -> dict[str, Any] | None:
    """Give a document of our own making; None where it is absent, broken, or others may write it.

    Only root and the caller may own it, and nobody else may write it.
    """
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            return None
        value = codec.decode(contents(fd, file), file)
    except (OSError, DocumentError):
        return None
    finally:
        os.close(fd)
    return value if isinstance(value, dict) else None
