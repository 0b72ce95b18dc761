# SPDX-License-Identifier: Apache-2.0
"""YAML and JSON files as plain objects, and back: the only module that knows yaml.

`load` refuses what would make two readers see two documents (duplicate keys, tags, several
documents) and what would make one reader see a bomb (aliases, depth, size). Unquoted YAML scalars
come as `Plain`, text as written, so that a device named 1:0, on or 1.10 keeps its name; only the
unquoted null is None. What the scalar is, the model's field decides.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NoReturn

from gpubind.errors import DocumentError
from gpubind_cdi import emit
from gpubind_cdi.fields import Plain, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_SIZE = 16 << 20
MAX_DEPTH = 32  # CDI's own nesting ends at eight
MAX_NODES = 250_000  # ten times the largest spec of a node with 16 GPUs, each in 7 MIG devices
QUOTES = {"'", '"', "|", ">"}
NULLS = {"", "~", "null", "Null", "NULL"}


def load(data: bytes, name: str) -> Any:
    """Give the one document in `data`; `name` is the file's, its ending says how it is written.

    Without a .json, .yaml or .yml ending a first brace means JSON. Raises DocumentError.
    """
    try:
        text = _decoded(data)
        return (_from_json if is_json(name, text) else _from_yaml)(text)
    except DocumentError as error:
        raise error.of(name) from None


def dump(document: Any, form: str) -> bytes:
    """Give a document as "yaml" (leading ---, four spaces) or "json" (one line).

    Raises DocumentError when a text in it is not Unicode (a file name with stray bytes).
    """
    if form not in WRITERS:
        raise DocumentError(f"unknown format {quoted(form)}: yaml or json")
    try:
        return WRITERS[form](document).encode()
    except UnicodeEncodeError as error:
        bad = ascii(error.object[error.start - 40 if error.start > 40 else 0 : error.end])
        raise DocumentError(f"a text is not UTF-8 and cannot be written: {bad}") from None


def is_json(name: str, text: str) -> bool:
    """Say whether a file is JSON: by the ending of its name, else by its first brace."""
    if name.endswith((".yaml", ".yml")):
        return False
    return name.endswith(".json") or text.lstrip()[:1] == "{"


def lines(data: bytes) -> dict[str, int]:
    """Give the line each part of a document that `load` takes begins at, by its place in there.

    A place is written as in errors: `devices[0].name`. JSON is read as YAML; what of it YAML has no
    word for ends the list early.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, int] = {}
    with contextlib.suppress(yaml.YAMLError, ValueError, OverflowError, IndexError):
        for place, line in _places(yaml.parse(_decoded(data), Loader=loader)):
            found.setdefault(place, line)
    return found


def line_of(place: str, known: Mapping[str, int]) -> int:
    """Give the line of a place, or of the nearest thing around it; 0 where nothing is known."""
    while place and place not in known:
        place = place[: max(place.rfind("."), place.rfind("["), 0)]
    return known.get(place, 0)


