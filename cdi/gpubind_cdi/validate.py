# SPDX-License-Identifier: Apache-2.0
"""The rules a CDI spec must keep beyond its structure, and what is allowed but unwise.

Rules R4 to R17 are those CDI's own library enforces, so that a spec that passes here is taken by
every engine; `warnings` are ours. A problem is a DocumentError whose place and value say where and
what. Source: https://github.com/cncf-tags/container-device-interface/blob/v1.1.0/SPEC.md
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpubind.errors import DocumentError
from gpubind_cdi import annotations as annotation_rules
from gpubind_cdi import names, version
from gpubind_cdi.edit_rules import edit_problems, edit_refusals, edit_warnings
from gpubind_cdi.fields import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpubind_cdi.model import ContainerEdits, Device, Spec


RULES = {
    "cdiVersion": "version",
    "kind": "kind",
    "devices": "devices",
    "containerEdits": "edits",
    "env": "env",
    "deviceNodes": "device-nodes",
    "mounts": "mounts",
    "hooks": "hooks",
    "netDevices": "net-devices",
    "intelRdt": "rdt",
    "additionalGids": "gids",
}
"""The rules by the field they are about; docs/cdi.md says what each demands."""


def rule(path: str) -> str:
    """Give the name of the rule that a problem's place in a spec belongs to."""
    steps = re.findall(r"\w+", path)
    if "annotations" in steps[:3]:
        return "annotations"
    if len(steps) == 3 and steps[2] == "name":
        return "device-name"
    return next((RULES[step] for step in reversed(steps) if step in RULES), "structure")


def check(spec: Spec, *, writing: bool = False) -> None:
    """Raise the first problem of `spec`, if it has one.

    With `writing` also what we read from others but never write, such as a newline in a variable.
    """
    for problem in problems(spec):
        raise problem
    if writing:
        for problem in refusals(spec):
            raise problem


def problems(spec: Spec) -> list[DocumentError]:
    """Give all broken rules, in the order of the document."""
    return [
        *_version_problems(spec),
        *_under("kind", _faults(names.kind_fault(spec.kind))),
        *_under("annotations", annotation_rules.problems(spec.annotations)),
        *_devices_problems(spec),
        *_under("containerEdits", edit_problems(spec.container_edits)),
    ]


def warnings(spec: Spec) -> list[DocumentError]:
    """Give what engines take but should not be relied on, in the order of the document."""
    return _in_all_edits(spec, edit_warnings)


def refusals(spec: Spec) -> list[DocumentError]:
    """Give what engines take but we never write."""
    return _in_all_edits(spec, edit_refusals)


def _in_all_edits(
    spec: Spec, rules: Callable[[ContainerEdits], Iterator[DocumentError]]
) -> list[DocumentError]:
    found = []
    for index, device in enumerate(spec.devices):
        found += _under(f"devices[{index}].containerEdits", rules(device.container_edits))
    return [*found, *_under("containerEdits", rules(spec.container_edits))]


def _under(step: str, found: Iterator[DocumentError]) -> list[DocumentError]:
    return [problem.under(step) for problem in found]


def _faults(*faults: str) -> Iterator[DocumentError]:
    return (DocumentError(fault) for fault in faults if fault)


def _version_problems(spec: Spec) -> Iterator[DocumentError]:
    known = version.bare(spec.cdi_version)
    if not known:
        yield DocumentError("missing version", path="cdiVersion")
    elif known not in version.KNOWN:
        message = f"unknown version {quoted(known)}, known are {', '.join(version.KNOWN)}"
        yield DocumentError(message, path="cdiVersion")
    elif version.order(known) < version.order(version.required(spec)):
        needed, what = version.reasons(spec)[0]
        message = f"version {known} is too low, at least {needed} is needed for {what}"
        yield DocumentError(message, path="cdiVersion")


def _devices_problems(spec: Spec) -> Iterator[DocumentError]:
    if not spec.devices:
        yield DocumentError("at least one device is needed", path="devices")
    seen: dict[str, int] = {}
    for index, device in enumerate(spec.devices):
        step = f"devices[{index}]"
        first = seen.setdefault(device.name, index)
        if first != index:
            twice = f"device name {quoted(device.name)} is taken by devices[{first}]"
            yield DocumentError(twice, path=f"{step}.name")
        yield from _under(step, _device_problems(device))


def _device_problems(device: Device) -> Iterator[DocumentError]:
    yield from _under("name", _faults(names.device_fault(device.name)))
    yield from _under("annotations", annotation_rules.problems(device.annotations))
    if not device.container_edits:
        message = f"device {quoted(device.name)} has no edits"
        yield DocumentError(message, path="containerEdits")
    yield from _under("containerEdits", edit_problems(device.container_edits))
