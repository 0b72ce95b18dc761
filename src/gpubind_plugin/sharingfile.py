# SPDX-License-Identifier: Apache-2.0
"""The part `sharing` of the configuration file: which devices are offered how many times.

    sharing:
      timeSlicing:                   # or mps, which wins
        renameByDefault: false       # else the replicas are called NAME.shared
        failRequestsGreaterThanOne: false
        resources:
          - {name: nvidia.com/gpu, devices: [0, GPU-1b2c], replicas: 2, rename: gpu.half}
          - {name: nvidia.com/gpu, devices: 3, replicas: 4}
          - {name: nvidia.com/gpu, devices: all, replicas: 8}

Lists take their devices first, then counts, then `all`; devices that no entry takes are offered
once. In the field `devices` and `rename` are read and have no effect.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpubind_cdi import fields

from gpubind.errors import DocumentError
from gpubind_plugin import patterns, resources
from gpubind_plugin.config import Shared, Shares, Sharing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.fields import Reader

    from gpubind_plugin.config import Resources

SUFFIX = ".shared"
MOST = 1 << 12  # replicas of a device; a list of more does not fit a message of the kubelet's
_UUID = r"(?:GPU|MIG)-[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
DEVICE = re.compile(rf"[0-9]{{1,6}}(?::[0-9]{{1,6}})?|{_UUID}|MIG-{_UUID}/[0-9]+/[0-9]+", re.ASCII)


def reader(named: Resources) -> Reader[Sharing]:
    """Give a reader of the part `sharing`; `named` is what the file calls the resources."""

    def read(value: Any) -> Sharing:
        found = Sharing(**fields.members(value, _WAYS))
        for way, shares in (("timeSlicing", found.time_slicing), ("mps", found.mps)):
            try:
                _refuse_conflicts(shares.resources, named)
            except DocumentError as error:
                raise error.under(way) from None
        return found

    return read


def _refuse_conflicts(entries: Sequence[Shared], named: Resources) -> None:
    """Refuse entries that want the same devices, and a name that other devices have."""
    taken: set[tuple[str, str]] = set()
    others = {one.name for one in (*named.gpus, *named.mig)} or {resources.GPU}
    for position, entry in enumerate(entries):
        place = f"resources[{position}]"
        for device in entry.devices or ("a count" if entry.count else "all",):
            what = (entry.name, device.lower())
            if what in taken:
                raise DocumentError(f"{device} of {entry.name} is shared twice", path=place)
            taken.add(what)
        if entry.offered != entry.name and entry.offered in others:
            message = f"{entry.offered} is the name of other devices already"
            raise DocumentError(message, path=f"{place}.rename")


def _shares(*, fail: bool) -> Reader[Shares]:
    """Give a reader of one way of sharing, which fails large requests by default or does not."""

    def read(value: Any) -> Shares:
        facts = {"fail_requests_greater_than_one": fail, **fields.members(value, _SHARES)}
        if not facts.get("resources"):
            raise DocumentError("no resources specified")
        shares = Shares(**facts)
        if not shares.rename_by_default:
            return shares
        renamed = (_renamed(position, one) for position, one in enumerate(shares.resources))
        return replace(shares, resources=tuple(renamed))

    return read


def _renamed(position: int, entry: Shared) -> Shared:
    if entry.rename:
        return entry
    place = f"resources[{position}]"
    return replace(entry, rename=fields.under(place, patterns.name, entry.name + SUFFIX))


def _entry(value: Any) -> Shared:
    facts = fields.members(value, _ENTRY)
    if not facts.get("name"):
        raise DocumentError("no resource name specified")
    if "replicas" not in facts:
        raise DocumentError("no replicas specified")
    chosen = facts.pop("chosen", {})
    return Shared(**facts, **chosen)


def _replicas(value: Any) -> int:
    count = fields.number(-fields.INT64_MAX, fields.INT64_MAX)(value)
    if count < 2:
        raise DocumentError("number of replicas must be >= 2")
    if count > MOST:
        raise DocumentError(f"number of replicas must be <= {MOST}")
    return count


def _devices(value: Any) -> dict[str, Any]:
    """Read `all`, a count, or a list of indices and UUIDs."""
    if isinstance(value, list):
        if not value:
            raise DocumentError("unsupported type for devices: the list is empty")
        return {"devices": fields.listed(_device)(value)}
    if isinstance(value, str) and value == "all":
        return {}
    if isinstance(value, str) and not isinstance(value, fields.Plain):
        raise DocumentError(f"expected all, a count or a list, found {fields.found(value)}")
    count = fields.number(-fields.INT64_MAX, fields.INT64_MAX)(value)
    if count <= 0:
        raise DocumentError("a count of devices must be > 0")
    return {"count": count}


def _device(value: Any) -> str:
    said = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(said, str) or not DEVICE.fullmatch(said):
        raise DocumentError(f"unsupported type for device in devices list: {fields.found(value)}")
    return str(said)


_ENTRY: dict[str, tuple[str, Reader[Any]]] = {
    "name": ("name", patterns.name),
    "rename": ("rename", patterns.name),
    "devices": ("chosen", _devices),
    "replicas": ("replicas", _replicas),
}
_SHARES: dict[str, tuple[str, Reader[Any]]] = {
    "renameByDefault": ("rename_by_default", fields.truth),
    "failRequestsGreaterThanOne": ("fail_requests_greater_than_one", fields.truth),
    "resources": ("resources", fields.listed(_entry)),
}
_WAYS: dict[str, tuple[str, Reader[Any]]] = {
    "timeSlicing": ("time_slicing", _shares(fail=False)),
    "mps": ("mps", _shares(fail=True)),
}