def settled(value: Any) -> Any:
    """Give a loaded object with each unquoted scalar as YAML 1.2's core schema would read it.

    For documents without a model (our own data files); never for CDI specs.
    """
    if isinstance(value, dict):
        return {name: settled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [settled(item) for item in value]
    if not isinstance(value, Plain):
        return value
    if value in {"true", "false"}:
        return value == "true"
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else str(value)


def _decoded(data: bytes) -> str:
    if len(data) > MAX_SIZE:
        raise DocumentError(f"the file is larger than {MAX_SIZE >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError("the file is not UTF-8", path=f"byte {error.start}") from None
    if not text.strip():
        raise DocumentError("the file is empty")
    return text


def _to_json(document: Any) -> str:
    import json

    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


WRITERS = {"yaml": emit.yaml, "json": _to_json}


def _from_json(text: str) -> Any:
    import json

    try:
        document = json.loads(text, object_pairs_hook=_members, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise DocumentError(
            f"not JSON: {error.msg.removesuffix(' starting at')}", path=_line(error.lineno)
        ) from None
    except ValueError:  # CPython's limit on the digits of an integer
        raise DocumentError("not JSON: a number is too long") from None
    except RecursionError:
        raise DocumentError(f"nested deeper than {MAX_DEPTH}") from None
    if isinstance(document, dict | list):
        _refuse_depth(document)
    return document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise DocumentError(f"the key {quoted(name)} stands twice")
            seen.add(name)
    return members


def _refuse_constant(word: str) -> NoReturn:
    raise DocumentError(f"{word} is not a JSON number")


def _refuse_depth(document: Any) -> None:
    holders = [document]
    for _ in range(MAX_DEPTH):
        holders = [
            item
            for holder in holders
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, dict | list)
        ]
    if holders:
        raise DocumentError(f"nested deeper than {MAX_DEPTH}")


def _line(number: int) -> str:
    return f"line {number}"


def _from_yaml(text: str) -> Any:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _built(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _line(mark.line + 1) if mark else ""
        raise DocumentError(f"not YAML: {error.problem or error.context}", path=place) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the plain Python parser's
        first = str(error).partition("\n")[0]
        raise DocumentError(f"not YAML: {first}") from None


class _Frame:
    """A collection under construction; `key` is the one that waits for its value."""

    __slots__ = ("held", "key")

    def __init__(self, held: dict[str, Any] | list[Any]) -> None:
        self.held = held
        self.key: str | None = None

    def add(self, value: Any, event: Any) -> None:
        if isinstance(self.held, list):
            self.held.append(value)
        elif self.key is not None:
            self.held[self.key] = value
            self.key = None
        elif not isinstance(value, str):
            raise _at(event, "a key must be text")
        elif value in self.held:
            raise _at(event, f"the key {quoted(value)} stands twice")
        else:
            self.key = str(value)


def _built(events: Iterator[Any]) -> Any:
    """Build the document from the parser's events, without recursion and within the limits."""
    root: list[Any] = []
    stack = [_Frame(root)]
    for count, event in enumerate(events):
        if count > MAX_NODES:
            raise _at(event, f"more than {MAX_NODES} nodes")
        kind = type(event).__name__
        if kind in _CLOSING:
            stack.pop()
        elif kind == "DocumentStartEvent":
            if root:
                raise _at(event, "more than one document in the file")
        elif kind not in _FRAMING:
            value = _node(kind, event)
            stack[-1].add(value, event)
            if kind != "ScalarEvent":
                stack.append(_Frame(value))
                if len(stack) > MAX_DEPTH + 1:
                    raise _at(event, f"nested deeper than {MAX_DEPTH}")
    if not root or root[0] is None:
        raise DocumentError("the file is empty")
    return root[0]


_CLOSING = {"MappingEndEvent", "SequenceEndEvent"}
_FRAMING = {"StreamStartEvent", "StreamEndEvent", "DocumentEndEvent"}


def _node(kind: str, event: Any) -> Any:
    if kind == "AliasEvent" or event.anchor is not None:
        raise _at(event, "anchors and aliases are refused")
    if event.tag is not None:
        raise _at(event, f"the tag {quoted(event.tag)} is refused")
    if kind == "MappingStartEvent":
        return {}
    if kind == "SequenceStartEvent":
        return []
    value = event.value
    if event.style in QUOTES:
        return value
    return None if value in NULLS else Plain(value)


def _places(events: Iterator[Any]) -> Iterator[tuple[str, int]]:
    """Give each part's place and line: a member's is its key's."""
    holders: list[tuple[str, int]] = [("", -1)]  # place; items so far, -1 for an object
    place = ""
    for event in events:
        kind = type(event).__name__
        above, count = holders[-1]
        if kind in _CLOSING:
            holders.pop()
            place = ""
        elif kind in _FRAMING or kind == "DocumentStartEvent":
            continue
        elif count < 0 and not place and len(holders) > 1:
            place = f"{above}.{event.value}" if above else event.value
            yield place, event.start_mark.line + 1
            continue
        else:
            if count >= 0:
                place, holders[-1] = f"{above}[{count}]", (above, count + 1)
            yield place, event.start_mark.line + 1
            if kind in {"MappingStartEvent", "SequenceStartEvent"}:
                holders.append((place, -1 if kind == "MappingStartEvent" else 0))
            place = ""


def _at(event: Any, message: str) -> DocumentError:
    return DocumentError(message, path=_line(event.start_mark.line + 1))
