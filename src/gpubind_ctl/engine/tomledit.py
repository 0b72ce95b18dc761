# SPDX-License-Identifier: Apache-2.0
"""One change of an engine's TOML file: keys set where they stand, all else in our block.

The result is parsed again and must mean exactly the old document with that change.
"""

from __future__ import annotations

import copy
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpubind.errors import ToolkitError
from gpubind_ctl import toml
from gpubind_ctl.engine import block, tomltext

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Path = tuple[str, ...]
    Values = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be in a file: keys with their values, elements of lists, and whole tables."""

    keys: Mapping[Path, Any] = field(default_factory=dict)
    elements: Mapping[Path, str] = field(default_factory=dict)
    tables: Mapping[Path, Values] = field(default_factory=dict)


def done(text: str, change: Change, name: str, file: str) -> str:
    """Give the text with the change made, noted in a block of ours called `name`.

    Raises ToolkitError naming file and line where that can't be done beyond doubt. Where all is
    there already the text stays.
    """
    before = tomltext.parsed(text, file)
    wanted = _wanted(before, change, text, file)
    if wanted == before:
        return text
    for library in (False, True):
        result = _made(text, before, change, name, library=library)
        if _means(result, wanted):
            return result
    path = next(iter((*change.keys, *change.elements, *change.tables)))
    message = f"{tomltext.dotted(path)} can't be written into this file as it is laid out"
    hint = "write it there in an editor, then run this again"
    raise tomltext.at(file, text, path[:-1] or path, message, hint)


def _wanted(before: Values, change: Change, text: str, file: str) -> Values:
    """Give the document with the change made. Raises ToolkitError where no table is."""
    wanted = copy.deepcopy(before)
    for path, value in change.keys.items():
        tomltext.table(wanted, path[:-1], file, text)
        _inner(wanted, path[:-1])[path[-1]] = value
    for path, element in change.elements.items():
        tomltext.table(wanted, path[:-1], file, text)
        inner = _inner(wanted, path[:-1])
        old = inner.setdefault(path[-1], [])
        if not isinstance(old, list):
            message = f"{tomltext.dotted(path)} is {tomltext.kind_of(old)}, not a list"
            raise tomltext.at(file, text, path, message)
        if element not in old:
            inner[path[-1]] = [*old, element]
    for path, values in change.tables.items():
        tomltext.table(wanted, path, file, text)
        _inner(wanted, path).update(copy.deepcopy(values))
    return wanted


def _made(text: str, before: Values, change: Change, name: str, *, library: bool) -> str:
    """Give the text with what can be set where it stands set there, and a block with the rest."""
    hunks: list[block.Hunk] = []
    rest: dict[Path, Values] = {}
    for path, value in change.keys.items():
        old = tomltext.value(before, path)
        if old == value and type(old) is type(value):
            continue
        after = _by_library(text, path, value) if library else tomltext.assigned(text, path, value)
        text = _noted(text, after, hunks, rest, path, value)
    for path, element in change.elements.items():
        old = tomltext.value(before, path)
        if old is None:
            text = _noted(
                text, tomltext.assigned(text, path, [element]), hunks, rest, path, [element]
            )
        elif element not in old:
            after = tomltext.extended(text, path, element)
            text = _noted(text, after, hunks, rest, path, [*old, element])
    for path, values in change.tables.items():
        rest[path] = {**rest.get(path, {}), **values}
    lines = [
        line
        for path, values in sorted(rest.items(), key=lambda one: bool(one[0]))
        for line in _lines(path, values)
    ]
    return block.added(text, name, lines, hunks)


def _noted(
    text: str,
    after: str | None,
    hunks: list[block.Hunk],
    rest: dict[Path, Values],
    path: Path,
    value: Any,
) -> str:
    """Give the text after a change of one key; a change that was not possible goes to `rest`."""
    if after is None:
        rest.setdefault(path[:-1], {})[path[-1]] = value
        return text
    change = block.hunk(text, after)
    if change:
        hunks.append(change)
    return after


def _lines(path: Path, values: Values) -> Iterable[str]:
    if path:
        return tomltext.tables(path, values)
    return [f"{tomltext.dotted([key])} = {toml.written(value)}" for key, value in values.items()]


def _by_library(text: str, path: Path, value: Any) -> str | None:
    """Give the text as tomlkit sets the key, where it touches no comment and no other key."""
    try:
        after = toml.changed(text, path, value, "")
    except ToolkitError:
        return None
    change = block.hunk(text, after)
    gone = [line[1:] for line in change.lines if line.startswith("-")] if change else []
    if any("#" in line for line in gone) or len(gone) > 1:
        return None
    return after


def _inner(document: Values, path: Path) -> Values:
    for step in path:
        document = document.setdefault(step, {})
    return document


def _means(text: str, wanted: Values) -> bool:
    """Tell whether a text means this; the order of a list that grew at its front counts not."""
    try:
        return bool(_sorted(tomllib.loads(text)) == _sorted(wanted))
    except (ValueError, RecursionError):
        return False


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(inner) for key, inner in value.items()}
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return sorted(value)
    return value
