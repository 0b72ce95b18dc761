# SPDX-License-Identifier: Apache-2.0
"""TOML files changed as text: comments, order and everything else stay as they are.

The one door to tomlkit. What it gives is parsed again and compared with what was meant: an edit
that would change anything else is refused.
"""

from __future__ import annotations

import copy
import re
import tomllib
from typing import TYPE_CHECKING, Any

import tomlkit
import tomlkit.exceptions

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Value = bool | str | list[str]


def parse(text: str, name: str) -> dict[str, Any]:
    """Give the document in a TOML text. Raises ToolkitError naming file and line."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ToolkitError(f"{name}: {error}", identifier="CONFIG-TOML") from None


def changed(text: str, path: Sequence[str], value: Value, name: str) -> str:
    """Give the text with the key at `path` set; a line that has it commented out is used.

    Raises ToolkitError where that can't be done without changing something else.
    """
    wanted = parse(text, name)
    place = wanted
    for step in path[:-1]:
        place = place.setdefault(step, {})
        if not isinstance(place, dict):
            raise _refused(path, name)
    known = path[-1] in place
    if known and place[path[-1]] == value and type(place[path[-1]]) is type(value):
        return text
    place[path[-1]] = copy.deepcopy(value)
    attempts = [] if known else [*_uncommented(text, path, value)]
    return _first(wanted, [*attempts, *_edited(text, path, value)], path, name)


def removed(text: str, path: Sequence[str], name: str) -> str:
    """Give the text without the key at `path`. Raises ToolkitError as `changed` does."""
    wanted = parse(text, name)
    place: Any = wanted
    for step in path[:-1]:
        place = place.get(step) if isinstance(place, dict) else None
    if not isinstance(place, dict) or path[-1] not in place:
        return text
    del place[path[-1]]
    return _first(wanted, [*_edited(text, path, None)], path, name)


def written(value: Any) -> str:
    """Give a value as TOML has it, on one line."""
    return str(tomlkit.item(value).as_string())


def _first(wanted: dict[str, Any], texts: Sequence[str], path: Sequence[str], name: str) -> str:
    """Give the first text that means what is wanted."""
    for text in texts:
        try:
            if tomllib.loads(text) == wanted:
                return text
        except ValueError:
            continue
    raise _refused(path, name)


def _edited(text: str, path: Sequence[str], value: Value | None) -> Iterator[str]:
    """Give the text as tomlkit changes it, if it can; None removes the key."""
    try:
        document = tomlkit.parse(text)
        place: Any = document
        for index, step in enumerate(path[:-1]):
            if step not in place:
                place[step] = tomlkit.table(is_super_table=index < len(path) - 2)
            place = place[step]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        yield tomlkit.dumps(document)
    except (tomlkit.exceptions.TOMLKitError, KeyError, TypeError, ValueError):
        return  # the caller says what could not be done


def _uncommented(text: str, path: Sequence[str], value: Value) -> Iterator[str]:
    """Give the text with a commented line of the key, in its section, made a real one."""
    section, key = ".".join(path[:-1]), path[-1]
    lines = text.splitlines(keepends=True)
    here = ""
    for index, line in enumerate(lines):
        if header := re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line):
            here = header[1].replace('"', "").replace(" ", "")
        elif here == section and re.match(rf"#\s?{re.escape(key)}\s*=", line):
            ending = line[len(line.rstrip("\r\n")) :]
            new = f"{key} = {tomlkit.item(value).as_string()}{ending}"
            yield "".join([*lines[:index], new, *lines[index + 1 :]])


def _refused(path: Sequence[str], name: str) -> ToolkitError:
    return ToolkitError(
        f"{name}: {'.'.join(path)} can't be set without changing something else",
        identifier="CONFIG-EDIT",
        hint="change it in an editor",
    )
