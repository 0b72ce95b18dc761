# SPDX-License-Identifier: Apache-2.0
"""Facts of nodes with GPUs made up for a test, and what the device plugin offers of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from gpubind_cdi.gpu import Fault, Gpu, Mig
from gpubind_cdi.inventory import Inventory

from gpubind_plugin import facts, resources
from gpubind_plugin.config import Config, Shared, Shares, Sharing

GPU = "nvidia.com/gpu"
GIB = 1 << 30


def gpu(index: int, **changes: Any) -> Gpu:
    plain = Gpu(
        index=index,
        uuid=f"GPU-{index}",
        minor=index + 1,
        pci=f"0000:{index:02x}:00.0",
        name="NVIDIA A100-SXM4-80GB",
        brand="Nvidia",
        architecture="8.0",
        memory=80 * GIB,
    )
    return dataclasses.replace(plain, **changes)


def split(index: int, *profiles: str, **changes: Any) -> Gpu:
    """Give a GPU with MIG devices of these profiles, each in a GPU instance of its own."""
    parts = (
        Mig(index=at, uuid=f"MIG-{index}-{at}", gi=at + 1, ci=0, profile=profile, memory=10 * GIB)
        for at, profile in enumerate(profiles)
    )
    return gpu(index, mig_enabled=True, mig=tuple(parts), **changes)


def known(*gpus: Gpu, faults: tuple[Fault, ...] = (), **changes: Any) -> facts.Facts:
    """Give the facts of a node with these GPUs, whose MIG devices have all their capabilities."""
    instances = [f"gpu{one.minor}/gi{mig.gi}" for one in gpus for mig in one.mig]
    names = [name for one in instances for name in (f"{one}/access", f"{one}/ci0/access")]
    return facts.Facts(
        inventory=Inventory(driver="550.54.15", cuda="12.4", gpus=gpus, faults=faults),
        minors={name: number for number, name in enumerate(names, 12)},
        numa={"0000:00:00.0": 3},
        **changes,
    )


def offered(node: facts.Facts, **config: Any) -> dict[str, list[str]]:
    """Give the ids a node offers, by resource."""
    found = resources.offer(Config(**config), node).resources
    return {name: [device.id for device in devices] for name, devices in found.items()}


def sliced(*entries: Shared, **more: Any) -> Sharing:
    return Sharing(time_slicing=Shares(resources=entries, **more))
