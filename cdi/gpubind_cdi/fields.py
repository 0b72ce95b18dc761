# SPDX-License-Identifier: Apache-2.0
"""Typed readers for one field of a foreign document; an error says what was expected and found.

A reader takes the value as loaded and returns the fact. Absent and null fields never reach one.
Unquoted YAML scalars arrive as `Plain`: text where text is wanted, a number where a number is.
Numbers follow what CDI's own parser takes: decimal, 0x, 0b, 0o and the bare leading zero of
YAML 1.1 (https://yaml.org/type/int.html).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from gpubind.errors import DocumentError, printable

Value = TypeVar("Value")
Reader = Callable[[Any], Value]

UINT32_MAX = 0xFFFF_FFFF
INT64_MAX = 0x7FFF_FFFF_FFFF_FFFF
LONGEST_QUOTE = 80

TRUTH = {
    form: truth
    for words, truth in ((("true", "yes", "on"), True), (("false", "no", "off"), False))
    for word in words
    for form in (word, word.capitalize(), word.upper())
}


class Plain(str):
    """An unquoted YAML scalar: its letters as written, its type left to whoever reads it."""

    __slots__ = ()


def quoted(text: str) -> str:
    """Give `text` in double quotes for a message, on one line, shortened where it is long."""
    return f'"{printable(brief(text))}"'


def brief(text: str) -> str:
    """Give `text` shortened where it is too long for a message."""
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 3]}..."


def found(value: object) -> str:
    """Name what a value is, in the words of a document."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Plain) and whole_number(value) is not None:
        return "int"
    return f"text {quoted(value)}" if isinstance(value, str) else type(value).__name__


def text(value: Any) -> str:
    """Read text. An unquoted YAML scalar is taken as written, whatever it looks like."""
    if not isinstance(value, str):
        raise DocumentError(f"expected text, found {found(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DocumentError("expected text, found half a surrogate pair") from None
    return str(value)


def whole_number(word: str) -> int | None:
    """Give the number that an unquoted YAML scalar writes, or None."""
    if not word.isascii():
        return None
    digits = word.lstrip("+-")
    if len(word) - len(digits) > 1 or not digits[:1].isdigit():
        return None
    octal = len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_"
    try:
        return int(word, 8 if octal else 0)
    except ValueError:  # no number, or one with thousands of digits
        return None


def number(lowest: int, highest: int) -> Reader[int]:
    """Give a reader of whole numbers from `lowest` to `highest`."""

    def read(value: Any) -> int:
        if isinstance(value, Plain):
            known = whole_number(value)
            value = value if known is None else known
        if not isinstance(value, int) or isinstance(value, bool):
            raise DocumentError(f"expected a whole number, found {found(value)}")
        if not lowest <= value <= highest:
            raise DocumentError(
                f"expected a number from {lowest} to {highest}, found {brief(str(value))}"
            )
        return value

    return read


uint32 = number(0, UINT32_MAX)
int64 = number(-INT64_MAX - 1, INT64_MAX)


def truth(value: Any) -> bool:
    """Read true or false."""
    if isinstance(value, Plain):
        value = TRUTH.get(value, value)
    if not isinstance(value, bool):
        raise DocumentError(f"expected true or false, found {found(value)}")
    return value


def listed(read: Reader[Value]) -> Reader[tuple[Value, ...]]:
    """Give a reader of lists whose items `read` reads."""

    def read_list(value: Any) -> tuple[Value, ...]:
        if not isinstance(value, list):
            raise DocumentError(f"expected a list, found {found(value)}")
        items = []
        for index, item in enumerate(value):
            try:
                items.append(read(item))
            except DocumentError as error:
                raise error.under(f"[{index}]") from None
        return tuple(items)

    return read_list


def text_map(value: Any) -> dict[str, str]:
    """Read an object whose values are all text."""
    known = mapping(value)
    return {name: under(name, text, item) for name, item in known.items()}


def mapping(value: Any) -> Mapping[str, Any]:
    """Read an object whose keys are all text."""
    if not isinstance(value, Mapping):
        raise DocumentError(f"expected an object, found {found(value)}")
    for name in value:
        if not isinstance(name, str):
            raise DocumentError(f"expected text as a key, found {found(name)}")
    return value


def under(step: str, read: Reader[Value], value: Any) -> Value:
    """Read `value`, an error naming `step` as its place."""
    try:
        return read(value)
    except DocumentError as error:
        raise error.under(step) from None


def members(value: Any, readers: Mapping[str, tuple[str, Reader[Any]]]) -> dict[str, Any]:
    """Read an object strictly: attribute name to fact, null left out, an unknown field refused.

    `readers` maps a field's name to the attribute it becomes and its reader.
    """
    facts = {}
    for name, item in mapping(value).items():
        if name not in readers:
            raise DocumentError(f"unknown field {quoted(name)}")
        if item is not None:
            attribute, read = readers[name]
            facts[attribute] = under(name, read, item)
    return facts
