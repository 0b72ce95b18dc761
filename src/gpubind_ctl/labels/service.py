# SPDX-License-Identifier: Apache-2.0
"""Writes the labels to a file, again and again: whole each time, and only when they are others.

The file goes when the service ends, since nobody would keep it true. A look that fails after one
that did not leaves the file as it was, and says so once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpubind_cdi import fields, files

from gpubind.errors import ToolkitError, UsageError
from gpubind_ctl.refresh import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INFINITE = "infinite"
DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:ms|s|m|h))+", re.ASCII)
PART = re.compile(r"([0-9.]+)(ms|s|m|h)", re.ASCII)
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
SHORTEST_S, LONGEST_S = 0.1, 1e6  # poll(2) takes no more than some 24 days


def seconds(text: str) -> float:
    """Give a duration such as `60s` or `1m30s`, 0 for `infinite`. Raises UsageError for none."""
    if text == INFINITE:
        return 0.0
    found = PART.findall(text) if DURATION.fullmatch(text) else []
    total = sum(float(number) * UNITS[unit] for number, unit in found)
    if not SHORTEST_S <= total <= LONGEST_S:
        raise UsageError(
            f"the sleep interval is {fields.quoted(text)}",
            identifier="USE-LABELS",
            hint=f"give a time such as 60s or 1m30s, of 100ms at least, or {INFINITE}",
        )
    return total


def text(labels: Mapping[str, str]) -> str:
    """Give labels as node-feature-discovery reads them: a line for each."""
    return "".join(f"{name}={value}\n" for name, value in labels.items())


def serve(
    look: Callable[[], tuple[str, tuple[str, ...]]],
    output: str,
    interval_s: float,
    tell: Callable[[str], None],
) -> None:
    """Have `look` give the file's text and notes, now, each interval and on SIGHUP, until SIGTERM.

    Raises what the first look does. An interval of 0 never comes.
    """
    told: tuple[str, ...] = ()
    try:
        with watch.signals() as hangup:
            written, notes = look()
            while True:
                if written:
                    files.keep(output, written.encode())
                for note in notes if notes != told else ():
                    tell(note)
                told = notes
                while not watch.heard([hangup], interval_s or LONGEST_S) and not interval_s:
                    pass
                written, notes = _again(look)
    finally:
        files.withdraw(output)


def _again(look: Callable[[], tuple[str, tuple[str, ...]]]) -> tuple[str, tuple[str, ...]]:
    """Look anew; a look that fails gives no text, and why as a note."""
    try:
        return look()
    except ToolkitError as error:
        return "", (f"the labels stay as they are: {error}",)
    except OSError as error:
        return "", (f"the labels stay as they are: {error.filename}: {error.strerror}",)
