# SPDX-License-Identifier: Apache-2.0
"""What the labels need of the device plugin's config file: how devices are shared, and flags.

Only that much is read here, so that a plugin's file with whatever else in it serves both; the
plugin itself refuses what it does not know. Sections and keys are those of the field, version v1.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpubind_cdi import document, fields

from gpubind.errors import DocumentError
from gpubind_ctl import inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VERSION = "v1"
PREFIX = "nvidia.com/"
TIME_SLICING, MPS, NONE = "time-slicing", "mps", "none"
SECTIONS = {"timeSlicing": TIME_SLICING, "mps": MPS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """That each device of a resource is offered several times, under its own name or another."""

    replicas: int
    renamed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How devices are shared: `time-slicing`, `mps` or `none`, and which resources."""

    strategy: str = NONE
    resources: Mapping[str, Shared] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a file says: sharing, and the options it sets, by the names of the command's."""

    sharing: Sharing = Sharing()
    options: Mapping[str, Any] = field(default_factory=dict)


def load(name: str) -> Config:
    """Read a file, YAML or JSON; no name is no file. Raises OSError, DocumentError with the place.

    An empty file says nothing; a node without a configuration has a link to /dev/null.
    """
    if not name or os.path.realpath(name) == os.devnull:
        return Config()
    return load_bytes(inputs.read(name), name)


def load_bytes(data: bytes, name: str) -> Config:
    """Read a file's bytes; errors as for `load`."""
    if not data.strip():
        return Config()
    try:
        return parse(document.load(data, name))
    except DocumentError as error:
        raise error.of(name) from None


def parse(value: object) -> Config:
    """Read a loaded config file. Raises DocumentError with the place of what is wrong."""
    top = fields.mapping(value)
    version = _at(top, "version", fields.text) or VERSION
    if version != VERSION:
        raise DocumentError(f"unknown version: {fields.quoted(version)}", path="version")
    return Config(
        sharing=_at(top, "sharing", _sharing) or Sharing(),
        options=_at(top, "flags", _flags) or {},
    )


def _at(table: Mapping[str, Any], name: str, read: Callable[[Any], Any]) -> Any:
    """Read a key; None where it is not there or says nothing."""
    value = table.get(name)
    return None if value is None else fields.under(name, read, value)


def _flags(value: Any) -> dict[str, Any]:
    table = fields.mapping(value)
    found = {option: _at(table, name, read) for name, (option, read) in _FLAGS.items()}
    found["driver_root"] = _at(table, "plugin", _driver_root)
    found |= _at(table, "gfd", _gfd) or {}
    return {option: said for option, said in found.items() if said is not None}


def _driver_root(value: Any) -> str | None:
    root: str | None = _at(fields.mapping(value), "containerDriverRoot", fields.text)
    return root


def _gfd(value: Any) -> dict[str, Any]:
    table = fields.mapping(value)
    return {option: _at(table, name, read) for name, (option, read) in _GFD.items()}


def _sharing(value: Any) -> Sharing:
    """Read how devices are shared: MPS wins where both are there."""
    table = fields.mapping(value)
    known = {way: _at(table, name, _shares) for name, way in SECTIONS.items()}
    way = next((one for one in (MPS, TIME_SLICING) if known[one]), NONE)
    return Sharing(strategy=way, resources=known.get(way) or {})


def _shares(value: Any) -> dict[str, Shared]:
    table = fields.mapping(value)
    renamed = bool(_at(table, "renameByDefault", fields.truth))
    entries = _at(table, "resources", fields.listed(fields.mapping))
    if not entries:
        raise DocumentError("no resources specified")
    found: dict[str, Shared] = {}
    for index, entry in enumerate(entries):
        name, shared = fields.under(f"resources[{index}]", _entry, entry)
        replaced = Shared(replicas=shared.replicas, renamed=renamed or shared.renamed)
        found.setdefault(name, replaced)
    return found


def _entry(value: Mapping[str, Any]) -> tuple[str, Shared]:
    name = _at(value, "name", fields.text)
    replicas = _at(value, "replicas", fields.number(0, fields.UINT32_MAX))
    if not name:
        raise DocumentError("no resource name specified")
    if replicas is None:
        raise DocumentError("no replicas specified")
    if replicas < 2:
        raise DocumentError("number of replicas must be >= 2", path="replicas")
    full = name if name.startswith(PREFIX) else f"{PREFIX}{name}"
    return full, Shared(replicas=replicas, renamed=bool(_at(value, "rename", fields.text)))


_FLAGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "migStrategy": ("mig_strategy", fields.text),
    "failOnInitError": ("fail_on_init_error", fields.truth),
    "useNodeFeatureAPI": ("use_node_feature_api", fields.truth),
    "deviceDiscoveryStrategy": ("device_discovery_strategy", fields.text),
}
_GFD: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "oneshot": ("oneshot", fields.truth),
    "noTimestamp": ("no_timestamp", fields.truth),
    "sleepInterval": ("sleep_interval", fields.text),
    "outputFile": ("output_file", fields.text),
    "machineTypeFile": ("machine_type_file", fields.text),
}
