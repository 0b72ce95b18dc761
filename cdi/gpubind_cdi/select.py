# SPDX-License-Identifier: Apache-2.0
"""Which GPUs and MIG devices a spec describes: all of them, or those asked for by a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind.errors import UsageError
from gpubind_cdi import namer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpubind_cdi.gpu import Fault, Gpu, Mig

ALL, NONE = "all", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A device to describe: a whole GPU, or its MIG device `mig`."""

    gpu: Gpu
    mig: Mig | None = None

    def __str__(self) -> str:
        if self.mig is None:
            return f"GPU {self.gpu.index} ({self.gpu.uuid})"
        return f"MIG device {self.gpu.index}:{self.mig.index} ({self.mig.uuid})"


def devices(
    ids: Sequence[str],
    gpus: Sequence[Gpu],
    faults: Sequence[Fault],
    coherent: bool | None = None,  # noqa: FBT001 - both, or one kind of GPU
) -> tuple[Chosen, ...]:
    """Give the devices that `ids` name, once each; without any, or with `all`, every one.

    A GPU with MIG enabled stands for its MIG devices unless it is asked for itself. With `coherent`
    only GPUs that are, or are not. Raises UsageError for an id that names nothing.
    """
    named = [one for one in ids if one not in (ALL, NONE)]
    if not ids or ALL in ids:
        chosen = dict.fromkeys(_every(gpus))
    else:
        chosen = dict.fromkeys(_named(one, gpus, faults) for one in named)
    return tuple(one for one in chosen if coherent in (None, one.gpu.coherent))


def _every(gpus: Sequence[Gpu]) -> Iterator[Chosen]:
    for gpu in gpus:
        if gpu.mig_enabled:
            yield from (Chosen(gpu=gpu, mig=mig) for mig in gpu.mig)
        else:
            yield Chosen(gpu=gpu)


def _named(wanted: str, gpus: Sequence[Gpu], faults: Sequence[Fault]) -> Chosen:
    for gpu in gpus:
        if namer.matches(wanted, gpu):
            return Chosen(gpu=gpu)
        for mig in gpu.mig if gpu.mig_enabled else ():
            if namer.matches(wanted, gpu, mig):
                return Chosen(gpu=gpu, mig=mig)
    for fault in faults:
        place = f"{fault.index}" if fault.mig is None else f"{fault.index}:{fault.mig}"
        if wanted in (place, f"{'gpu' if fault.mig is None else 'mig'}{place}"):
            raise UsageError(
                f"{fault.what} could not be read: {fault.message}", identifier="GPU-UNREADABLE"
            )
    known = ", ".join(name for one in _every(gpus) for name in _names(one))
    raise UsageError(
        f"no device {wanted!r}", identifier="USE-DEVICE", hint=f"there are: {known or 'none'}"
    )


def _names(one: Chosen) -> tuple[str, ...]:
    return namer.names(namer.DEFAULT_STRATEGIES, one.gpu, one.mig)
