# SPDX-License-Identifier: Apache-2.0
"""Rewrite a spec's paths from one root to another, as `gpubind cdi transform root` does.

A path is under `from_` when its components begin with those of `from_`; a path that climbs with
".." is not, for only the file system could say where it leads. What belongs to which side:

    host       hostPath of nodes (their path where they have none) and mounts; the programs of
               hooks and, of hooks that see the host's files, their arguments
    container  path of nodes, containerPath of mounts; arguments of hooks that see the container's
               files, and the program of startContainer hooks

A node whose path is rewritten keeps the host's location. Variables are never rewritten.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from gpubind_cdi import version

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubind_cdi.model import ContainerEdits, DeviceNode, Hook, Mount, Spec

    Rewrite = Callable[[str], str]

# Hooks whose arguments are paths in the container; all others see the host's files.
INSIDE = {"createContainer", "startContainer"}


def run(
    spec: Spec, from_: str, to: str, relative_to: Literal["host", "container"] = "host"
) -> Spec:
    """Give `spec` with the paths under `from_` under `to`; an empty root means `/`.

    The version rises where a node needs a hostPath that it did not need before. A spec of the
    lowest version that will do stays one, so that there and back are the same bytes.
    """
    rewrite = _rewriter(from_, to)
    edit = _host_edits if relative_to == "host" else _container_edits
    devices = tuple(
        replace(device, container_edits=edit(device.container_edits, rewrite))
        for device in spec.devices
    )
    moved = replace(spec, devices=devices, container_edits=edit(spec.container_edits, rewrite))
    if version.bare(spec.cdi_version) == version.required(spec):
        moved = replace(moved, cdi_version=version.EARLIEST)
    lifted = version.lifted(moved)
    same = version.bare(spec.cdi_version) == lifted.cdi_version
    return replace(lifted, cdi_version=spec.cdi_version) if same else lifted


def moved(path: str, from_: str, to: str) -> str:
    """Give `path` under `to` where it is under `from_`, else unchanged."""
    return _rewriter(from_, to)(path)


def _rewriter(from_: str, to: str) -> Rewrite:
    old, new = _steps(from_), _steps(to)

    def rewrite(path: str) -> str:
        steps = _steps(path)
        rest = steps[len(old) :]
        climbs = ".." in (rest if old else rest[:1])  # nothing is above /, but much above `new`
        if not path.startswith("/") or steps[: len(old)] != old or climbs:
            return path
        return "/" + "/".join([*new, *rest])

    return rewrite


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step not in ("", ".")]


def _host_edits(edits: ContainerEdits, rewrite: Rewrite) -> ContainerEdits:
    return replace(
        edits,
        device_nodes=tuple(_host_node(node, rewrite) for node in edits.device_nodes),
        mounts=tuple(replace(part, host_path=rewrite(part.host_path)) for part in edits.mounts),
        hooks=tuple(_host_hook(hook, rewrite) for hook in edits.hooks),
    )


def _host_node(node: DeviceNode, rewrite: Rewrite) -> DeviceNode:
    old = node.host_path or node.path
    host_path = rewrite(old)
    if host_path == old:
        return node
    return replace(node, host_path="" if host_path == node.path else host_path)


def _host_hook(hook: Hook, rewrite: Rewrite) -> Hook:
    if hook.hook_name == "startContainer":  # its program is the container's
        return hook
    args = hook.args if hook.hook_name in INSIDE else _arguments(hook.args, rewrite)
    return replace(hook, path=rewrite(hook.path), args=args)


def _container_edits(edits: ContainerEdits, rewrite: Rewrite) -> ContainerEdits:
    return replace(
        edits,
        device_nodes=tuple(_container_node(node, rewrite) for node in edits.device_nodes),
        mounts=tuple(_container_mount(mount, rewrite) for mount in edits.mounts),
        hooks=tuple(_container_hook(hook, rewrite) for hook in edits.hooks),
    )


def _container_node(node: DeviceNode, rewrite: Rewrite) -> DeviceNode:
    path, host_path = rewrite(node.path), node.host_path or node.path
    if path == node.path:
        return node
    return replace(node, path=path, host_path="" if host_path == path else host_path)


def _container_mount(mount: Mount, rewrite: Rewrite) -> Mount:
    return replace(mount, container_path=rewrite(mount.container_path))


def _container_hook(hook: Hook, rewrite: Rewrite) -> Hook:
    if hook.hook_name not in INSIDE:
        return hook
    path = rewrite(hook.path) if hook.hook_name == "startContainer" else hook.path
    return replace(hook, path=path, args=_arguments(hook.args, rewrite))


def _arguments(args: tuple[str, ...], rewrite: Rewrite) -> tuple[str, ...]:
    return tuple(_argument(word, rewrite) for word in args)


def _argument(word: str, rewrite: Rewrite) -> str:
    """Rewrite a word that is a path, a pair `a::b` of them, or `--option=` and either."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + equals + "::".join(rewrite(side) for side in value.split("::"))
