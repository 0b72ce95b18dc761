# SPDX-License-Identifier: Apache-2.0
"""YAML text for documents of objects, lists, text, whole numbers and truth: no parser needed.

A hand-written writer saves the import of yaml where specs are only written. The layout is the
field's: `---`, each level at the next multiple of four columns, lists inside their key's column.
Text that any YAML 1.1 or 1.2 reader could take for something else is quoted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP = 4

# Text that needs no quotes: begins as a path, a word or an option does, and goes on without
# anything that ends a scalar; or three numbers, the form of cdiVersion.
BARE = re.compile(
    r"(?:(?:--?)?[A-Za-z]|/)(?:[A-Za-z0-9_./=,@+%-]|:(?=[A-Za-z0-9_./=,@+%:-]))*"
    r"|[0-9]+\.[0-9]+\.[0-9]+"
)
WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\0": "\\0"}


def yaml(document: Any) -> str:
    """Give a document as YAML text. Raises TypeError for a value that has no place in CDI."""
    head = f"---{_inline(document)}"
    return "\n".join([head, *_block(document, 0), ""])


def scalar(value: object) -> str:
    """Give one scalar as YAML writes it."""
    if isinstance(value, str):
        return value if BARE.fullmatch(value) and value.lower() not in WORDS else _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value is None:
        return "null"
    raise TypeError(f"no YAML for {type(value).__name__}")


def _quoted(text: str) -> str:
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(letter: str) -> str:
    if letter in ESCAPES:
        return ESCAPES[letter]
    if letter.isprintable() or "\ud800" <= letter <= "\udfff":  # the latter fail on encoding
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\U{code:08x}"


def _inline(value: Any) -> str:
    """Give what follows a key or a dash on its own line, with its leading space; "" for a block."""
    if isinstance(value, dict | list):
        if value:
            return ""
        return " {}" if isinstance(value, dict) else " []"
    return f" {scalar(value)}"


def _block(value: Any, column: int) -> Iterator[str]:
    """Give the lines of a non-empty object or list; nothing for what `_inline` gave."""
    margin = " " * column
    deeper = STEP * (column // STEP + 1)
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{margin}{scalar(name)}:{_inline(item)}"
            yield from _block(item, deeper)
    elif isinstance(value, list):
        for item in value:
            lines = _block(item, column + 2)
            yield f"{margin}-{_inline(item) or ' ' + next(lines).lstrip(' ')}"
            yield from lines
