# SPDX-License-Identifier: Apache-2.0
"""config.toml itself: parsed and checked. Loaded where the JSON twin does not fit, and by tools."""

from __future__ import annotations

import os

from gpubind.config import (
    COMPAT_MODE,
    DEFAULTS,
    LDCONFIG,
    LDCONFIG_ALLOWED,
    LOG_LEVEL,
    MODE,
    POLICY,
)
from gpubind.errors import DocumentError, ToolkitError
from gpubind.root import contents

LIMIT = 1 << 20
"""Bytes a config.toml may have."""

_RULES = ("allow", "deny", "privileged", "")
CHOICES: dict[str, tuple[str, ...]] = {
    MODE: ("auto", "cdi", "csv", "jit-cdi", "legacy"),
    LOG_LEVEL: ("trace", "debug", "info", "warning", "warn", "error", "fatal", "panic"),
    COMPAT_MODE: ("disabled", "hook", "ldconfig", "mount", ""),
    POLICY + "annotations": _RULES,
    POLICY + "environment": _RULES,
    POLICY + "swarm-resource": _RULES,
    POLICY + "volume-mounts": _RULES,
}
"""The values of those keys that do not take any text."""

_TYPES = {bool: "true or false", str: "text", list: "a list of texts"}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def read(file: str) -> dict[str, object]:
    """Give the flat keys of a config.toml, checked. Raises ToolkitError naming file and place."""
    values = parse(file)
    check(values, file)
    return values


def remember(state: str, twin: dict[str, object]) -> None:
    """Keep what was read for the next start, where the state folder is there and ours to write."""
    from gpubind import folder
    from gpubind.oci import codec

    try:
        parent = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.fstat(parent).st_uid == os.geteuid():
            folder.write(parent, "config.json", codec.encode(twin))
    except (OSError, DocumentError):
        return  # a read-only state, or a date, which JSON has no form for: read again next time
    finally:
        os.close(parent)


def parse(file: str) -> dict[str, object]:
    """Give the flat keys of a config.toml. Raises ToolkitError naming file and line."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            data = contents(fd, file, LIMIT)
        finally:
            os.close(fd)
    except OSError as error:
        raise ToolkitError(f"{file}: {error.strerror}", identifier="CONFIG-READ") from None
    return keys(text_of(data, file), file)


def text_of(data: bytes, file: str) -> str:
    """Give a file's text without the mark that some editors put first. Raises ToolkitError."""
    try:
        return data.decode("utf-8-sig")
    except ValueError as error:
        raise ToolkitError(f"{file}: {error}", identifier="CONFIG-TOML") from None


def keys(text: str, file: str) -> dict[str, object]:
    """Give the flat keys of a TOML text. Raises ToolkitError for what is no TOML."""
    import tomllib

    try:
        return flat(tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        raise ToolkitError(f"{file}: {error}", identifier="CONFIG-TOML") from None


def flat(document: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """Give a nested table with the keys of its leaves joined by dots."""
    values: dict[str, object] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values


def check(values: Mapping[str, object], file: str) -> None:
    """Refuse a wrong value of a key there is. Raises DocumentError naming file, key, what fits."""
    for key, value in values.items():
        if key not in DEFAULTS:
            _check_section(key, file)
            continue
        if not _fits(value, DEFAULTS[key]):
            kind = _TYPES[type(DEFAULTS[key])]
            raise _wrong(f"expected {kind}, found {_shown(value)}", key, file)
        if any("\0" in text for text in ([value] if isinstance(value, str) else _texts(value))):
            raise _wrong(f"{_shown(value)} holds a zero byte", key, file)
        if key in CHOICES and value not in CHOICES[key]:
            named = ", ".join(choice for choice in CHOICES[key] if choice)
            raise _wrong(f"expected one of {named}, found {_shown(value)}", key, file)
    ldconfig = values.get(LDCONFIG, "")
    if ldconfig and not str(ldconfig).startswith("@") and not values.get(LDCONFIG_ALLOWED):
        raise _wrong(
            f"{_shown(ldconfig)} would be a program of the container: it must start with @, or "
            f"{LDCONFIG_ALLOWED} must be true",
            LDCONFIG,
            file,
        )


def _check_section(key: str, file: str) -> None:
    """Refuse a value where a section belongs, and a section where a value belongs."""
    for known in DEFAULTS:
        if known.startswith(f"{key}."):
            raise _wrong("expected a section, found a value", key, file)
        if key.startswith(f"{known}."):
            raise _wrong(f"expected {_TYPES[type(DEFAULTS[known])]}, found a section", known, file)


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 80 else f"{text[:80]}…"


def _fits(value: object, default: object) -> bool:
    if isinstance(value, list):
        return isinstance(default, list) and all(isinstance(entry, str) for entry in value)
    return type(value) is type(default)


def _texts(value: object) -> list[str]:
    return value if isinstance(value, list) else []


def _wrong(message: str, key: str, file: str) -> DocumentError:
    return DocumentError(message, path=key, file=file, identifier="CONFIG-VALUE")
