# SPDX-License-Identifier: Apache-2.0
"""A GPU by any of its names, and the GPUs behind a spec's devices. Pure.

Loaded where a name is not simply that of a device in a compiled spec, or where a container has
requirements. The figures are those of the sidecar: see `gpus` in a compiled spec.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from gpubind.oci.types import CompiledSpec

    Gpu = dict[str, Any]

_HEX = frozenset("0123456789abcdef")


def device_of(spec: CompiledSpec, wanted: str) -> str:
    """Give the device of `spec` that `wanted` names in another way, empty where there is none.

    Understood are an index, a UUID in any case, a PCI address with or without its leading zeros,
    `pci-<address>`, `GPU:MIG` indices, a MIG device's UUID, `pci-<address>-gi<n>-ci<n>`, and
    `MIG-<UUID of its GPU>/<instance>/<instance>`.
    """
    word = wanted.lower()
    place = address(word)
    for gpu in spec["gpus"]:
        if word in _names(gpu) or (place and place == address(str(gpu.get("pci", "")))):
            return _held(spec, _names(gpu))
        for mig in gpu.get("migs") or ():
            known = _mig_names(gpu, mig)
            if word in known:
                return _held(spec, known)
    return ""


def gpus_of(spec: CompiledSpec, devices: Iterable[str]) -> list[Gpu]:
    """Give the GPUs behind some of a spec's devices, each once; a MIG device has its GPU's."""
    words = {name.lower() for name in devices}
    return [
        gpu
        for gpu in spec["gpus"]
        if "all" in words
        or words.intersection(_names(gpu))
        or any(words.intersection(_mig_names(gpu, mig)) for mig in gpu.get("migs") or ())
    ]


def address(text: str) -> tuple[int, int, int, int] | None:
    """Give a PCI address as numbers (domain, bus, device, function); None for what is none."""
    place, dot, function = text.lower().rpartition(".")
    parts = place.split(":")
    if not dot or len(parts) not in (2, 3):
        return None
    digits = [*(["0"] if len(parts) == 2 else []), *parts, function]
    if any(not part or len(part) > 8 or not _HEX.issuperset(part) for part in digits):
        return None
    domain, bus, device, last = (int(part, 16) for part in digits)
    return domain, bus, device, last


def _names(gpu: Gpu) -> tuple[str, ...]:
    index = gpu.get("index")
    return f"{index}", str(gpu.get("uuid", "")).lower(), f"gpu{index}", _place(gpu)


def _mig_names(gpu: Gpu, mig: Gpu) -> tuple[str, ...]:
    both = f"{gpu.get('index')}:{mig.get('index')}"
    uuid, parent = str(mig.get("uuid", "")).lower(), str(gpu.get("uuid", "")).lower()
    place = f"{_place(gpu)}-gi{mig.get('gi')}-ci{mig.get('ci')}"
    return both, uuid, f"mig{both}", place, f"mig-{parent}/{mig.get('gi')}/{mig.get('ci')}"


def _place(gpu: Gpu) -> str:
    return f"pci-{gpu.get('pci', '')}".lower()


def _held(spec: CompiledSpec, names: tuple[str, ...]) -> str:
    """Give the device of a spec that has one of the names in any case.

    On WSL2 it is `all`: one node stands for every GPU there, and no other device is described.
    """
    found = next((device for device in spec["devices"] if device.lower() in names), "")
    return found or ("all" if list(spec["devices"]) == ["all"] else "")
