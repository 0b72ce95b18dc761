# SPDX-License-Identifier: Apache-2.0
"""What a command gives back: it prints nothing itself, main does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Text for standard output, one-line notes for standard error, and the exit status."""

    text: str = ""
    notes: tuple[str, ...] = ()
    status: int = 0
