# SPDX-License-Identifier: Apache-2.0
"""Strict JSON read so that each value's place in the text is known; what is no JSON has a caret.

`decode` and `encode` keep a file's BOM and encoding.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import place

if TYPE_CHECKING:
    from collections.abc import Sequence

DEEPEST = 100  # levels; no engine's file has more than ten
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LETTERS = re.compile(r'(?:[^"\\\x00-\x1f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_WORD = re.compile(r"[A-Za-z0-9_.+-]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CONSTANTS = {"true": True, "false": False, "null": None}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTINUE = "mend the line; nothing was written"


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is written: it is never ours to change."""

    text: str


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands, text[start:end]; an object's `members` in their order."""

    start: int
    end: int
    value: Any
    members: tuple[Member, ...] = ()

    def at(self, path: Sequence[str]) -> Node | None:
        """Give the node at a path of keys, None where it is absent."""
        node: Node | None = self
        for key in path:
            members = node.members if node else ()
            node = next((member.node for member in members if member.key == key), None)
        return node


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object: its key, text[start:stop], and its value."""

    key: str
    start: int
    stop: int
    node: Node


def decode(data: bytes, name: str) -> tuple[str, bytes, str]:
    """Give a file's text, its BOM and its encoding. Raises PlaceError for bytes that are none."""
    mark, encoding = next((pair for pair in _BOMS if data.startswith(pair[0])), (b"", "utf-8"))
    body = data[len(mark) :]
    try:
        return body.decode(encoding), mark, encoding
    except UnicodeDecodeError as error:
        before = body[: error.start].decode(encoding)
        rest = body[error.start :].decode(encoding, "replace").partition("\n")[0]
        message = f"byte {len(mark) + error.start} is no {encoding.upper()}"
        raise wrong(name, before + rest, len(before), message) from None


def encode(text: str, mark: bytes, encoding: str) -> bytes:
    """Give the bytes of a file with this text, the inverse of `decode`."""
    return mark + text.encode(encoding)


def parse(text: str, name: str) -> Node:
    """Give the object in a text; white space alone is an empty object of no extent.

    Raises PlaceError for what is no strict JSON, no object, or has an object with a key twice.
    """
    reader = _Reader(text, name)
    start = reader.space(0)
    if start == len(text):
        return Node(0, 0, {})
    if text[start] != "{" and not text.startswith(("/", "#"), start):
        raise wrong(name, text, start, "expected an object, which begins with {")
    node = reader.value(start, 0)
    end = reader.space(node.end)
    if end != len(text):
        raise reader.unexpected(end, "nothing more after the object")
    return node


def wrong(name: str, text: str, offset: int, message: str) -> place.PlaceError:
    """Give the error for the letter at `offset` of a JSON text."""
    return place.error(name, text, offset, message, identifier="ENGINE-JSON", hint=_CONTINUE)


class _Reader:
    """A text being read: each method takes an offset and gives a node, or the next offset."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name

    def space(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def is_at(self, at: int, letter: str) -> bool:
        return self.text.startswith(letter, at)

    def value(self, at: int, depth: int) -> Node:
        if depth > DEEPEST:
            raise wrong(self.name, self.text, at, "nested too deeply")
        if self.is_at(at, "{"):
            return self.object(at, depth)
        if self.is_at(at, "["):
            return self.array(at, depth)
        if self.is_at(at, '"'):
            value, end = self.string(at)
            return Node(at, end, value)
        word = match[0] if (match := _WORD.match(self.text, at)) else ""
        if word in _CONSTANTS:
            return Node(at, at + len(word), _CONSTANTS[word])
        if _NUMBER.fullmatch(word):
            return Node(at, at + len(word), Number(word))
        raise self.unexpected(at, "a value")

    def object(self, start: int, depth: int) -> Node:
        members: dict[str, Member] = {}
        at = self.space(start + 1)
        while members or not self.is_at(at, "}"):
            member = self.member(at, depth)
            if member.key in members:
                line = place.position(self.text, members[member.key].start)[0]
                message = f"the key {json.dumps(member.key)} is there twice, first in line {line}"
                raise wrong(self.name, self.text, at, message)
            members[member.key] = member
            at = self.space(member.node.end)
            if not self.is_at(at, ","):
                break
            at = self.space(at + 1)
        if not self.is_at(at, "}"):
            raise self.unexpected(at, "a comma or }")
        value = {key: member.node.value for key, member in members.items()}
        return Node(start, at + 1, value, tuple(members.values()))

    def member(self, at: int, depth: int) -> Member:
        if not self.is_at(at, '"'):
            raise self.unexpected(at, "a key in double quotes")
        key, stop = self.string(at)
        colon = self.space(stop)
        if not self.is_at(colon, ":"):
            raise self.unexpected(colon, "a colon")
        return Member(key, at, stop, self.value(self.space(colon + 1), depth + 1))

    def array(self, start: int, depth: int) -> Node:
        values: list[Any] = []
        at = self.space(start + 1)
        while values or not self.is_at(at, "]"):
            node = self.value(at, depth + 1)
            values.append(node.value)
            at = self.space(node.end)
            if not self.is_at(at, ","):
                break
            at = self.space(at + 1)
        if not self.is_at(at, "]"):
            raise self.unexpected(at, "a comma or ]")
        return Node(start, at + 1, values)

    def string(self, start: int) -> tuple[str, int]:
        match = _LETTERS.match(self.text, start + 1)
        end = match.end() if match else start + 1
        if not self.is_at(end, '"'):
            kind = "escape" if self.is_at(end, "\\") else "control character"
            if end == len(self.text):
                raise self.unexpected(end, "the end of a text in quotes")
            raise wrong(self.name, self.text, end, f"JSON has no such {kind} in a text")
        value: str = json.loads(self.text[start : end + 1])
        if _SURROGATE.search(value):
            raise wrong(self.name, self.text, start, "half of a surrogate pair")
        return value, end + 1

    def unexpected(self, at: int, wanted: str) -> place.PlaceError:
        if self.text.startswith(("//", "/*", "#"), at):
            return wrong(self.name, self.text, at, "JSON has no comments")
        if at == len(self.text):
            return wrong(self.name, self.text, at, f"the text ends, expected {wanted}")
        word = match[0][:40] if (match := _WORD.match(self.text, at)) else self.text[at]
        after = self.text[:at].rstrip(" \t\r\n").endswith(",")
        hint = ": JSON has no comma before it" if after and word in "}]" else ""
        return wrong(self.name, self.text, at, f"expected {wanted}, found {word!r}{hint}")
