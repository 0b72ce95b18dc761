# SPDX-License-Identifier: Apache-2.0
"""An engine's TOML file as text: read with places, single keys set, tables written out.

A key is set on its own line where it has one, else on a new line below its table's header. A
result counts only when it means exactly what is wanted.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from gpubind.errors import ToolkitError
from gpubind_ctl import toml
from gpubind_ctl.engine import block, engine, place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BOM = b"\xef\xbb\xbf"
_PLACE = re.compile(r" ?\(at (?:line (\d+), column (\d+)|end of document)\)$")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_VALUE = r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|true|false|[0-9+-][0-9A-Za-z_.:+-]*|\[[^\]\n]*\]"
_DEPTH = 64  # tables and lists in each other; no engine has a fifth of it
_DOTTED = re.compile(r"^[ \t\[]*(?:[^.=#\n]*\.){256}", re.MULTILINE)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def decoded(data: bytes, name: str) -> str:
    """Give a file's text without its BOM. Raises ToolkitError naming file and place."""
    if data.startswith(_UTF16):
        raise _wrong(name, "", 0, "is UTF-16, TOML is UTF-8")
    raw = data.removeprefix(BOM)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        shown = raw.decode(errors="replace")
        message = f"byte {error.start} is no UTF-8"
        raise _wrong(name, shown, len(before), message) from None


def encoded(text: str, before: bytes | None) -> bytes:
    """Give a text as the bytes of a file that was `before`: with a BOM where that has one."""
    mark = BOM if before is not None and before.startswith(BOM) else b""
    return mark + text.encode()


def parsed(text: str, name: str) -> dict[str, Any]:
    """Give the document in a text. Raises ToolkitError naming file, line and column."""
    if _DOTTED.search(text):
        raise _too_deep(name)  # tomllib takes minutes for such a key
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
        raise _no_toml(text, name, str(error)) from None
    level: list[Any] = [document]
    for _ in range(_DEPTH):
        level = [inner for one in level for inner in _inside(one)]
    if level:
        raise _too_deep(name)
    return document


