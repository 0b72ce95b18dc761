# SPDX-License-Identifier: Apache-2.0
"""The names a GPU or MIG device gets in a CDI spec, by strategy.

An index is a GPU's place by PCI address (see `gpu.numbered`): it changes where a card is put in or
taken out. A UUID stays with the card, a PCI address with the slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpubind_cdi.gpu import Gpu, Mig

DEFAULT_STRATEGIES = ("index", "uuid")

# Strategy: name of a whole GPU, name of a MIG device of it.
STRATEGIES: dict[str, tuple[Callable[[Gpu], str], Callable[[Gpu, Mig], str]]] = {
    "index": (lambda gpu: f"{gpu.index}", lambda gpu, mig: f"{gpu.index}:{mig.index}"),
    "uuid": (lambda gpu: gpu.uuid, lambda _, mig: mig.uuid),
    "type-index": (lambda gpu: f"gpu{gpu.index}", lambda gpu, mig: f"mig{gpu.index}:{mig.index}"),
    "pci": (
        lambda gpu: f"pci-{gpu.pci}" if gpu.pci else "",
        lambda gpu, mig: f"pci-{gpu.pci}-gi{mig.gi}-ci{mig.ci}",
    ),
}


def checked(strategies: Sequence[str]) -> tuple[str, ...]:
    """Give `strategies` without repetitions. Raises UsageError for an unknown one or for none."""
    for strategy in strategies:
        if strategy not in STRATEGIES:
            raise UsageError(
                f"unknown device name strategy {strategy!r}",
                identifier="USE-STRATEGY",
                hint=f"use one or more of {', '.join(STRATEGIES)}",
            )
    if not strategies:
        raise UsageError(
            "no device name strategy is given",
            identifier="USE-STRATEGY",
            hint=f"use one or more of {', '.join(STRATEGIES)}",
        )
    return tuple(dict.fromkeys(strategies))


def names(strategies: Sequence[str], gpu: Gpu, mig: Mig | None = None) -> tuple[str, ...]:
    """Give the names of `gpu`, or of its MIG device `mig`, one for each strategy that has one."""
    every = (
        STRATEGIES[strategy][0](gpu) if mig is None else STRATEGIES[strategy][1](gpu, mig)
        for strategy in strategies
    )
    return tuple(name for name in every if name)


def matches(wanted: str, gpu: Gpu, mig: Mig | None = None) -> bool:
    """Tell whether `wanted` names the device by any strategy or, for a GPU, by PCI address.

    Letters compare without case, as users write `gpu-…` and `GPU-…` alike.
    """
    known = names(tuple(STRATEGIES), gpu, mig)
    short = wanted.lower()
    if mig is None:
        known = (*known, gpu.pci, f"0000{gpu.pci}")
    return any(short == name.lower() for name in known)
