# SPDX-License-Identifier: Apache-2.0
"""Drop from each device what all devices get anyway by the common edits."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpubind_cdi.model import ContainerEdits, Spec


def run(spec: Spec) -> Spec:
    """Give `spec` with devices that hold only what is theirs.

    A device of which nothing would remain keeps all it has: CDI wants edits in every device.
    """
    devices = tuple(
        replace(
            device,
            container_edits=without(device.container_edits, spec.container_edits)
            or device.container_edits,
        )
        for device in spec.devices
    )
    return replace(spec, devices=devices)


def without(edits: ContainerEdits, common: ContainerEdits) -> ContainerEdits:
    """Give `edits` less what `common` holds."""
    kept: dict[str, Any] = {}
    for part in fields(edits):
        value, shared = getattr(edits, part.name), getattr(common, part.name)
        if isinstance(value, tuple):
            kept[part.name] = tuple(item for item in value if item not in shared)
        else:
            kept[part.name] = None if value == shared else value
    return replace(edits, **kept)
