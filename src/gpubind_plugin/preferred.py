# SPDX-License-Identifier: Apache-2.0
"""The answer to the kubelet's GetPreferredAllocation: which of the free devices to take. Pure.

Full GPUs that are not shared go by how close they are (`aligned`). Replicas and MIG devices go one
by one, each time the first in the order that the policy says:

    distributed    of what is used least
    packed         of what is used most, so that whole GPUs stay free
    spread         of what this container has least of

`strict` refuses what a policy can only nearly do: with `packed` more GPUs than a node where all is
free would need, with the others two replicas of one device in one container, of full GPUs a set
that is less close than on a node where all is free.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError
from gpubind_plugin import aligned, facts, links
from gpubind_plugin.device import REPLICA, bare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gpubind_plugin.config import Config
    from gpubind_plugin.device import Device
    from gpubind_plugin.facts import Facts

    Order = tuple[int, ...]

DISTRIBUTED, PACKED, SPREAD = "distributed", "packed", "spread"


def answer(
    config: Config,
    known: Facts,
    offered: Sequence[Device],
    available: Sequence[str],
    required: Sequence[str],
    size: int,
) -> list[str]:
    """Give the ids of the devices to take, `size` of `available` with all of `required`.

    `offered` are all devices of the resource, in order. Raises ToolkitError K8S-PREFERRED where
    there are not enough, or none that a strict policy allows.
    """
    nvml = known.platform == facts.NVML
    if nvml and not any(one.is_mig for one in offered) and not any(map(_shared, available)):
        score = links.score(offered, known.inventory.links)
        close = _aligned(offered, available, required, size, score)
        if config.aligned_allocation_strict:
            idle = _aligned(offered, [one.id for one in offered], required, size, score)
            _check_close(close, _total(close, score), _total(idle, score))
        return close
    policy = config.shared_devices_allocation_policy if nvml else DISTRIBUTED
    strict = config.shared_devices_allocation_strict
    return chosen(offered, available, required, size, policy=policy, strict=strict)


def _shared(identifier: str) -> bool:
    return REPLICA in identifier


def _aligned(
    offered: Sequence[Device],
    available: Sequence[str],
    required: Sequence[str],
    size: int,
    score: links.Score,
) -> list[str]:
    free = set(available)  # the id of a full GPU is its UUID
    return aligned.best([one.id for one in offered if one.id in free], required, size, score)


def _total(ids: Sequence[str], score: links.Score) -> int:
    return sum(score(*pair) for pair in itertools.combinations(ids, 2))


def _check_close(ids: Sequence[str], found: int, idle: int) -> None:
    if ids and found < idle:
        raise _refused(
            f"{len(ids)} GPUs would score {found} for their links, not {idle} as when all are "
            "free, which strict alignment refuses"
        )


def chosen(
    offered: Sequence[Device],
    available: Sequence[str],
    required: Sequence[str],
    size: int,
    *,
    policy: str = DISTRIBUTED,
    strict: bool = False,
) -> list[str]:
    """Give the ids to take by a policy; errors as for `answer`."""
    wanted, held = set(available), set(required)
    free = [one for one in offered if one.id in wanted and one.id not in held]
    needed = size - len(held)
    if len(free) < needed:
        raise _refused("not enough available devices to satisfy allocation")
    use = _Use(offered, free, held)
    order = use.orders()[_really(policy, strict=strict)]
    picks: list[Device] = []
    for _ in range(needed):
        pick = min(free, key=lambda one: order(one, needed - len(picks)))
        free.remove(pick)
        use.take(pick)
        picks.append(pick)
    taken = [*dict.fromkeys(required), *(pick.id for pick in picks)]
    if strict:
        _check(policy, offered, taken)
    return taken


def _really(policy: str, *, strict: bool) -> str:
    """Give what a strict policy goes by: what it refuses is then refused only where it must be."""
    if not strict:
        return policy
    return "fewest" if policy == PACKED else SPREAD


class _Use:
    """How many devices are used of each GPU and each of its parts, and how many by this container.

    A part is what replicas are of: the GPU itself or a MIG device.
    """

    def __init__(self, offered: Iterable[Device], free: Sequence[Device], held: set[str]) -> None:
        self.used: Counter[str] = Counter()
        self.free: Counter[str] = Counter()
        self.ours: Counter[str] = Counter()
        free_ids = {one.id for one in free}
        for one in offered:
            for unit in _units(one):
                self.used[unit] += one.id not in free_ids
                self.free[unit] += one.id in free_ids
                self.ours[unit] += one.id in held

    def take(self, device: Device) -> None:
        """Count a device as used by this container."""
        for unit in _units(device):
            self.used[unit] += 1
            self.free[unit] -= 1
            self.ours[unit] += 1

    def orders(self) -> dict[str, Callable[[Device, int], Order]]:
        """Give what each policy sorts a device by, and how many are still to be taken."""
        used, free, ours = self.used, self.free, self.ours

        def distributed(device: Device, _: int) -> Order:
            part, gpu = bare(device.id), device.gpu_uuid
            return used[part], ours[part], used[gpu], ours[gpu]

        def packed(device: Device, _: int) -> Order:
            part, gpu = bare(device.id), device.gpu_uuid
            return -used[gpu], -used[part], ours[part]

        def spread(device: Device, _: int) -> Order:
            part, gpu = bare(device.id), device.gpu_uuid
            return ours[part], ours[gpu], used[part], used[gpu]

        def fewest(device: Device, needed: int) -> Order:
            gpu = device.gpu_uuid
            if ours[gpu]:
                return 0, 0
            return (1, free[gpu]) if free[gpu] >= needed else (2, -free[gpu])

        return {DISTRIBUTED: distributed, PACKED: packed, SPREAD: spread, "fewest": fewest}


def _units(device: Device) -> set[str]:
    return {bare(device.id), device.gpu_uuid}


def _check(policy: str, offered: Sequence[Device], taken: Sequence[str]) -> None:
    """Raise where a strict policy does not allow these."""
    known = {one.id: one for one in offered}
    if policy == PACKED:
        gpus = {known[one].gpu_uuid for one in taken if one in known}
        idle = _needed(offered, len(taken))
        if len(gpus) > idle:
            raise _refused(
                f"{len(taken)} devices would be of {len(gpus)} GPUs, not of {idle}, "
                "which the strict policy packed refuses"
            )
    elif len({bare(one) for one in taken}) < len(taken):
        raise _refused(
            f"two of {len(taken)} devices would be the same GPU, "
            f"which the strict policy {policy} refuses"
        )


def _needed(offered: Sequence[Device], count: int) -> int:
    """Give how few GPUs can give so many devices where all are free."""
    totals = sorted(Counter(one.gpu_uuid for one in offered).values(), reverse=True)
    gpus = 0
    while count > 0 and gpus < len(totals):
        count -= totals[gpus]
        gpus += 1
    return gpus


def _refused(message: str) -> ToolkitError:
    return ToolkitError(
        message,
        identifier="K8S-PREFERRED",
        hint="ask for fewer, or wait until devices are free",
    )
