# SPDX-License-Identifier: Apache-2.0
"""The labels of a node, from what a look at it gave: pure. Names and values are the field's.

Where a node has GPUs of several models, one label can't tell of all: it tells of the model that
has GPUs to offer whole, and of these the one with the lowest index.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpubind_ctl.labels import mig
from gpubind_ctl.labels.config import MPS
from gpubind_ctl.labels.resource import GPU, PREFIX, base, sanitised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.gpu import Gpu

    from gpubind_ctl.labels.config import Sharing
    from gpubind_ctl.labels.look import Facts
    from gpubind_ctl.labels.resource import Labels

DISPLAYS = ("NVIDIA DGX Display", "DGX Display")  # GPUs that are not there to compute
MODES = {"0x030000": "graphics", "0x030200": "compute"}
VERSION = re.compile(r"([0-9]+)\.([0-9]+)(?:\.([0-9]+))?", re.ASCII)
UNKNOWN = "unknown"

# Families by compute capability: the last row that is not above it.
FAMILIES = (
    *(((1, 0), "tesla"), ((2, 0), "fermi"), ((3, 0), "kepler"), ((4, 0), ""), ((5, 0), "maxwell")),
    *(((6, 0), "pascal"), ((7, 0), "volta"), ((7, 5), "turing"), ((8, 0), "ampere")),
    *(((8, 9), "ada-lovelace"), ((9, 0), "hopper"), ((10, 0), "blackwell"), ((11, 0), "")),
    *(((12, 0), "blackwell"), ((13, 0), "rubin"), ((14, 0), "")),
)


def labels(
    facts: Facts, sharing: Sharing, strategy: str = "none", timestamp: int | None = None
) -> tuple[Labels, tuple[str, ...]]:
    """Give the labels, sorted, and notes on what is not as it should be.

    `strategy` is the MIG strategy. `timestamp`, in seconds since 1970, is left out where None.
    """
    notes: list[str] = []
    gpus = [gpu for gpu in facts.inventory.gpus if gpu.name not in DISPLAYS]
    found = _virtual(facts)
    if timestamp is not None:
        found[f"{PREFIX}gfd.timestamp"] = f"{timestamp}"
    if gpus:
        found |= _node(facts, gpus, sharing, notes)
        found |= _models(gpus, sharing, notes)
        found |= mig.labels(gpus, sharing, strategy, notes)
    return dict(sorted(found.items())), tuple(notes)


def _node(facts: Facts, gpus: Sequence[Gpu], sharing: Sharing, notes: list[str]) -> Labels:
    capable = sharing.strategy == MPS and not any(gpu.mig_enabled for gpu in gpus)
    found = {
        f"{GPU}.machine": sanitised(facts.machine) or UNKNOWN,
        f"{GPU}.mode": _mode(facts, gpus),
        f"{PREFIX}mig.capable": _truth(any(gpu.mig_capable for gpu in gpus)),
        f"{PREFIX}mps.capable": _truth(capable),
    }
    return found | _versions(facts, notes) | _clique(gpus, notes)


def _versions(facts: Facts, notes: list[str]) -> Labels:
    """Give the driver's and CUDA's versions, each under its names of today and of before."""
    found: Labels = {}
    driver = VERSION.fullmatch(facts.inventory.driver)
    if driver:
        major, minor, revision = driver.group(1), driver.group(2), driver.group(3) or ""
        found |= {f"{PREFIX}cuda.driver.major": major, f"{PREFIX}cuda.driver.minor": minor}
        found[f"{PREFIX}cuda.driver.rev"] = revision
        names = {"major": major, "minor": minor, "revision": revision, "full": driver.group()}
        found |= {f"{PREFIX}cuda.driver-version.{name}": said for name, said in names.items()}
    else:
        notes.append(f"the driver's version, {facts.inventory.driver or UNKNOWN}, is not X.Y[.Z]")
    cuda = VERSION.fullmatch(facts.inventory.cuda)
    if cuda:
        for name, said in (("major", cuda.group(1)), ("minor", cuda.group(2))):
            found[f"{PREFIX}cuda.runtime.{name}"] = said
            found[f"{PREFIX}cuda.runtime-version.{name}"] = said
        found[f"{PREFIX}cuda.runtime-version.full"] = f"{cuda.group(1)}.{cuda.group(2)}"
    return found


def _mode(facts: Facts, gpus: Sequence[Gpu]) -> str:
    """Give what all GPUs are made for; unknown where they differ or one does not tell."""
    found = {MODES.get(facts.classes.get(gpu.pci, ""), UNKNOWN) for gpu in gpus}
    return found.pop() if len(found) == 1 else UNKNOWN


def _clique(gpus: Sequence[Gpu], notes: list[str]) -> Labels:
    """Give the NVLink clique that those GPUs are in that are in one, if it is the same."""
    found = sorted({gpu.clique for gpu in gpus if gpu.clique})
    if len(found) > 1:
        notes.append(f"the GPUs are in several NVLink cliques: {', '.join(found)}")
    return {f"{GPU}.clique": found[0]} if len(found) == 1 else {}


def _virtual(facts: Facts) -> Labels:
    if facts.hosts is None:
        return {}
    hosts = [host for host in facts.hosts if host is not None]
    found = {f"{PREFIX}vgpu.present": _truth(bool(hosts))}
    for host in hosts[:1]:
        found[f"{PREFIX}vgpu.host-driver-version"] = sanitised(host.version)
        found[f"{PREFIX}vgpu.host-driver-branch"] = sanitised(host.branch)
    return found


def _models(gpus: Sequence[Gpu], sharing: Sharing, notes: list[str]) -> Labels:
    """Give what is said of the GPUs themselves. One that is partitioned is offered no times."""
    told = next((gpu for gpu in gpus if not gpu.mig_enabled), gpus[0])
    names = list(dict.fromkeys(gpu.name for gpu in gpus))
    if len(names) > 1:
        notes.append(f"several models of GPU, the labels tell of {told.name}: {', '.join(names)}")
    shared = None if told.mig_enabled else sharing.resources.get(GPU)
    count = sum(gpu.name == told.name for gpu in gpus)
    found = base(GPU, (told.name,), count, shared, sharing.strategy)
    if told.mig_enabled:
        found[f"{GPU}.replicas"] = "0"
    if told.memory >> 20:
        found[f"{GPU}.memory"] = f"{told.memory >> 20}"
    return found | _architecture(told)


def _architecture(gpu: Gpu) -> Labels:
    known = VERSION.fullmatch(gpu.architecture)
    if not known:
        return {}
    capability = (int(known.group(1)), int(known.group(2)))
    family = next((name for least, name in reversed(FAMILIES) if least <= capability), "")
    return {
        f"{GPU}.family": family or "undefined",
        f"{GPU}.compute.major": f"{capability[0]}",
        f"{GPU}.compute.minor": f"{capability[1]}",
    }


def _truth(value: bool) -> str:  # noqa: FBT001 - the value itself
    return "true" if value else "false"
