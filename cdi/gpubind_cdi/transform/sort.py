# SPDX-License-Identifier: Apache-2.0
"""Put a spec in the one order that does not depend on how it was found."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpubind_cdi.model import ContainerEdits, Device, Spec

UUID = re.compile(r"(?:GPU|MIG)-", re.IGNORECASE)
RUNS = re.compile(r"([0-9]+)|[^0-9]+")

Key = tuple[int, tuple[tuple[int, int, str], ...], str]


def run(spec: Spec) -> Spec:
    """Give `spec` sorted: devices as `device_key` says, nodes and mounts by depth, then path.

    Hooks and variables keep their order, for in them the order says something.
    """
    devices = tuple(
        replace(device, container_edits=ordered(device.container_edits))
        for device in sorted(spec.devices, key=_key)
    )
    return replace(spec, devices=devices, container_edits=ordered(spec.container_edits))


def ordered(edits: ContainerEdits) -> ContainerEdits:
    """Give edits with nodes and mounts sorted by depth and path: what holds others comes first."""
    return replace(
        edits,
        device_nodes=tuple(sorted(edits.device_nodes, key=lambda node: path_key(node.path))),
        mounts=tuple(sorted(edits.mounts, key=lambda mount: path_key(mount.container_path))),
    )


def path_key(path: str) -> tuple[int, str]:
    """Give what a path is sorted by."""
    return sum(1 for name in path.split("/") if name), path


def device_key(name: str) -> Key:
    """Give what a device's name is sorted by: 0, 1, 1:0, 2, 10, gpu0, then UUIDs, then `all`."""
    rank = 2 if name == "all" else 1 if UUID.match(name) else 0
    if rank:
        return rank, (), name
    pieces = tuple(_piece_key(found[0], found[1]) for found in RUNS.finditer(name))
    return rank, pieces, name


def _piece_key(piece: str, digits: str | None) -> tuple[int, int, str]:
    if digits is None:
        return 1, 0, piece
    value = digits.lstrip("0")  # compared by length, then letters: no limit on digits
    return 0, len(value), value


def _key(device: Device) -> Key:
    return device_key(device.name)
