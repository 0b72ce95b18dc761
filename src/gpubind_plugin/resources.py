# SPDX-License-Identifier: Apache-2.0
"""Which resources a node offers, and the devices of each: pure, from configuration and facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError
from gpubind_plugin import facts as platforms
from gpubind_plugin import replicas, selecting
from gpubind_plugin.config import Named
from gpubind_plugin.device import Device

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpubind_cdi.gpu import Gpu, Mig

    from gpubind_plugin.config import Config
    from gpubind_plugin.facts import Facts

GPU = "nvidia.com/gpu"
MIG_PREFIX = "nvidia.com/mig-"
DISPLAYS = ("NVIDIA DGX Display", "DGX Display")  # GPUs that are not there to compute
BROKEN_MIG = (
    "invalid MIG configuration: at least one device with migEnabled=true was not configured "
    "correctly"
)
WHOLE = {
    platforms.WSL: Device(id="all", index="all", uuid="all", paths=("/dev/dxg",)),
    platforms.TEGRA: Device(id="tegra", index="0", uuid="tegra", compute="0.0"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Resource names with their devices, both in order, and what is not as it was asked for."""

    resources: dict[str, tuple[Device, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def offer(config: Config, facts: Facts) -> Offer:
    """Give what a node offers to the kubelet.

    A GPU that could not be read, or a MIG device without its capabilities, is left out with a
    warning; the others are offered. Raises ToolkitError K8S-MIG where the GPUs' MIG modes do not
    fit the strategy.
    """
    warnings = [
        f"{fault.what} is left out: it could not be read: {fault.message}"
        for fault in facts.inventory.faults
    ]
    found: dict[str, list[Device]] = {}
    for name, device in _named(config, facts, warnings):
        found.setdefault(name, []).append(device)
    shared = replicas.shared(config.sharing.shares, found, warnings)
    ordered = {name: tuple(sorted(shared[name], key=order)) for name in sorted(shared)}
    return Offer(resources=ordered, warnings=tuple(warnings))


def order(device: Device) -> tuple[tuple[int, ...], str, int]:
    """Give what devices are sorted by: index, then replica."""
    numbers = device.index.split(":")
    places = tuple(int(part) for part in numbers) if numbers[0].isdigit() else ()
    return places, device.uuid, device.replica


def _named(config: Config, facts: Facts, warnings: list[str]) -> Iterator[tuple[str, Device]]:
    """Give each device with the name it is offered under, were it not shared."""
    if facts.platform in WHOLE:
        yield config.resources.gpus[0].name if config.resources.gpus else GPU, WHOLE[facts.platform]
        return
    chosen = [gpu for gpu in facts.inventory.gpus if gpu.name not in DISPLAYS]
    split = [gpu for gpu in chosen if gpu.mig_enabled and config.mig_strategy != "none"]
    full = [gpu for gpu in chosen if gpu not in split and selecting.wanted(config.resources, gpu)]
    parts = _parts(config, split, warnings)
    if config.mig_strategy == "single":
        _refuse_several(full, parts)
    for gpu in full:
        name = _name(config.resources.gpus or (Named(name=GPU),), gpu)
        if name:
            yield name, _gpu(facts, gpu)
        else:
            warnings.append(f"GPU {gpu.index} ({gpu.name}) is left out: no pattern fits it")
    for gpu, mig in parts:
        yield from _mig_named(config, facts, gpu, mig, warnings)


def _parts(config: Config, split: Sequence[Gpu], warnings: list[str]) -> list[tuple[Gpu, Mig]]:
    """Give the MIG devices of the GPUs that are partitioned."""
    for gpu in split:
        if not gpu.mig and selecting.wanted(config.resources, gpu):
            said = f"{BROKEN_MIG}: device {gpu.index} has no MIG devices configured"
            if config.mig_strategy == "single":
                raise _refused(said)
            warnings.append(said)
    return [
        (gpu, mig)
        for gpu in split
        for mig in gpu.mig
        if selecting.wanted(config.resources, gpu, mig)
    ]


def _refuse_several(full: Sequence[Gpu], parts: Sequence[tuple[Gpu, Mig]]) -> None:
    """Raise where strategy single, with one name for all, would have to name several kinds."""
    if len({mig.profile for _, mig in parts}) > 1:
        raise _refused("more than one MIG device type present on node")
    if full and parts:
        raise _refused("all devices on the node must be configured with the same migEnabled value")


def _refused(message: str) -> ToolkitError:
    return ToolkitError(
        message,
        identifier="K8S-MIG",
        hint="partition the GPUs alike, or use --mig-strategy=mixed",
    )


def _name(table: Sequence[Named], gpu: Gpu, mig: Mig | None = None) -> str:
    """Give the name the first fitting entry has; empty where none fits."""
    fitting = (one.name for one in table if selecting.fits(one.selector, gpu, mig, profile=True))
    return next(fitting, "")


def _mig_named(
    config: Config, facts: Facts, gpu: Gpu, mig: Mig, warnings: list[str]
) -> Iterator[tuple[str, Device]]:
    what = f"MIG device {gpu.index}:{mig.index} ({mig.profile})"
    if config.resources.mig:
        name = _name(config.resources.mig, gpu, mig)
    else:
        name = GPU if config.mig_strategy == "single" else mig_resource(mig.profile)
    if not name:
        warnings.append(f"{what} is left out: no pattern fits its profile")
        return
    device = _mig(facts, gpu, mig)
    if isinstance(device, Device):
        yield name, device
    else:
        warnings.append(f"{what} is left out: missing MIG GPU instance capability path: {device}")


def mig_resource(profile: str) -> str:
    """Give the name MIG devices of a profile have in strategy mixed; empty where they have none.

    Those with fewer compute than memory slices, such as `1c.3g.40gb`, have none.
    """
    sliced = profile.partition(".")[0].removesuffix("c").isdigit() and "c." in profile[:4]
    return "" if sliced else MIG_PREFIX + profile.replace("+", ".").replace(",", ".")


def _gpu(facts: Facts, gpu: Gpu) -> Device:
    return Device(
        id=gpu.uuid,
        index=f"{gpu.index}",
        uuid=gpu.uuid,
        minor=gpu.minor,
        pci=gpu.pci,
        numa=facts.numa.get(gpu.pci, -1),
        paths=(f"/dev/nvidia{gpu.minor}",),
        memory_bytes=gpu.memory,
        compute=gpu.architecture,
        name=gpu.name,
    )


def _mig(facts: Facts, gpu: Gpu, mig: Mig) -> Device | str:
    """Give a MIG device, or the capability that the kernel does not list."""
    instance = f"gpu{gpu.minor}/gi{mig.gi}"
    names = (f"{instance}/access", f"{instance}/ci{mig.ci}/access")
    for name in names:
        if name not in facts.minors:
            return f"/proc/driver/nvidia/capabilities/{name.replace('/gi', '/mig/gi', 1)}"
    capabilities = (f"/dev/nvidia-caps/nvidia-cap{facts.minors[name]}" for name in names)
    return Device(
        id=mig.uuid,
        index=f"{gpu.index}:{mig.index}",
        uuid=mig.uuid,
        parent_uuid=gpu.uuid,
        minor=gpu.minor,
        gi=mig.gi,
        ci=mig.ci,
        pci=gpu.pci,
        numa=facts.numa.get(gpu.pci, -1),
        paths=(f"/dev/nvidia{gpu.minor}", *capabilities),
        memory_bytes=mig.memory,
        compute=gpu.architecture,
        name=gpu.name,
        profile=mig.profile,
    )
