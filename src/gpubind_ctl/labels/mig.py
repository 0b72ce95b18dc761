# SPDX-License-Identifier: Apache-2.0
"""The labels of MIG devices by strategy: one kind of them, or a resource for each profile. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind_ctl.labels.resource import GPU, LONGEST, PREFIX, base, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.gpu import Gpu, Mig

    from gpubind_ctl.labels.config import Sharing
    from gpubind_ctl.labels.resource import Labels

SIZE = {
    "multiprocessors": "multiprocessors",
    "gi_slices": "slices.gi",
    "ci_slices": "slices.ci",
    "copy": "engines.copy",
    "decoder": "engines.decoder",
    "encoder": "engines.encoder",
    "jpeg": "engines.jpeg",
    "ofa": "engines.ofa",
}


def labels(gpus: Sequence[Gpu], sharing: Sharing, strategy: str, notes: list[str]) -> Labels:
    """Give what the strategy adds to the GPUs' own labels; nothing for strategy `none`."""
    if strategy == "none":
        return {}
    found = {f"{PREFIX}mig.strategy": strategy}
    split = [gpu for gpu in gpus if gpu.mig_enabled]
    if strategy == "mixed":
        return found | _mixed(split, sharing)
    if not split:
        return found
    fault = _fault(gpus, split)
    if fault:
        notes.append(f"MIG strategy single does not fit this node: {fault}")
        return found | _invalid(split[0])
    parts = [mig for gpu in split for mig in gpu.mig]
    return found | _resource(GPU, split[0], parts, sharing)


def _fault(gpus: Sequence[Gpu], split: Sequence[Gpu]) -> str:
    """Give what keeps one name from telling of all; empty for nothing."""
    if not all(gpu.mig for gpu in split):
        return "a GPU with MIG on has no MIG devices"
    if len(split) < len(gpus):
        return "MIG is on for some GPUs and off for others"
    if len({mig.profile for gpu in split for mig in gpu.mig}) > 1:
        return "there are MIG devices of several profiles"
    return ""


def _invalid(gpu: Gpu) -> Labels:
    zeros = {f"{GPU}.{name}": "0" for name in ("count", "replicas", "memory")}
    return {f"{GPU}.product": joined((gpu.name, "MIG", "INVALID")), **zeros}


def _mixed(split: Sequence[Gpu], sharing: Sharing) -> Labels:
    """Give the labels of each profile; those of a name too long for a label are left out."""
    kinds: dict[str, list[tuple[Gpu, Mig]]] = {}
    for gpu in split:
        for part in gpu.mig:
            name = f"{PREFIX}mig-{part.profile.replace('+', '.').replace(',', '.')}"
            kinds.setdefault(name, []).append((gpu, part))
    found: Labels = {}
    for name, devices in kinds.items():
        found |= _resource(name, devices[0][0], [part for _, part in devices], sharing)
    return {key: said for key, said in found.items() if len(key) <= LONGEST + len(PREFIX)}


def _resource(name: str, gpu: Gpu, parts: Sequence[Mig], sharing: Sharing) -> Labels:
    """Give the labels of MIG devices that are alike, the first of which is `gpu`'s."""
    one = parts[0]
    product = (gpu.name, "MIG", one.profile)
    found = base(name, product, len(parts), sharing.resources.get(name), sharing.strategy)
    if one.memory >> 20:
        found[f"{name}.memory"] = f"{one.memory >> 20}"
    if one.size is not None:
        found |= {f"{name}.{label}": f"{getattr(one.size, key)}" for key, label in SIZE.items()}
    return found
