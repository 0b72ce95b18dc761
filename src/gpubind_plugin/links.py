# SPDX-License-Identifier: Apache-2.0
"""How close GPUs are to each other, as scores in the field's measure: the higher, the closer."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gpubind_cdi.gpu import Link

    from gpubind_plugin.device import Device

    Score = Callable[[str, str], int]

# Of what two GPUs have in common on their way to each other, in nvidia-smi's words.
PATHS = {"SYS": 10, "NODE": 20, "PHB": 30, "PXB": 40, "PIX": 50, "PSB": 60}
NVLINK = 100  # for each that joins the two


def score(devices: Sequence[Device], known: Iterable[Link]) -> Score:
    """Give a function that gives the score of two GPUs, by UUID, whichever comes first.

    For a pair that no link is known of the way is guessed from NUMA nodes and PCI addresses.
    """
    pairs = {
        frozenset((one.uuid, other.uuid)): PATHS[_guess(one, other)]
        for one, other in itertools.combinations(devices, 2)
    }
    for link in known:
        pairs[frozenset(link.gpus)] = PATHS[link.path] + NVLINK * link.nvlinks
    return lambda one, other: pairs.get(frozenset((one, other)), 0)


def _guess(one: Device, other: Device) -> str:
    """Give the way between two GPUs: below the same CPU or not; nothing closer is guessed.

    Where the kernel names no NUMA node the domain of the PCI address stands in for it.
    """
    if one.numa >= 0 and other.numa >= 0:
        return "NODE" if one.numa == other.numa else "SYS"
    return "NODE" if one.pci.partition(":")[0] == other.pci.partition(":")[0] else "SYS"
