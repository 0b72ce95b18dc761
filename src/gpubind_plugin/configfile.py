# SPDX-License-Identifier: Apache-2.0
"""The plugin's configuration file, YAML or JSON, as values; an error says file and line."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpubind_cdi import document, fields

from gpubind.errors import DocumentError, ToolkitError
from gpubind_plugin import patterns, sharingfile
from gpubind_plugin.config import Resources, Sharing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpubind_cdi.fields import Reader

    from gpubind_plugin.options import Row

LIMIT = 1 << 20  # bytes; a ConfigMap holds no more
VERSION = "v1"
_NO_RESOURCES, _NO_SHARING = Resources(), Sharing()
FEATURES = ("useNodeFeatureAPI", "gfd")  # those of feature discovery, which reads the same file


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What a file says: options with the place of each, resources and sharing."""

    options: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = _NO_RESOURCES
    sharing: Sharing = _NO_SHARING
    warnings: tuple[str, ...] = ()


def read(path: str, rows: Sequence[Row]) -> File:
    """Give what the file says; "" and an empty one say nothing. `rows` are the options it may hold.

    Raises ToolkitError K8S-CONFIG with the line of what is wrong, OSError where it can't be read.
    """
    if not path:
        return File()
    with open(path, "rb") as file:
        data = file.read(LIMIT + 1)
    return parse(data, path, rows)


def parse(data: bytes, path: str, rows: Sequence[Row]) -> File:
    """Give what a file's bytes say; errors as for `read`."""
    if not data.strip():  # the field's way to say that all is as by default
        return File()
    if len(data) > LIMIT:
        raise _wrong(f"{path}: it is larger than {LIMIT >> 20} MiB")
    places = _Places(path, _lines(data))
    try:
        return _parsed(document.load(data, path), rows, places)
    except DocumentError as error:
        place = places(error.path)
        at = f" at {error.path}" if error.path and not error.path.startswith("line ") else ""
        raise _wrong(f"{place}: {error.message}{at}") from None


def _wrong(message: str) -> ToolkitError:
    return ToolkitError(message, identifier="K8S-CONFIG")


def _lines(data: bytes) -> dict[str, int]:
    with contextlib.suppress(DocumentError):  # which loading will raise too
        return document.lines(data)
    return {}


class _Places:
    """Gives `file:line` of a place in the document."""

    def __init__(self, path: str, lines: Mapping[str, int]) -> None:
        self.path = path
        self.lines = lines

    def __call__(self, place: str) -> str:
        number = place.removeprefix("line ") if place.startswith("line ") else ""
        line = number or document.line_of(place, self.lines)
        return f"{self.path}:{line}" if line else self.path


def _parsed(loaded: Any, rows: Sequence[Row], place: _Places) -> File:
    top = fields.mapping(loaded)
    version = top.get("version")
    if version is not None and fields.under("version", fields.text, version) != VERSION:
        raise DocumentError(f"unknown version: {version}", path="version")
    options, places = {}, {}
    for row in rows:
        value = _at(top, row.key) if row.key else None
        if value is not None:
            options[row.attribute] = fields.under(row.key, READERS[row.kind], value)
            places[row.attribute] = f"{place(row.key)} {row.key}"
    resources = _part(top, "resources", patterns.read, Resources())
    return File(
        options=options,
        places=places,
        resources=resources,
        sharing=_part(top, "sharing", sharingfile.reader(resources), Sharing()),
        warnings=tuple(f"{place(name)}: unknown key {name} is ignored" for name in _odd(top, rows)),
    )


def _part(top: Mapping[str, Any], name: str, read: Reader[Any], otherwise: Any) -> Any:
    return otherwise if top.get(name) is None else fields.under(name, read, top[name])


def _at(top: Mapping[str, Any], key: str) -> Any:
    """Give what is at a key such as `flags.plugin.deviceIDStrategy`; None where nothing is."""
    value: Any = top
    done = ""
    for step in key.split("."):
        value = fields.under(done, fields.mapping, value) if done else value
        value = value.get(step)
        done = f"{done}.{step}" if done else step
        if value is None:
            return None
    return value


def _odd(top: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[str]:
    """Give the keys that nobody knows."""
    known = {row.key for row in rows} | {f"flags.{name}" for name in FEATURES}
    known |= {"version", "resources", "sharing"}
    holders = {key.rpartition(".")[0] for key in known} - {""}
    waiting = [(name, value) for name, value in top.items()]
    while waiting:
        name, value = waiting.pop(0)
        if name in holders and isinstance(value, dict):
            waiting += [(f"{name}.{inner}", item) for inner, item in value.items()]
        elif name not in known | holders:
            yield name


def _words(value: Any) -> tuple[str, ...]:
    """Read one text, in which commas separate several, or a list of texts."""
    if isinstance(value, str):
        return tuple(part for word in value.split(",") if (part := word.strip()))
    return fields.listed(fields.text)(value)


READERS: dict[str, Reader[Any]] = {
    "TEXT": fields.text,
    "true|false": fields.truth,
    "LIST": _words,
    "NUMBERS": fields.listed(fields.number(0, fields.UINT32_MAX)),
}
