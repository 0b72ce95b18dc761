# SPDX-License-Identifier: Apache-2.0
"""What a GPU is, and who can say which ones there are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class MigSize:
    """What a MIG device has of its GPU: multiprocessors, slices, and engines of each kind."""

    multiprocessors: int
    gi_slices: int
    ci_slices: int
    copy: int
    decoder: int
    encoder: int
    jpeg: int
    ofa: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mig:
    """One MIG device: a compute instance (`ci`) of a GPU instance (`gi`) of its parent GPU.

    `memory` is in bytes, 0 where it is unknown; so is `size` None.
    """

    index: int
    uuid: str
    gi: int
    ci: int
    profile: str
    memory: int = 0
    size: MigSize | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as its driver describes it.

    `minor` is that of `/dev/nvidia<minor>`, `pci` the bus id as sysfs writes it
    (`0000:07:00.0`), empty for one that is on no bus, `architecture` the compute capability
    (`9.0`), `coherent` whether it shares the CPU's page tables, `memory` its bytes, 0
    where unknown. `clique` are the GPUs it shares NVLink memory with, over all machines, as the
    fabric's UUID and number: `UUID.1`; empty for one in no fabric. `recovery` is what the driver
    asks for so that the GPU works again, such as `reset`; `none`, or empty where it says nothing.
    """

    index: int
    uuid: str
    minor: int
    pci: str
    name: str
    brand: str
    architecture: str
    mig: tuple[Mig, ...] = ()
    mig_enabled: bool = False
    mig_capable: bool = False
    coherent: bool = False
    memory: int = 0
    clique: str = ""
    recovery: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A GPU that is there and could not be read, and why; with `mig` only its MIG device there."""

    index: int
    message: str
    mig: int | None = None

    @property
    def what(self) -> str:
        """What could not be read, in words."""
        if self.mig is None:
            return f"GPU {self.index}"
        return f"MIG device {self.index}:{self.mig}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How two GPUs, named by UUID, reach each other.

    `path` is what their common ancestor is, in nvidia-smi's words (PATHS), `nvlinks` how many
    NVLinks join the two with no switch between.
    """

    gpus: tuple[str, str]
    path: str
    nvlinks: int = 0


# From the same board to different CPUs, by nvmlGpuTopologyLevel_t.
PATHS = {0: "PSB", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}


class GpuSource(Protocol):
    """Whoever can say which driver runs and which GPUs it serves."""

    def driver_version(self) -> str:
        """Give the driver's version, such as `550.54.15`; empty when it is not known."""

    def cuda_version(self) -> str:
        """Give the CUDA version the driver serves at most, such as `12.4`; empty when unknown."""

    def gpus(self) -> Sequence[Gpu]:
        """Give the GPUs that could be read, by index."""

    def faults(self) -> Sequence[Fault]:
        """Give the GPUs that could not be read."""


def numbered(
    gpus: Sequence[Gpu], faults: Sequence[Fault] = (), present: Sequence[str] = ()
) -> tuple[tuple[Gpu, ...], tuple[Fault, ...]]:
    """Give the GPUs by PCI address, their indices dealt out in that order, and the faults.

    So an index means the same GPU whatever order the driver found them in. One that could not be
    read keeps its index: no other GPU takes it. Where it is, say `present`, the addresses that the
    kernel module lists; where that does not fit, its place in the driver's order counts.
    """
    lost = sorted(fault.index for fault in faults if fault.mig is None)
    ordered = sorted(gpus, key=lambda gpu: _place(gpu.pci))
    indices = sorted(gpu.index for gpu in gpus)
    every = sorted(present, key=_place)
    if lost and len(every) == len(gpus) + len(lost) and {gpu.pci for gpu in gpus} < {*every}:
        indices = [every.index(gpu.pci) for gpu in ordered]
    left = (index for index in range(len(gpus) + len(lost)) if index not in indices)
    read = {gpu.index: index for gpu, index in zip(ordered, indices, strict=True)}
    gone = dict(zip(lost, left, strict=False))
    return (
        tuple(replace(gpu, index=read[gpu.index]) for gpu in ordered),
        tuple(
            replace(one, index=(gone if one.mig is None else read).get(one.index, one.index))
            for one in faults
        ),
    )


def _place(pci: str) -> tuple[int, ...]:
    """Give what orders addresses; a GPU on no bus, which a Tegra's own is, comes first."""
    if not pci:
        return ()
    return tuple(int(part, 16) for part in pci.replace(".", ":").split(":"))


def pci_address(text: str) -> str:
    """Give a PCI address as sysfs writes it: NVML's eight-digit domain cut to four, lower case.

    Raises ValueError for text that is none.
    """
    domain, bus, rest = text.lower().split(":")
    device, function = rest.split(".")
    widths = ((domain, (4, 8)), (bus, (2,)), (device, (2,)), (function, (1,)))
    for digits, lengths in widths:
        if len(digits) not in lengths or digits.strip("0123456789abcdef"):
            raise ValueError(f"not a PCI address: {text}")
    return (
        f"{domain[4:] if domain.startswith('0000') and len(domain) == 8 else domain}:{bus}:{rest}"
    )
