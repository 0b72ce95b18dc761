# SPDX-License-Identifier: Apache-2.0
"""What edits change, as a unified diff that patch(1) takes."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from gpubind.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gpubind_ctl.engine.engine import Edit

ABSENT = "/dev/null"


def unified(edits: Iterable[Edit]) -> str:
    """Give the edits as one diff, empty where nothing changes."""
    return "".join(line for edit in edits for line in _lines(edit))


def _lines(edit: Edit) -> Iterator[str]:
    name = printable(edit.path)
    found = difflib.unified_diff(
        _split(edit.before),
        _split(edit.after),
        ABSENT if edit.before is None else name,
        ABSENT if edit.after is None else name,
    )
    for line in found:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _split(data: bytes | None) -> list[str]:
    """Give the lines with their ends; a carriage return is no end of its own."""
    text = (data or b"").decode("utf-8", "replace")
    *lines, rest = text.split("\n")
    return [*(f"{line}\n" for line in lines), *([rest] if rest else [])]
