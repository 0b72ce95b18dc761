# SPDX-License-Identifier: Apache-2.0
"""One device as the kubelet is told of it: a GPU, a MIG device, or one replica of either."""

from __future__ import annotations

from dataclasses import dataclass

REPLICA = "::"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One entry of a resource.

    `id` is what the kubelet knows it by: `uuid`, and `::` with `replica` where it is shared.
    `index` is `0`, or `0:1` for a MIG device, whose `parent_uuid` is its GPU's; `gi` and `ci` are
    -1 for a full GPU. `numa` is -1 where the node is unknown. `paths` are its own device nodes, as
    seen below the dev root. `memory_bytes` is 0 and `compute` (`9.0`) empty where unknown.
    `replicas` is how many of it are offered, 0 where it is not shared.
    """

    id: str
    index: str
    uuid: str
    parent_uuid: str = ""
    minor: int = 0
    gi: int = -1
    ci: int = -1
    pci: str = ""
    numa: int = -1
    paths: tuple[str, ...] = ()
    memory_bytes: int = 0
    compute: str = ""
    name: str = ""
    profile: str = ""
    replicas: int = 0
    replica: int = 0

    @property
    def gpu_uuid(self) -> str:
        """The UUID of the physical GPU it is (on)."""
        return self.parent_uuid or self.uuid

    @property
    def is_mig(self) -> bool:
        """Whether it is a MIG device."""
        return ":" in self.index


def bare(identifier: str) -> str:
    """Give a device id without its replica: `GPU-1::3` is `GPU-1`."""
    return identifier.partition(REPLICA)[0]
