# SPDX-License-Identifier: Apache-2.0
"""What a bundle gets or got from CDI specs, one line per item with its reason. Pure.

Before injection the container's request decides. After it the request is gone (the environment
says `void`, so that nobody injects twice), and the items themselves tell which devices they are of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind import capability, modifier
from gpubind.plan import Link

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpubind.oci.types import Compiled, CompiledSpec, Edits, Mount, Node, Spec
    from gpubind.plan import Operation


def injected(
    document: Spec, compiled: Compiled, wanted: Sequence[str]
) -> list[tuple[CompiledSpec, list[str]]]:
    """Give the specs applied to a config.json for the capabilities, each with its devices there.

    Of several names for the same nodes the first is given.
    """
    linux = document.get("linux") or {}
    nodes = {node.get("path") for node in linux.get("devices") or []}
    mounts = {(one.get("source"), one.get("destination")) for one in document.get("mounts") or []}
    # in a user namespace a node is a bind mount of itself
    nodes |= {destination for _, destination in mounts}
    found = []
    for spec in compiled["specs"]:
        common, *_ = modifier.edits(spec, (), wanted)
        places = {(one["hostPath"], one["containerPath"]) for one in common.get("mounts", ())}
        devices = list(_devices(spec, nodes, wanted))
        if places & mounts or (devices and not places):
            found.append((spec, devices))
    return found


def _devices(spec: CompiledSpec, nodes: set[str | None], wanted: Sequence[str]) -> Iterator[str]:
    """Give the devices all of whose nodes are there, without those that add no node."""
    seen: set[str | None] = set()
    for name, edits in spec["devices"].items():
        own = {node["path"] for node in capability.narrow(wanted, edits).get("deviceNodes", ())}
        if own <= nodes and own - seen:
            seen |= own
            yield name


def lines(
    document: Spec,
    spec: CompiledSpec,
    devices: Sequence[str],
    wanted: Sequence[str],
    facts: modifier.Facts,
) -> Iterator[str]:
    """Give a line for all that `spec` adds to a container for `devices` and capabilities."""
    root = (spec["driver"] or {}).get("root", "/")
    below = f", driver root {root}" if root != "/" else ""
    source = spec["path"] or "the driver as it is now"
    yield f"from {source}: {spec['kind']}={','.join(devices) or 'none'}{below}"
    edits = modifier.edits(spec, devices, wanted)
    yield from _items(edits, root)
    operations = modifier.operations(spec, devices, wanted, facts)
    now, later = modifier.split(document, operations)
    yield from _planned(spec, now, "")
    yield from _planned(spec, later, " (by our hook: a mount would hide it)")
    env = [entry for edit in edits for entry in edit.get("env", ())]
    for entry in dict.fromkeys([*env, modifier.VOID]):
        why = "nobody injects a second time" if entry == modifier.VOID else "set by the CDI spec"
        yield f"  variable  {entry}: {why}"
    for hook in (hook for edit in edits for hook in edit.get("hooks", ())):
        words = " ".join(hook.get("args") or [hook["path"]])
        yield f"  hook      {words}: asked for by the CDI spec"


def _items(edits: Sequence[Edits], root: str) -> Iterator[str]:
    """Give a line for each device node and each mount."""
    nodes = {node["path"]: node for edit in edits for node in edit.get("deviceNodes", ())}
    mounts = {one["containerPath"]: one for edit in edits for one in edit.get("mounts", ())}
    for node in nodes.values():
        yield f"  device    {node['path']}{_number(node)}{_reason(node)}"
    for mount in mounts.values():
        host, inner = mount["hostPath"], mount["containerPath"]
        source = "" if host in (inner, f"{root}{inner}") else f" (host: {host})"
        yield f"  mount     {inner}{source}{_reason(mount)}"


def _planned(spec: CompiledSpec, operations: Sequence[Operation], who: str) -> Iterator[str]:
    """Give a line for each thing done in the container's root."""
    reasons = {link["link"]: link for link in spec["links"]}
    for operation in operations:
        if isinstance(operation, Link):
            why = _reason(reasons[operation.link])
            yield f"  link      {operation.link} -> {operation.target}{who}{why}"
        else:
            yield f"  root      {operation}{who}"


def _number(node: Node) -> str:
    return f" {node['major']}:{node.get('minor', 0)}" if node.get("major") else ""


def _reason(item: Mapping[str, object] | Node | Mount) -> str:
    """Give why an item is there, for which capabilities, and whether a start can do without it."""
    names = item.get("capabilities")
    known = ", ".join(names) if isinstance(names, list | tuple) and names else "every container"
    optional = "" if item.get("required", True) else "; best effort"
    return f": {item.get('why') or 'in the CDI spec'}; for {known}{optional}"
