# SPDX-License-Identifier: Apache-2.0
"""The inventory: a node's driver and GPUs as one JSON document.

A simulated node keeps it in `/gpubind-node.json`; the process that asks NVML prints it. Beside
driver and GPUs it names the GPUs that could not be read (`faults`) and, where somebody knows, how
the GPUs reach each other (`links`).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpubind.errors import DocumentError, ToolkitError
from gpubind_cdi import fields, gpu, sifting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpubind_cdi.fields import Reader

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All that one look at a node gave; `present` are the GPUs' PCI addresses by the kernel."""

    driver: str
    cuda: str
    gpus: tuple[gpu.Gpu, ...]
    faults: tuple[gpu.Fault, ...] = ()
    links: tuple[gpu.Link, ...] = ()
    profile: str = ""
    present: tuple[str, ...] = ()


class Source:
    """A source of GPUs that looks once, on the first question, and answers from that look."""

    __slots__ = ("_look", "_seen")

    def __init__(self, look: Callable[[], Inventory]) -> None:
        self._look = look
        self._seen: Inventory | ToolkitError | None = None

    def inventory(self) -> Inventory:
        """Give all that the one look gave. Raises ToolkitError where it gave none."""
        if self._seen is None:
            try:
                seen = self._look()
                gpus, faults = gpu.numbered(seen.gpus, seen.faults, seen.present)
                self._seen = replace(seen, gpus=gpus, faults=faults)
            except ToolkitError as error:
                self._seen = error
        if isinstance(self._seen, ToolkitError):
            raise self._seen
        return self._seen

    def driver_version(self) -> str:
        """Give the driver's version."""
        return self.inventory().driver

    def cuda_version(self) -> str:
        """Give the CUDA version the driver serves at most."""
        return self.inventory().cuda

    def gpus(self) -> Sequence[gpu.Gpu]:
        """Give the GPUs that could be read, by index, which is that of their PCI addresses."""
        return self.inventory().gpus

    def faults(self) -> Sequence[gpu.Fault]:
        """Give the GPUs that could not be read."""
        return self.inventory().faults

    def links(self) -> Sequence[gpu.Link]:
        """Give how GPUs reach each other, as far as it is known."""
        return self.inventory().links


def parse(document: object) -> Inventory:
    """Read an inventory document.

    Raises DocumentError with the place of what is wrong: a missing, unknown or mistyped key, an
    index, minor or UUID used twice, a UUID or PCI address that is none.
    """
    facts = _object(document, _INVENTORY, optional=("faults", "links", "profile"))
    if facts.pop("format") != FORMAT:
        raise DocumentError(f"expected {FORMAT}: written by another version", path="format")
    facts["driver"], facts["cuda"] = facts["driver"]
    _unique("gpus", facts["gpus"], ("index", "uuid", "minor", "pci"))
    _unique("instances", [mig for found in facts["gpus"] for mig in found.mig], ("uuid",))
    facts["gpus"] = tuple(sorted(facts["gpus"], key=lambda found: found.index))
    return Inventory(**facts)


def salvaged(document: object) -> Inventory:
    """Read an inventory in which GPUs or MIG devices may be wrong: each such one becomes a fault.

    Raises DocumentError where anything else is wrong.
    """
    table = dict(fields.mapping(document))
    listed = table.get("gpus")
    good: list[gpu.Gpu] = []
    faults: list[gpu.Fault] = []
    for position, value in enumerate(listed if isinstance(listed, list) else ()):
        taken = {mig.uuid for known in good for mig in known.mig}
        parts: list[gpu.Fault] = []
        try:
            one = _gpu(sifting.sifted(value, _instance, taken, parts))
            _unique("gpus", [*good, one], ("index", "uuid", "minor", "pci"))
            good.append(one)
            faults += parts
        except DocumentError as error:
            index = value.get("index") if isinstance(value, dict) else position
            faults.append(gpu.Fault(index=_small(index), message=sifting.reason(error)))
    rest = parse(table | {"gpus": [], "links": []})
    known = _good_links(table.get("links"))
    return replace(rest, gpus=tuple(good), faults=(*rest.faults, *faults), links=known)


def _good_links(value: object) -> tuple[gpu.Link, ...]:
    """Read the links that can be read: nobody's GPU is lost for one that can't."""
    good = []
    for one in value if isinstance(value, list) else ():
        with contextlib.suppress(DocumentError):
            good.append(_link(one))
    return tuple(good)


def _object(
    value: Any, readers: dict[str, tuple[str, Reader[Any]]], optional: Sequence[str] = ()
) -> dict[str, Any]:
    facts = fields.members(value, readers)
    for name, (attribute, _) in readers.items():
        if attribute not in facts and attribute not in optional:
            raise DocumentError(f"the key {fields.quoted(name)} is missing")
    return facts


def _word(value: Any) -> str:
    word = fields.text(value)
    if not word.isprintable():
        raise DocumentError(f"expected printable text, found {word!a}")
    return word


