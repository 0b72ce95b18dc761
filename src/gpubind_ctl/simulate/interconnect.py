# SPDX-License-Identifier: Apache-2.0
"""What joins a simulated node's GPUs to each other, to storage and to other machines."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from gpubind_ctl.simulate.entries import Entry, File, Folder, Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpubind_ctl.simulate.profile import Profile

# No driver on any host has these numbers, see `kernel`.
NVSWITCH_MAJOR, STORAGE_MAJOR, UVERBS_MAJOR = 313, 314, 315
RDMA_CM_MAJOR, GDRCOPY_MAJOR, IMEX_MAJOR = 316, 317, 318

_OPEN, _SWITCH_CONTROL, _FIRST_UVERBS = 0o666, 255, 192


def majors(profile: Profile) -> list[tuple[int, str]]:
    """Give the rows of /proc/devices."""
    rows = (
        (profile.switches, NVSWITCH_MAJOR, "nvidia-nvswitch"),
        (profile.storage_nodes, STORAGE_MAJOR, "nvidia-fs"),
        (profile.adapters, UVERBS_MAJOR, "infiniband_verbs"),
        (profile.gdrcopy, GDRCOPY_MAJOR, "gdrdrv"),
        (profile.imex_channels, IMEX_MAJOR, "nvidia-caps-imex-channels"),
    )
    return [(major, name) for count, major, name in rows if count]


def plan(profile: Profile) -> Iterator[Entry]:
    """Give the nodes, and the files that go with them."""
    if profile.switches:
        yield _node("/dev/nvidia-nvswitchctl", NVSWITCH_MAJOR, _SWITCH_CONTROL)
    for number in range(profile.switches):
        yield _node(f"/dev/nvidia-nvswitch{number}", NVSWITCH_MAJOR, number)
    if profile.storage_nodes:
        yield Folder(path="/run/udev/data")
        yield File(path="/etc/cufile.json", data=b'{"execution": {"parallel_io": true}}\n')
    for number in range(profile.storage_nodes):
        yield _node(f"/dev/nvidia-fs{number}", STORAGE_MAJOR, number)
    for number in range(profile.adapters):
        yield _node(f"/dev/infiniband/uverbs{number}", UVERBS_MAJOR, _FIRST_UVERBS + number)
    if profile.adapters:
        yield _node("/dev/infiniband/rdma_cm", RDMA_CM_MAJOR, 0)
    if profile.gdrcopy:
        yield _node("/dev/gdrdrv", GDRCOPY_MAJOR, 0)
    for number in range(profile.imex_channels):
        yield _node(f"/dev/nvidia-caps-imex-channels/channel{number}", IMEX_MAJOR, number)


def links(profile: Profile) -> list[dict[str, Any]]:
    """Give how the GPUs reach each other, as the inventory has it; nothing where nobody knows."""
    if not profile.topology:
        return []
    return [
        {"gpus": [one.uuid, other.uuid], **_way(profile.topology, {one.uuid, other.uuid})}
        for one, other in itertools.combinations(profile.gpus, 2)
    ]


def _way(topology: Mapping[str, list[set[str]]], pair: set[str]) -> dict[str, Any]:
    words = [word for word, groups in topology.items() if any(pair <= one for one in groups)]
    paths = [word for word in words if not word.startswith("NV")]
    joined = sum(int(word[2:]) for word in words if word.startswith("NV"))
    return {"path": paths[0] if paths else "SYS", "nvlinks": joined}


def _node(path: str, major: int, minor: int) -> Node:
    return Node(path=path, major=major, minor=minor, mode=_OPEN)
