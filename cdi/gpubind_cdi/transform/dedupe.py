# SPDX-License-Identifier: Apache-2.0
"""Drop what stands twice in the same edits, keeping the first."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpubind_cdi.model import ContainerEdits, Spec


def run(spec: Spec) -> Spec:
    """Give `spec` with each of its edits free of repetitions."""
    devices = tuple(
        replace(device, container_edits=once(device.container_edits)) for device in spec.devices
    )
    return replace(spec, devices=devices, container_edits=once(spec.container_edits))


def once(edits: ContainerEdits) -> ContainerEdits:
    """Give edits free of repetitions, in the order of the first of each."""
    held: dict[str, Any] = {}
    for part in fields(edits):
        value = getattr(edits, part.name)
        if isinstance(value, tuple):
            held[part.name] = tuple(dict.fromkeys(value))
    return replace(edits, **held)
