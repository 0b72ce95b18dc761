# SPDX-License-Identifier: Apache-2.0
"""The MIG devices of a GPU, as its driver told of them, without those that make no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubind.errors import DocumentError
from gpubind_cdi import fields, gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_NUMBER = fields.number(0, (1 << 20) - 1)


def sifted(
    value: Any, read: Callable[[Any], gpu.Mig], taken: set[str], faults: list[gpu.Fault]
) -> Any:
    """Give a GPU of an inventory with the MIG devices that `read` takes; others become faults.

    `taken` are the UUIDs of MIG devices before, to which its own are added. Raises DocumentError
    where GPU or MIG device has no number either.
    """
    mig = value.get("mig") if isinstance(value, dict) else None
    instances = mig.get("instances") if isinstance(mig, dict) else None
    if not isinstance(mig, dict) or not isinstance(instances, list):
        return value
    good: dict[int, Any] = {}
    for position, instance in enumerate(instances):
        try:
            one = _sound(instance, read, taken, good)
        except DocumentError as error:
            place = instance.get("index") if isinstance(instance, dict) else position
            index, number = _NUMBER(value.get("index")), _NUMBER(place)
            faults.append(gpu.Fault(index=index, message=reason(error), mig=number))
        else:
            taken.add(one.uuid)
            good[one.index] = instance
    return {**value, "mig": {**mig, "instances": [*good.values()]}}


def reason(error: DocumentError) -> str:
    """Give what is wrong and where, as a fault tells it."""
    return f"{error.message} ({error.path})" if error.path else error.message


def _sound(
    value: Any,
    read: Callable[[Any], gpu.Mig],
    uuids: Collection[str],
    indices: Collection[int],
) -> gpu.Mig:
    """Read a MIG device that shares neither. Raises DocumentError, also for what NVML failed at."""
    if isinstance(value, dict) and "fault" in value:
        raise DocumentError(fields.text(value["fault"]))
    one = read(value)
    for known, others in ((one.uuid, uuids), (one.index, indices)):
        if known in others:
            raise DocumentError(f"{known} is used twice")
    return one