def _uuid(prefix: str) -> Reader[str]:
    def read(value: Any) -> str:
        word = _word(value)
        rest = word.removeprefix(prefix)
        good = rest.isascii() and rest.replace("-", "").isalnum() and rest[-1:] != "-"
        if rest == word or not good:
            raise DocumentError(f"expected a UUID like {prefix}1b2c, found {fields.quoted(word)}")
        return word

    return read


def _pci(value: Any) -> str:
    word = _word(value)
    try:
        return gpu.pci_address(word) if word else ""  # a Tegra's own GPU is on no bus
    except ValueError:
        expected = "expected a PCI address like 0000:07:00.0"
        raise DocumentError(f"{expected}, found {fields.quoted(word)}") from None


def _driver(value: Any) -> tuple[str, str]:
    facts = _object(value, {"version": ("version", _word), "cuda": ("cuda", _word)})
    return facts["version"], facts["cuda"]


def _gpu(value: Any) -> gpu.Gpu:
    facts = _object(value, _GPU, optional=("mig", "coherent", "memory", "clique", "recovery"))
    mig = facts.pop("mig", {})
    return gpu.Gpu(**facts, **mig)


def _mig(value: Any) -> dict[str, Any]:
    facts = _object(value, _PARTITIONS, optional=("mig", "mig_capable"))
    _unique("instances", facts.get("mig", ()), ("index", "uuid"))
    return {"mig_capable": facts["mig_enabled"], **facts}


def _instance(value: Any) -> gpu.Mig:
    return gpu.Mig(**_object(value, _INSTANCE, optional=("memory", "size")))


def _size(value: Any) -> gpu.MigSize:
    return gpu.MigSize(**_object(value, _SIZE))


def _fault(value: Any) -> gpu.Fault:
    return gpu.Fault(**_object(value, {"index": ("index", _small), "message": ("message", _word)}))


def _pair(value: Any) -> tuple[str, str]:
    names = fields.listed(_uuid("GPU-"))(value)
    if len(names) != 2:
        raise DocumentError(f"expected the UUIDs of two GPUs, found {len(names)}")
    return names[0], names[1]


def _path(value: Any) -> str:
    word = fields.text(value)
    if word not in gpu.PATHS.values():
        known = ", ".join(gpu.PATHS.values())
        raise DocumentError(f"expected one of {known}, found {fields.quoted(word)}")
    return word


def _link(value: Any) -> gpu.Link:
    return gpu.Link(**_object(value, _LINK, optional=("nvlinks",)))


def _unique(name: str, things: Sequence[gpu.Gpu | gpu.Mig], attributes: Sequence[str]) -> None:
    for attribute in attributes:
        seen: set[object] = set()
        for position, thing in enumerate(things):
            value = getattr(thing, attribute)
            if value in seen and value != "":  # an integrated GPU is at no address
                raise DocumentError(
                    f"{value} is used twice", path=f"{name}[{position}].{attribute}"
                )
            seen.add(value)


mig_uuid = _uuid("MIG-")
_small = fields.number(0, (1 << 20) - 1)  # the kernel's largest minor number
_memory = fields.number(0, fields.INT64_MAX)
_SIZE: dict[str, tuple[str, Reader[Any]]] = {
    name: (name, _small) for name in gpu.MigSize.__dataclass_fields__
}
_INSTANCE: dict[str, tuple[str, Reader[Any]]] = {
    "index": ("index", _small),
    "uuid": ("uuid", mig_uuid),
    "gi": ("gi", _small),
    "ci": ("ci", _small),
    "profile": ("profile", _word),
    "memory": ("memory", _memory),
    "size": ("size", _size),
}
_PARTITIONS: dict[str, tuple[str, Reader[Any]]] = {
    "enabled": ("mig_enabled", fields.truth),
    "capable": ("mig_capable", fields.truth),
    "instances": ("mig", fields.listed(_instance)),
}
_GPU: dict[str, tuple[str, Reader[Any]]] = {
    "index": ("index", _small),
    "uuid": ("uuid", _uuid("GPU-")),
    "minor": ("minor", _small),
    "pci": ("pci", _pci),
    "name": ("name", _word),
    "brand": ("brand", _word),
    "architecture": ("architecture", _word),
    "mig": ("mig", _mig),
    "coherent": ("coherent", fields.truth),
    "clique": ("clique", _word),
    "recovery": ("recovery", _word),
    "memory": ("memory", _memory),
}
_LINK: dict[str, tuple[str, Reader[Any]]] = {
    "gpus": ("gpus", _pair),
    "path": ("path", _path),
    "nvlinks": ("nvlinks", _small),
}
_INVENTORY: dict[str, tuple[str, Reader[Any]]] = {
    "format": ("format", fields.number(0, 1 << 20)),
    "profile": ("profile", _word),
    "driver": ("driver", _driver),
    "gpus": ("gpus", fields.listed(_gpu)),
    "faults": ("faults", fields.listed(_fault)),
    "links": ("links", fields.listed(_link)),
}
