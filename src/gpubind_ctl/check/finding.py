# SPDX-License-Identifier: Apache-2.0
"""One thing that is wrong with CDI specs on this host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpubind.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 4  # devices in a line; JSON has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, in which file and for which devices, and what to do.

    `devices` are names in the file, none where the whole file is meant.
    """

    identifier: str
    file: str
    message: str
    hint: str
    devices: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = "" if len(self.devices) <= SHOWN else f" and {len(self.devices) - SHOWN} more"
        word = "device" if len(self.devices) == 1 else "devices"
        devices = f"{word} {', '.join(self.devices[:SHOWN])}{more}: " if self.devices else ""
        return printable(f"{self.file}: {devices}{self.message}; {self.hint} [{self.identifier}]")

    def document(self) -> dict[str, Any]:
        """Give it as an object to print."""
        return {
            "id": self.identifier,
            "file": printable(self.file),
            "devices": [printable(name) for name in self.devices],
            "message": printable(self.message),
            "hint": self.hint,
        }


def gathered(findings: Iterable[Finding]) -> list[Finding]:
    """Give each finding once, with all the devices it is about; a whole file's has none."""
    known: dict[Finding, dict[str, None]] = {}
    for one in findings:
        names = known.setdefault(replace(one, devices=()), {})
        names |= dict.fromkeys(one.devices or ("",))
    return [
        replace(one, devices=() if "" in names else tuple(names)) for one, names in known.items()
    ]