def _inside(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else ()


def _too_deep(name: str) -> ToolkitError:
    return ToolkitError(f"{name}: is nested too deeply", identifier="ENGINE-TOML")


def _no_toml(text: str, name: str, said: str) -> ToolkitError:
    """Give the error for what tomllib said, at the place it named."""
    found = _PLACE.search(said)
    message = _PLACE.sub("", said)
    if not found:
        return ToolkitError(f"{name}: {message}", identifier="ENGINE-TOML")
    if not found[1]:
        return _wrong(name, text, len(text.rstrip()), message)
    line, column = int(found[1]), int(found[2])
    return place.at(name, text, line, column, message, identifier="ENGINE-TOML")


def table(document: Mapping[str, Any], path: Sequence[str], name: str, text: str) -> dict[str, Any]:
    """Give the table at a path, empty where there is none.

    Raises ToolkitError naming file and line where something else stands there.
    """
    found: Any = document
    for depth, step in enumerate(path, 1):
        found = found.get(step, {})
        if not isinstance(found, dict):
            message = f"{dotted(path[:depth])} is {kind_of(found)}, not a table"
            raise at(name, text, path[:depth], message)
    return dict(found)


def check_texts(value: Any, path: Sequence[str], name: str, text: str) -> None:
    """Raise ToolkitError naming file and line where a value is no list of texts."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise at(name, text, path, f"{dotted(path)} must be a list of texts")


def at(name: str, text: str, path: Sequence[str], message: str, hint: str = "") -> ToolkitError:
    """Give the error for what stands at a key, with its line or that of what it is in."""
    lines = (line_of(text, path[:size]) for size in range(len(path), 0, -1))
    line = next((one for one in lines if one), 0)
    if not line:
        return engine.refused(f"{name}: {message}", hint)
    shown = block.lines_of(text)[line - 1]
    column = len(shown) - len(shown.lstrip()) + 1
    return place.at(name, text, line, column, message, identifier="ENGINE-REFUSED", hint=hint)


def line_of(text: str, path: Sequence[str]) -> int:
    """Give the line, from 1, at which a key or table is written; 0 where it is not told."""
    for number, here, key, _ in _keys(text):
        if [*here, *key][: len(path)] == list(path):
            return number
    return 0


def dotted(path: Sequence[str]) -> str:
    """Give a path as it is written in TOML."""
    return ".".join(step if _BARE.fullmatch(step) else toml.written(step) for step in path)


def tables(path: Sequence[str], values: Mapping[str, Any], depth: int = 0) -> list[str]:
    """Give the lines of a table, its sub-tables after it, indented as the field does it."""
    inner = {key: value for key, value in values.items() if isinstance(value, dict)}
    pad = "  " * depth
    lines = [f"{pad}[{dotted(path)}]"]
    lines += [
        f"{pad}  {dotted([key])} = {toml.written(value)}"
        for key, value in values.items()
        if key not in inner
    ]
    for key, value in inner.items():
        lines += tables([*path, key], value, depth + 1)
    return lines


def assigned(text: str, path: Sequence[str], value: Any) -> str | None:
    """Give the text with the key at `path` set on one line; None where it can't be done so."""
    wanted = tomllib.loads(text)
    inner = wanted
    for step in path[:-1]:
        inner = inner.setdefault(step, {})
    inner[path[-1]] = value
    attempts = (*_replaced(text, path, value), *_inserted(text, path, value))
    return next((one for one in attempts if _means(one, wanted)), None)


def extended(text: str, path: Sequence[str], value: str) -> str | None:
    """Give the text with one more element in the list at `path`; None where it can't be done."""
    old = table_of(tomllib.loads(text), path[:-1])[path[-1]]
    for order in ([*old, value], [value, *old]):
        wanted = tomllib.loads(text)
        table_of(wanted, path[:-1])[path[-1]] = order
        for attempt in _longer(text, path, value):
            if _means(attempt, wanted):
                return attempt
    return None


def value(document: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Give what stands at a path, None where there is nothing."""
    found: Any = document
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return found


def table_of(document: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Give the table itself at a path that is known to lead to one."""
    for step in path:
        document = document[step]
    return document


def _replaced(text: str, path: Sequence[str], value: Any) -> Iterator[str]:
    """Give the text with the value on the key's line exchanged."""
    lines = block.lines_of(text)
    for number, here, key, _ in _keys(text):
        if [*here, *key] == list(path):
            pattern = rf"^(\s*[^=\s]+\s*=\s*)(?:{_VALUE})"
            new = toml.written(value).replace("\\", r"\\")
            line = re.sub(pattern, rf"\g<1>{new}", lines[number - 1], count=1)
            yield "".join([*lines[: number - 1], line, *lines[number:]])


def _inserted(text: str, path: Sequence[str], value: Any) -> Iterator[str]:
    """Give the text with a new line below the table's header, or before the first header."""
    lines = block.lines_of(text)
    end = "\r\n" if "\r\n" in text else "\n"
    spots = list(_keys(text))
    for index, (number, here, key, head) in enumerate(spots):
        if head and here == list(path[:-1]):
            below = spots[index + 1] if index + 1 < len(spots) else None
            model = lines[below[0] - 1] if below and not below[3] else lines[number - 1]
            pad = model[: len(model) - len(model.lstrip())] if below and not below[3] else None
            pad = f"{model[: len(model) - len(model.lstrip())]}  " if pad is None else pad
            yield _with(lines, number, f"{pad}{dotted(path[-1:])} = {toml.written(value)}", end)
        elif len(path) == 1 and not head and not here and key == ["version"]:
            yield _with(lines, number, f"{dotted(path)} = {toml.written(value)}", end)
    if len(path) == 1:
        yield _with(lines, 0, f"{dotted(path)} = {toml.written(value)}", end)


def _with(lines: Sequence[str], index: int, line: str, end: str) -> str:
    above = list(lines[:index])
    if above and not above[-1].endswith("\n"):
        return "".join([*above, end, line, *lines[index:]])
    return "".join([*above, line, end, *lines[index:]])


def _longer(text: str, path: Sequence[str], value: str) -> Iterator[str]:
    """Give the text with the value before each `]` of the list's line, or behind its `[`."""
    lines = block.lines_of(text)
    for number, here, key, _ in _keys(text):
        if [*here, *key] == list(path):
            line, new = lines[number - 1], toml.written(value)
            for spot in reversed([found.start() for found in re.finditer(r"\]", line)]):
                bare = line[:spot].rstrip()
                joint = "" if bare.endswith("[") else " " if bare.endswith(",") else ", "
                after = f"{bare}{joint}{new}{line[spot:]}"
                yield "".join([*lines[: number - 1], after, *lines[number:]])
            opened = line.find("[", line.find("=")) + 1
            after = f"{line[:opened]}{new},{line[opened:]}"
            yield "".join([*lines[: number - 1], after, *lines[number:]])


def _keys(text: str) -> Iterator[tuple[int, list[str], list[str], bool]]:
    """Give each line that looks like a header or a key: number, table, key, header or not.

    A line inside a long text may look so too: who edits at such a place compares the meaning.
    """
    here: list[str] = []
    for number, line in enumerate(block.lines_of(text), 1):
        bare = line.strip()
        if not bare or bare.startswith(("[[", "#")):
            continue
        if bare.startswith("["):
            path = _path(bare)
            if path is not None:
                here = path
                yield number, here, [], True
        elif "=" in bare:
            path = _path(f"{bare.partition('=')[0]}= 0")
            if path:
                yield number, here, path, False


def _path(line: str) -> list[str] | None:
    """Give the path that one line of TOML, a header or a key, makes; None where it is none."""
    try:
        found: Any = tomllib.loads(line)
    except (ValueError, RecursionError):
        return None
    path = []
    while isinstance(found, dict) and found:
        ((step, found),) = found.items()
        path.append(step)
    return path


def _means(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except (ValueError, RecursionError):
        return False


def kind_of(value: Any) -> str:
    """Give the words for what kind of value this is."""
    words = {str: "a text", bool: "true or false", int: "a number", list: "a list"}
    return words.get(type(value), "something else")


def _wrong(name: str, text: str, offset: int, message: str) -> ToolkitError:
    return place.error(name, text, offset, message, identifier="ENGINE-TOML")
