# SPDX-License-Identifier: Apache-2.0
"""Which resources get an MPS daemon, and what it is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpubind_plugin.device import Device

ROOT = "/mps"  # in this container and in those of the clients
MIB = 1 << 20
VOLTA_CLIENTS, CLIENTS = 48, 16  # how many clients a GPU serves at most, by its architecture
VOLTA = (7, 5)  # the field's border: compute capability 7.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """One resource's daemon: its GPUs by UUID, MiB that a client may pin by index, its share."""

    resource: str
    uuids: tuple[str, ...]
    limits: tuple[tuple[int, int], ...]
    percentage: int

    def commands(self) -> list[str]:
        """Give what the daemon is told once it runs."""
        pinned = [f"set_default_device_pinned_mem_limit {at} {size}M" for at, size in self.limits]
        return [*pinned, f"set_default_active_thread_percentage {self.percentage}"]


def daemons(resources: Mapping[str, Sequence[Device]]) -> list[Daemon]:
    """Give the daemon of each resource whose devices are shared.

    Raises ToolkitError K8S-MPS, in the field's words, for devices that can't be shared so.
    """
    return [_daemon(name, found) for name, found in resources.items() if _shared(found)]


def _shared(devices: Sequence[Device]) -> bool:
    return any(device.replicas for device in devices)


def _daemon(resource: str, devices: Sequence[Device]) -> Daemon:
    for device in devices:
        _check(resource, device)
    gpus = {device.uuid: device for device in devices}.values()
    return Daemon(
        resource=resource,
        uuids=tuple(gpu.uuid for gpu in gpus),
        limits=tuple(
            (int(gpu.index), gpu.memory_bytes // max(gpu.replicas, 1) // MIB)
            for gpu in gpus
            if gpu.memory_bytes  # unknown: without a limit
        ),
        percentage=100 // max(gpu.replicas for gpu in gpus),
    )


def _check(resource: str, device: Device) -> None:
    if device.is_mig:
        raise _refused(resource, "sharing using MPS is not supported for MIG devices")
    if not device.index.isdigit():  # WSL2's one device is all of them
        raise _refused(resource, f"sharing using MPS is not supported for device {device.index}")
    most = most_clients(device.compute)
    if device.replicas > most:
        raise _refused(resource, f"maximum allowed replicas exceeded: {device.replicas} > {most}")


def most_clients(compute: str) -> int:
    """Give how many clients a GPU of a compute capability such as `9.0` serves at most."""
    parts = compute.split(".")
    known = tuple(int(part) for part in parts) if all(map(str.isdigit, parts)) else (0,)
    return VOLTA_CLIENTS if known >= VOLTA else CLIENTS


def _refused(resource: str, message: str) -> ToolkitError:
    return ToolkitError(
        f"{resource}: {message}",
        identifier="K8S-MPS",
        hint="change the sharing part of the configuration",
    )
