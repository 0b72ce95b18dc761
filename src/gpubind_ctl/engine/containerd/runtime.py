# SPDX-License-Identifier: Apache-2.0
"""What our runtime's table holds: the default runtime's options, and our program in place of its.

Pods that use our runtime must differ from others by the GPU alone, so SystemdCgroup, base spec, CNI
folders and what else the operator has set for the default runtime are inherited.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TYPE = "io.containerd.runc.v2"
INHERITABLE = ("", "io.containerd.runc.v1", TYPE, "${RUNTIME_TYPE}")
"""Types whose options a runtime started by runc's shim understands; the last is MicroK8s's."""
STOCK = ("runc", "crun")
ANNOTATIONS = "container_annotations"


def table(
    cri: Mapping[str, Any], wants: engine.Wants, annotations: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Give the table for our runtime, from the CRI plugin's merged table without ours."""
    inherited = copy.deepcopy(base(cri))
    values = {key: value for key, value in inherited.items() if key not in ("options", ANNOTATIONS)}
    values["runtime_type"] = values.get("runtime_type") or TYPE
    options = inherited.get("options")
    listed = [one for one in inherited.get(ANNOTATIONS, []) if isinstance(one, str)]
    passed = [*listed, *(one for one in annotations if one not in listed)]
    if passed:
        values[ANNOTATIONS] = passed
    kept = options if isinstance(options, dict) else {}
    return {**values, "options": {**kept, "BinaryName": wants.path}}


def base(cri: Mapping[str, Any]) -> dict[str, Any]:
    """Give the table to inherit from: the default runtime's, else runc's, else crun's, else none.

    One that is no usual runtime, such as a virtual machine's, or that injects GPUs itself, is
    passed over.
    """
    for candidate in _candidates(cri):
        options = candidate.get("options")
        program = options.get("BinaryName", "") if isinstance(options, dict) else ""
        if candidate.get("runtime_type", "") not in INHERITABLE:
            continue
        if not isinstance(program, str) or program.rpartition("/")[2] in engine.PROGRAMS:
            continue
        return candidate
    return {}


def _candidates(cri: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    nested = section(cri).get("default_runtime")
    if isinstance(nested, dict) and nested.get("runtime_type"):
        yield nested
    known = runtimes(cri)
    for one in (default(cri), *STOCK):
        if isinstance(known.get(one), dict):
            yield known[one]


def section(cri: Mapping[str, Any]) -> dict[str, Any]:
    """Give the `containerd` table of the CRI plugin's."""
    found = cri.get("containerd")
    return found if isinstance(found, dict) else {}


def runtimes(cri: Mapping[str, Any]) -> dict[str, Any]:
    """Give the runtimes by name."""
    found = section(cri).get("runtimes")
    return found if isinstance(found, dict) else {}


def default(cri: Mapping[str, Any]) -> str:
    """Give the default runtime's name, which is runc where nothing says otherwise."""
    found = section(cri).get("default_runtime_name")
    return found if isinstance(found, str) and found else "runc"
