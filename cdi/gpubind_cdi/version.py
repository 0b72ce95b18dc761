# SPDX-License-Identifier: Apache-2.0
"""CDI's versions and what each brought: the lowest version a spec's content needs.

Engines refuse a spec whose cdiVersion they do not know, and validators refuse one that is too low
for what it holds. Source: "Released versions" in
https://github.com/cncf-tags/container-device-interface/blob/v1.1.0/SPEC.md
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpubind_cdi.model import ContainerEdits, Spec

KNOWN = (
    "0.1.0",
    "0.2.0",
    "0.3.0",
    "0.4.0",
    "0.5.0",
    "0.6.0",
    "0.7.0",
    "0.8.0",
    "1.0.0",
    "1.1.0",
)
EARLIEST = "0.3.0"


def required(spec: Spec) -> str:
    """Give the lowest version that knows all that `spec` uses."""
    return reasons(spec)[0][0]


def reasons(spec: Spec) -> tuple[tuple[str, str], ...]:
    """Give (version, what needs it) for each thing in `spec`, newest first, CDI itself last."""
    needs = tuple((version, what) for version, what, used in NEEDS if used(spec))
    return (*needs, (EARLIEST, "every spec"))


def lifted(spec: Spec) -> Spec:
    """Give `spec` with its version raised to what its content needs, never lowered."""
    needed = required(spec)
    if bare(spec.cdi_version) in KNOWN and order(spec.cdi_version) >= order(needed):
        return spec
    return replace(spec, cdi_version=needed)


def order(version: str) -> int:
    """Give a version as something to compare. Raises ValueError unless it is one of KNOWN."""
    return KNOWN.index(bare(version))


def bare(version: str) -> str:
    """Give a version without the leading v that is tolerated."""
    return version.removeprefix("v")


def _edits(spec: Spec) -> Iterator[ContainerEdits]:
    yield spec.container_edits
    yield from (device.container_edits for device in spec.devices)


def _any_edits(used: Callable[[ContainerEdits], bool]) -> Callable[[Spec], bool]:
    return lambda spec: any(used(edits) for edits in _edits(spec))


def _net_devices(edits: ContainerEdits) -> bool:
    return edits.net_devices != ()


def _newer_rdt(edits: ContainerEdits) -> bool:
    rdt = edits.intel_rdt
    return rdt is not None and (rdt.schemata != () or rdt.enable_monitoring)


def _rdt(edits: ContainerEdits) -> bool:
    return edits.intel_rdt is not None


def _gids(edits: ContainerEdits) -> bool:
    return edits.additional_gids != ()


def _annotations(spec: Spec) -> bool:
    return bool(spec.annotations) or any(device.annotations for device in spec.devices)


def _dotted_class(spec: Spec) -> bool:
    return "." in spec.device_class


def _host_path(edits: ContainerEdits) -> bool:
    return any(node.host_path for node in edits.device_nodes)


def _digit_name(spec: Spec) -> bool:
    return any(device.name[:1].isdigit() for device in spec.devices)


def _mount_type(edits: ContainerEdits) -> bool:
    return any(mount.type for mount in edits.mounts)


# Newest first: the first row that applies says the version. 0.8.0 and 1.0.0 brought no content.
NEEDS: tuple[tuple[str, str, Callable[[Spec], bool]], ...] = (
    ("1.1.0", "netDevices", _any_edits(_net_devices)),
    ("1.1.0", "intelRdt.schemata or intelRdt.enableMonitoring", _any_edits(_newer_rdt)),
    ("0.7.0", "intelRdt", _any_edits(_rdt)),
    ("0.7.0", "additionalGids", _any_edits(_gids)),
    ("0.6.0", "annotations", _annotations),
    ("0.6.0", "a dot in the class", _dotted_class),
    ("0.5.0", "deviceNodes.hostPath", _any_edits(_host_path)),
    ("0.5.0", "a device name that starts with a digit", _digit_name),
    ("0.4.0", "mounts.type", _any_edits(_mount_type)),
)
