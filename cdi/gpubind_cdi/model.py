# SPDX-License-Identifier: Apache-2.0
"""CDI's documents as values, complete up to version 1.1.0.

    Spec(cdi_version, kind, annotations, devices, container_edits)
     +-- Device(name, annotations, container_edits)
          +-- ContainerEdits(env, device_nodes, net_devices, hooks, mounts, intel_rdt,
                             additional_gids)

Attributes are CDI's field names in Python's spelling (`hostPath` is `host_path`). An absent text is
"", an absent list (), an absent major or minor 0; fileMode, uid, gid, timeout and intelRdt, where
zero or empty says something, are None. `parse` takes a loaded document and gives the value, or a
DocumentError that knows its place; it checks structure and types, `gpubind_cdi.validate` checks the
rules. `document` gives the object to write, in CDI's field order, absent fields left out.

Source: https://github.com/cncf-tags/container-device-interface/blob/v1.1.0/SPEC.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from gpubind_cdi.fields import (
    Reader,
    int64,
    listed,
    members,
    text,
    text_map,
    truth,
    uint32,
)

Readers = Mapping[str, tuple[str, Reader[Any]]]


class Part:
    """What all parts of a spec share: reading and writing by a table of fields."""

    __slots__ = ()
    FIELDS: ClassVar[Readers]

    @classmethod
    def parse(cls, document: Any) -> Self:
        """Give the value of a loaded document, or raise a DocumentError with the place."""
        return cls(**members(document, cls.FIELDS))

    def document(self) -> dict[str, Any]:
        """Give the object to write: CDI's field order, absent fields left out."""
        absent = _absent(type(self))
        facts = {}
        for name, (attribute, _) in self.FIELDS.items():
            value = getattr(self, attribute)
            if value != absent[attribute]:
                facts[name] = _written(value)
        return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode(Part):
    """A device node in the container. `file_mode` are its permission bits."""

    path: str = ""
    host_path: str = ""
    type: str = ""
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None

    FIELDS: ClassVar[Readers] = {
        "path": ("path", text),
        "hostPath": ("host_path", text),
        "type": ("type", text),
        "major": ("major", uint32),
        "minor": ("minor", uint32),
        "fileMode": ("file_mode", uint32),
        "permissions": ("permissions", text),
        "uid": ("uid", uint32),
        "gid": ("gid", uint32),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class NetDevice(Part):
    """A network interface moved into the container under `name`."""

    host_interface_name: str = ""
    name: str = ""

    FIELDS: ClassVar[Readers] = {
        "hostInterfaceName": ("host_interface_name", text),
        "name": ("name", text),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook(Part):
    """A program that the runtime starts at `hook_name`. `timeout` is in seconds."""

    hook_name: str = ""
    path: str = ""
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None

    FIELDS: ClassVar[Readers] = {
        "hookName": ("hook_name", text),
        "path": ("path", text),
        "args": ("args", listed(text)),
        "env": ("env", listed(text)),
        "timeout": ("timeout", int64),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount(Part):
    """A host path bound into the container."""

    host_path: str = ""
    container_path: str = ""
    options: tuple[str, ...] = ()
    type: str = ""

    FIELDS: ClassVar[Readers] = {
        "hostPath": ("host_path", text),
        "containerPath": ("container_path", text),
        "options": ("options", listed(text)),
        "type": ("type", text),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class IntelRdt(Part):
    """Intel's Resource Director settings."""

    clos_id: str = ""
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    schemata: tuple[str, ...] = ()
    enable_monitoring: bool = False

    FIELDS: ClassVar[Readers] = {
        "closID": ("clos_id", text),
        "l3CacheSchema": ("l3_cache_schema", text),
        "memBwSchema": ("mem_bw_schema", text),
        "schemata": ("schemata", listed(text)),
        "enableMonitoring": ("enable_monitoring", truth),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEdits(Part):
    """What a container's OCI spec gets."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    net_devices: tuple[NetDevice, ...] = ()
    hooks: tuple[Hook, ...] = ()
    mounts: tuple[Mount, ...] = ()
    intel_rdt: IntelRdt | None = None
    additional_gids: tuple[int, ...] = ()

    FIELDS: ClassVar[Readers] = {
        "env": ("env", listed(text)),
        "deviceNodes": ("device_nodes", listed(DeviceNode.parse)),
        "netDevices": ("net_devices", listed(NetDevice.parse)),
        "hooks": ("hooks", listed(Hook.parse)),
        "mounts": ("mounts", listed(Mount.parse)),
        "intelRdt": ("intel_rdt", IntelRdt.parse),
        "additionalGids": ("additional_gids", listed(uint32)),
    }

    def __bool__(self) -> bool:
        return self != NO_EDITS


NO_EDITS = ContainerEdits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Device(Part):
    """A device that can be asked for by name."""

    name: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    container_edits: ContainerEdits = NO_EDITS

    FIELDS: ClassVar[Readers] = {
        "name": ("name", text),
        "annotations": ("annotations", text_map),
        "containerEdits": ("container_edits", ContainerEdits.parse),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(Part):
    """One CDI file: devices of one kind, and the edits they share."""

    cdi_version: str = ""
    kind: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    devices: tuple[Device, ...] = ()
    container_edits: ContainerEdits = NO_EDITS

    FIELDS: ClassVar[Readers] = {
        "cdiVersion": ("cdi_version", text),
        "kind": ("kind", text),
        "annotations": ("annotations", text_map),
        "devices": ("devices", listed(Device.parse)),
        "containerEdits": ("container_edits", ContainerEdits.parse),
    }

    @property
    def vendor(self) -> str:
        """The part of the kind before its first slash."""
        return self.kind.partition("/")[0]

    @property
    def device_class(self) -> str:
        """The part of the kind after its first slash."""
        return self.kind.partition("/")[2]


def _absent(part: type[Part]) -> dict[str, Any]:
    known = _ABSENT.get(part)
    if known is None:
        empty = part()
        known = _ABSENT[part] = {name: getattr(empty, name) for name, _ in part.FIELDS.values()}
    return known


_ABSENT: dict[type[Part], dict[str, Any]] = {}


def _written(value: Any) -> Any:
    if isinstance(value, Part):
        return value.document()
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value
