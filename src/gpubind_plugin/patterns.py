# SPDX-License-Identifier: Apache-2.0
"""The part `resources` of the configuration file: which devices have which name, and which none.

    resources:
      gpus:                          # the first entry that fits names the GPU
        - {pattern: "*A100*", name: a100}
        - {memory: ">=70Gi,<100Gi", pci: "0000:4*", uuid: GPU-1*, name: big}
      mig: [{pattern: "1g.*", name: mig-small}]
      include: [{pattern: "*A100*"}]
      exclude: [{uuid: GPU-57773701-c879-5a34-863c-5daf18286f9e}]

An entry's conditions hold together. The field knows `pattern` and `name` alone, and ignores both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gpubind_cdi import fields, gpu

from gpubind.errors import DocumentError
from gpubind_plugin.config import Named, Resources, Selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.fields import Reader

PREFIX = "nvidia.com/"
LONGEST = 63
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
SIZE = re.compile(r"(>=|<=|>|<|=)\s*([0-9]{1,15})\s*([KMGT]i?)?", re.ASCII)
UNITS = {
    f"{letter}{binary}": (1024 if binary else 1000) ** power
    for power, letter in enumerate("KMGT", 1)
    for binary in ("", "i")
} | {"": 1}


def read(value: Any) -> Resources:
    """Read the part `resources`. Raises DocumentError, also for an entry that can never fit."""
    found = Resources(**fields.members(value, _PARTS))
    for part, table in (("gpus", found.gpus), ("mig", found.mig)):
        _refuse_hidden(part, table)
    return found


def _refuse_hidden(part: str, table: Sequence[Named]) -> None:
    """Refuse an entry behind one that takes all of what it would."""
    for position, entry in enumerate(table):
        for earlier in table[:position]:
            if earlier.selector in (Selector(), entry.selector):
                raise DocumentError(
                    f"{entry.name} never gets a device: {earlier.name} takes them all before",
                    path=f"{part}[{position}]",
                )


def name(value: Any) -> str:
    """Read a resource name; nvidia.com/ is put before one that lacks it."""
    said = fields.text(value)
    full = said if said.startswith(PREFIX) else PREFIX + said
    if len(full) > LONGEST:
        raise DocumentError(
            f"fully-qualified resource name must be {LONGEST} characters or less: {full}"
        )
    if not SUBDOMAIN.fullmatch(full.removeprefix(PREFIX)):
        raise DocumentError(
            f"{fields.quoted(said)} is no resource name: expected lower-case letters, digits, "
            "dashes and dots, after nvidia.com/ or alone"
        )
    return full


def _memory(value: Any) -> tuple[tuple[str, int], ...]:
    parts = []
    for said in fields.text(value).split(","):
        match = SIZE.fullmatch(said.strip())
        if match is None:
            raise DocumentError(f"expected a size like >=40Gi, found {fields.quoted(said)}")
        parts.append((match[1], int(match[2]) * UNITS[match[3] or ""]))
    return tuple(parts)


def _pci(value: Any) -> str:
    said = fields.text(value)
    if "*" in said:
        return said.lower()
    try:
        return gpu.pci_address(said)
    except ValueError:
        expected = "expected a PCI address like 0000:07:00.0, or a pattern with *"
        raise DocumentError(f"{expected}, found {fields.quoted(said)}") from None


def _pattern(value: Any) -> str:
    said = fields.text(value)
    if not said:
        raise DocumentError("expected a pattern, found nothing")
    return said


_CONDITIONS: dict[str, tuple[str, Reader[Any]]] = {
    "pattern": ("pattern", _pattern),
    "pci": ("pci", _pci),
    "uuid": ("uuid", _pattern),
    "memory": ("memory", _memory),
}


def _named(value: Any) -> Named:
    facts = fields.members(value, {**_CONDITIONS, "name": ("name", name)})
    if "name" not in facts:
        raise DocumentError("no resource name specified")
    own = facts.pop("name")
    if not facts:
        raise DocumentError(f"no pattern, pci, uuid or memory says which devices {own} has")
    return Named(name=own, selector=Selector(**facts))


def _filter(value: Any) -> Selector:
    facts = fields.members(value, _CONDITIONS)
    if not facts:
        raise DocumentError("no pattern, pci, uuid or memory says which devices are meant")
    return Selector(**facts)


_PARTS: dict[str, tuple[str, Reader[Any]]] = {
    "gpus": ("gpus", fields.listed(_named)),
    "mig": ("mig", fields.listed(_named)),
    "include": ("include", fields.listed(_filter)),
    "exclude": ("exclude", fields.listed(_filter)),
}
