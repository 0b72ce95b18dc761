# SPDX-License-Identifier: Apache-2.0
"""What the plugin says: one line for each thing that happened, as text or as JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from gpubind.errors import printable

if TYPE_CHECKING:
    from typing import TextIO

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)
INFO, WARNING, ERROR = "info", "warning", "error"


class Log:
    """Lines on a stream, standard error by default, in one of FORMATS.

    A line has the time in UTC, a level, a message, and facts by name.
    """

    __slots__ = ("_format", "_stream")

    def __init__(self, style: str = TEXT, stream: TextIO | None = None) -> None:
        self._format = style
        self._stream = stream or sys.stderr

    def tell(self, level: str, message: str, **facts: object) -> None:
        """Say one line; where nobody can read it, nothing happens."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._format == JSON:
            line = json.dumps({"time": now, "level": level, "message": message, **facts})
        else:
            named = "".join(f" {name}={_word(fact)}" for name, fact in facts.items())
            line = f"{now} {level} {printable(message)}{named}"
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):  # closed, or its reader is gone
            return

    def info(self, message: str, **facts: object) -> None:
        """Say what happened."""
        self.tell(INFO, message, **facts)

    def warning(self, message: str, **facts: object) -> None:
        """Say what is not as it should be."""
        self.tell(WARNING, message, **facts)


def _word(fact: object) -> str:
    """Give a fact as text, in quotes where it would be taken for several; JSON if it is none."""
    if not isinstance(fact, str):
        return json.dumps(fact)
    plain = fact.isprintable() and fact and not set(fact) & set(' "=')
    return fact if plain else json.dumps(fact)
