# SPDX-License-Identifier: Apache-2.0
"""An error at a place in a text: file, line and column, and below it the line with a caret."""

from __future__ import annotations

from gpubind.errors import ToolkitError

WIDTH = 78  # of the part of a line that is shown


class PlaceError(ToolkitError):
    """A text is wrong at a place. `excerpt` is the line, and a caret below the column."""

    def __init__(
        self, message: str, *, identifier: str, hint: str, excerpt: tuple[str, str]
    ) -> None:
        super().__init__(message, identifier=identifier, hint=hint)
        self.excerpt = excerpt


def error(
    name: str, text: str, offset: int, message: str, *, identifier: str, hint: str = ""
) -> PlaceError:
    """Give the error for the letter at `offset` of `text`, a file's content without its BOM."""
    line, column = position(text, offset)
    return at(name, text, line, column, message, identifier=identifier, hint=hint)


def at(
    name: str, text: str, line: int, column: int, message: str, *, identifier: str, hint: str = ""
) -> PlaceError:
    """Give the error for a line and a column, both from 1."""
    lines = text.split("\n")
    shown = lines[line - 1].rstrip("\r") if 0 < line <= len(lines) else ""
    return PlaceError(
        f"{name}:{line}:{column}: {message}",
        identifier=identifier,
        hint=hint,
        excerpt=_excerpt(shown, column - 1),
    )


def position(text: str, offset: int) -> tuple[int, int]:
    """Give line and column of an offset, both from 1."""
    start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - start + 1


def _excerpt(line: str, index: int) -> tuple[str, str]:
    """Give the part of a line around `index` and the caret, each letter one column wide."""
    start = max(0, min(index - WIDTH // 2, len(line) - WIDTH))
    part = line[start : start + WIDTH]
    shown = "".join(letter if letter.isprintable() else " " for letter in part)
    return f"    {shown}", f"    {' ' * (index - start)}^"
