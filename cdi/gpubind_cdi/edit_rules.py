# SPDX-License-Identifier: Apache-2.0
"""The rules for container edits: R11 to R17, and what is allowed but unwise.

Rules are rows of (field, list of parts, function from one part to its faults).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubind.errors import DocumentError
from gpubind_cdi.fields import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gpubind_cdi.model import (
        ContainerEdits,
        DeviceNode,
        Hook,
        IntelRdt,
        Mount,
        NetDevice,
    )

    Faults = Iterator[tuple[str, str]]  # the field inside the part, what is wrong

NODE_TYPES = ("b", "c", "u", "p")
HOOK_NAMES = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)
MAX_CLOS_ID = 4095


def edit_problems(edits: ContainerEdits) -> Iterator[DocumentError]:
    """Give the broken rules of one containerEdits object."""
    yield from _each("env", edits.env, _env_faults)
    yield from _each("deviceNodes", edits.device_nodes, _node_faults)
    yield from _each("netDevices", edits.net_devices, _net_faults)
    yield from _repeated(edits.net_devices)
    yield from _each("hooks", edits.hooks, _hook_faults)
    yield from _each("mounts", edits.mounts, _mount_faults)
    if edits.intel_rdt is not None:
        yield from _placed("intelRdt", _rdt_faults(edits.intel_rdt))


def edit_warnings(edits: ContainerEdits) -> Iterator[DocumentError]:
    """Give what engines take from one containerEdits object but may not work or is unsafe."""
    yield from edit_refusals(edits)
    yield from _each("hooks", edits.hooks, _hook_warnings)
    yield from _each("mounts", edits.mounts, _mount_warnings)


def edit_refusals(edits: ContainerEdits) -> Iterator[DocumentError]:
    """Give what we never write into one containerEdits object."""
    yield from _each("env", edits.env, _unprintable_env)
    for index, hook in enumerate(edits.hooks):
        for problem in _each("env", hook.env, _unprintable_env):
            yield problem.under(f"hooks[{index}]")


def _each(
    name: str, parts: Iterable[Any], rules: Callable[[Any], Faults]
) -> Iterator[DocumentError]:
    for index, part in enumerate(parts):
        yield from _placed(f"{name}[{index}]", rules(part))


def _placed(step: str, faults: Faults) -> Iterator[DocumentError]:
    return (DocumentError(fault, path=place).under(step) for place, fault in faults)


def _env_faults(variable: str) -> Faults:
    if variable.find("=") < 1:
        yield "", f"variable {quoted(variable)} must be NAME=value"


def _unprintable_env(variable: str) -> Faults:
    if "\0" in variable or "\n" in variable:
        yield "", f"variable {quoted(variable)} holds a NUL or a newline"


def _path_faults(name: str, path: str) -> Faults:
    if not path:
        yield name, "missing path"
    if "\0" in path:
        yield name, f"path {quoted(path)} holds a NUL"


def _node_faults(node: DeviceNode) -> Faults:
    yield from _path_faults("path", node.path)
    if "\0" in node.host_path:
        yield from _path_faults("hostPath", node.host_path)
    if node.type and node.type not in NODE_TYPES:
        yield "type", f"type {quoted(node.type)} must be one of {', '.join(NODE_TYPES)}"
    if node.permissions != "none" and not set(node.permissions) <= set("rwm"):
        yield (
            "permissions",
            f"permissions {quoted(node.permissions)} must be letters of rwm, or none",
        )


def _net_faults(device: NetDevice) -> Faults:
    if not device.host_interface_name:
        yield "hostInterfaceName", "missing name"
    if not device.name:
        yield "name", "missing name"


def _repeated(devices: Iterable[NetDevice]) -> Iterator[DocumentError]:
    for field, attribute in (("hostInterfaceName", "host_interface_name"), ("name", "name")):
        seen: dict[str, int] = {}
        for index, device in enumerate(devices):
            name = getattr(device, attribute)
            first = seen.setdefault(name, index)
            if name and first != index:
                message = f"{quoted(name)} is taken by netDevices[{first}]"
                yield DocumentError(message, path=f"netDevices[{index}].{field}")


def _hook_faults(hook: Hook) -> Faults:
    if hook.hook_name not in HOOK_NAMES:
        yield (
            "hookName",
            f"hook name {quoted(hook.hook_name)} must be one of " + ", ".join(HOOK_NAMES),
        )
    yield from _path_faults("path", hook.path)
    for index, variable in enumerate(hook.env):
        for _, fault in _env_faults(variable):
            yield f"env[{index}]", fault


def _mount_faults(mount: Mount) -> Faults:
    yield from _path_faults("hostPath", mount.host_path)
    yield from _path_faults("containerPath", mount.container_path)


def _rdt_faults(rdt: IntelRdt) -> Faults:
    name = rdt.clos_id
    if name == "/":
        return
    if len(name.encode()) > MAX_CLOS_ID or name in {".", ".."} or set(name) & set("/\n"):
        yield (
            "closID",
            f"closID {quoted(name)} must be / or one folder's name of at most {MAX_CLOS_ID} bytes",
        )


def _hook_warnings(hook: Hook) -> Faults:
    if not hook.path.startswith("/"):
        yield "path", f"hook path {quoted(hook.path)} is relative: CDI demands an absolute one"
    if hook.hook_name == "prestart":
        yield "hookName", "prestart hooks are deprecated: use createRuntime or createContainer"
    if not hook.env:
        yield "env", "the hook has no env: it would run with the container's own environment"
    if hook.timeout is not None and hook.timeout <= 0:
        yield "timeout", f"timeout {hook.timeout} must be greater than 0"


def _mount_warnings(mount: Mount) -> Faults:
    for field, path in (("hostPath", mount.host_path), ("containerPath", mount.container_path)):
        if ".." in path.split("/"):
            yield field, f"path {quoted(path)} holds '..'"
        if not path.startswith("/"):
            yield field, f"path {quoted(path)} is relative"
