# SPDX-License-Identifier: Apache-2.0
"""Devices that are offered several times, as the sharing part of the configuration says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpubind_plugin.device import REPLICA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpubind_plugin.config import Shared, Shares
    from gpubind_plugin.device import Device


def shared(
    shares: Shares, resources: Mapping[str, Sequence[Device]], warnings: list[str]
) -> dict[str, list[Device]]:
    """Give the resources with the replicas in place of the devices that are shared.

    Entries with a list of devices take theirs first, then those with a count, then those for all;
    what none takes is offered as it was. `warnings` gets what an entry names and is not there.
    """
    left = {name: list(devices) for name, devices in resources.items()}
    offered: dict[str, list[Device]] = {}
    absent = dict.fromkeys(one.name for one in shares.resources if one.name not in left)
    warnings.extend(f"sharing: the node has no {name}" for name in absent)
    for entry in sorted(shares.resources, key=_precision):
        for device in _taken(entry, left.get(entry.name, []), warnings):
            left[entry.name].remove(device)
            offered.setdefault(entry.offered, []).extend(_replicas(device, entry.replicas))
    for name, devices in left.items():
        if devices:
            offered.setdefault(name, []).extend(devices)
    return offered


def _precision(entry: Shared) -> int:
    return 0 if entry.devices else 1 if entry.count else 2


def _taken(entry: Shared, devices: Sequence[Device], warnings: list[str]) -> list[Device]:
    """Give the devices an entry is about."""
    if entry.devices:
        known = {name: device for device in devices for name in _names(device)}
        absent = [wanted for wanted in entry.devices if wanted.lower() not in known]
        warnings.extend(f"sharing: no device {one} of {entry.name} is there" for one in absent)
        named = (known[wanted.lower()] for wanted in entry.devices if wanted not in absent)
        return list(dict.fromkeys(named))
    if entry.count > len(devices):
        warnings.append(
            f"sharing: {entry.count} devices of {entry.name} are wanted, {len(devices)} left"
        )
    return list(devices[: entry.count or None])


def _names(device: Device) -> Iterator[str]:
    yield device.index
    yield device.uuid.lower()
    if device.is_mig:  # the form of drivers before 470
        yield f"mig-{device.parent_uuid}/{device.gi}/{device.ci}".lower()


def _replicas(device: Device, count: int) -> Iterator[Device]:
    for number in range(count):
        identifier = f"{device.id}{REPLICA}{number}"
        yield replace(device, id=identifier, replicas=count, replica=number)
