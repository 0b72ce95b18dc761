# SPDX-License-Identifier: Apache-2.0
"""CDI container edits applied to an OCI spec, as CDI's SPEC.md says. Pure: values in, values out.

Nothing given is changed; fields of the spec that no edit touches ride along.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from gpubind.oci.types import Edits, Hook, Mount, Node, OciHook, OciMount, Spec

PERMISSIONS = "rwm"


def apply(spec: Spec, wanted: Sequence[Edits], *, bind: bool = False, rules: bool = True) -> Spec:
    """Give `spec` with the edits in order.

    Nodes must be complete (type, major, minor; see `device.complete`). A variable replaces one of
    its name, a node and a mount one at their place; mounts end up sorted by depth. With `bind`
    nodes become mounts of the host's, without `rules` the device cgroup is left alone: `userns`.
    """
    given: Spec = {**spec}
    env = [entry for edit in wanted for entry in edit.get("env", ())]
    nodes = [node for edit in wanted for node in edit.get("deviceNodes", ())]
    mounts = [mount for edit in wanted for mount in edit.get("mounts", ())]
    bound = [node for node in nodes if bind and node["type"] != "p"]
    mounts += map(_bound, bound)
    hooks = [hook for edit in wanted for hook in edit.get("hooks", ())]
    gids = [gid for edit in wanted for gid in edit.get("additionalGids", ()) if gid]
    if env or gids:
        given["process"] = _process(given.get("process") or {}, env, gids)
    if mounts:
        given["mounts"] = _mounts(given.get("mounts") or [], mounts)
    if hooks:
        given["hooks"] = _hooks(given.get("hooks") or {}, hooks)
    linux = _linux(given.get("linux") or {}, wanted)
    if nodes:
        made = [_device(node, _owner(given)) for node in nodes if node not in bound]
        linux = _devices(linux, {node["path"] for node in nodes}, made)
        linux = _allowing(linux, nodes) if rules else linux
    if linux != (given.get("linux") or {}):
        given["linux"] = linux
    return given


def variables(env: Sequence[str], new: Sequence[str]) -> list[str]:
    """Give the environment with `new` set; a replaced variable is never left as a duplicate."""
    names = {entry.partition("=")[0] for entry in new}
    kept = [entry for entry in env if entry.partition("=")[0] not in names]
    last = {entry.partition("=")[0]: entry for entry in new}
    return kept + list(last.values())


def _process(process: dict[str, Any], env: list[str], gids: list[int]) -> dict[str, Any]:
    given = {**process}
    if env:
        given["env"] = variables(given.get("env") or [], env)
    if gids:
        user = {**(given.get("user") or {})}
        user["additionalGids"] = list(dict.fromkeys([*(user.get("additionalGids") or []), *gids]))
        given["user"] = user
    return given


def _mounts(mounts: Sequence[OciMount], new: Iterable[Mount]) -> list[OciMount]:
    at: dict[str, OciMount] = {}
    for mount in new:
        at.pop(mount["containerPath"], None)
        at[mount["containerPath"]] = _mount(mount)
    kept = [mount for mount in mounts if mount.get("destination") not in at]
    return sorted([*kept, *at.values()], key=_depth)


def _mount(mount: Mount) -> OciMount:
    given: OciMount = {"destination": mount["containerPath"], "source": mount["hostPath"]}
    if "type" in mount:
        given["type"] = mount["type"]
    if "options" in mount:
        given["options"] = list(mount["options"])
    return given


def _depth(mount: OciMount) -> int:
    return len([part for part in mount.get("destination", "").split("/") if part])


def _hooks(hooks: dict[str, list[OciHook]], new: Iterable[Hook]) -> dict[str, list[OciHook]]:
    given = {**hooks}
    for hook in new:
        stage = hook["hookName"]
        entry: OciHook = {"path": hook["path"]}
        if "args" in hook:
            entry["args"] = hook["args"]
        if "env" in hook:
            entry["env"] = hook["env"]
        if "timeout" in hook:
            entry["timeout"] = hook["timeout"]
        before = given.get(stage) or []
        given[stage] = before if entry in before else [*before, entry]
    return given


def _owner(spec: Spec) -> tuple[int, int]:
    user = (spec.get("process") or {}).get("user") or {}
    return int(user.get("uid") or 0), int(user.get("gid") or 0)


def _linux(linux: dict[str, Any], wanted: Sequence[Edits]) -> dict[str, Any]:
    """Give `linux` with network devices and RDT."""
    given = {**linux}
    for edit in wanted:
        for device in edit.get("netDevices", ()):
            there = {**(given.get("netDevices") or {})}
            there[device["hostInterfaceName"]] = {"name": device["name"]}
            given["netDevices"] = there
        if edit.get("intelRdt"):
            given["intelRdt"] = edit["intelRdt"]
    return given


def _devices(
    linux: dict[str, Any], places: set[str], made: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Give `linux` with the nodes that are made, and no other ones at these places."""
    kept = [device for device in linux.get("devices") or [] if device.get("path") not in places]
    devices = [*kept, *{device["path"]: device for device in made}.values()]
    return {**linux, "devices": devices} if devices or linux.get("devices") else linux


def _allowing(linux: dict[str, Any], nodes: Iterable[Node]) -> dict[str, Any]:
    """Give `linux` with rules for the nodes as the device cgroup's last ones."""
    resources = {**(linux.get("resources") or {})}
    rules = _once(rule for node in nodes if (rule := _rule(node)))
    before = [rule for rule in resources.get("devices") or [] if rule not in rules]
    resources["devices"] = [*before, *rules]
    return {**linux, "resources": resources}


def _bound(node: Node) -> Mount:
    """Give the host's node as a mount, through which nobody can change its mode or owner."""
    return {
        "hostPath": node.get("hostPath") or node["path"],
        "containerPath": node["path"],
        "type": "bind",
        "options": [
            "bind",
            "ro",
            "nosuid",
            "noexec",
        ],  # a node on it opens for writing all the same
    }


def _device(node: Node, owner: tuple[int, int]) -> dict[str, Any]:
    given: dict[str, Any] = {"path": node["path"], "type": node["type"]}
    if node["type"] != "p":
        given["major"] = node["major"]
        given["minor"] = node["minor"]
    if "fileMode" in node:
        given["fileMode"] = node["fileMode"]
    uid = node.get("uid", owner[0] or None)
    gid = node.get("gid", owner[1] or None)
    if uid is not None:
        given["uid"] = uid
    if gid is not None:
        given["gid"] = gid
    return given


def _rule(node: Node) -> dict[str, Any] | None:
    permissions = node.get("permissions") or PERMISSIONS
    if node["type"] not in ("b", "c", "u") or permissions == "none":
        return None
    return {
        "allow": True,
        "type": "c" if node["type"] == "u" else node["type"],
        "major": node["major"],
        "minor": node["minor"],
        "access": permissions,
    }


def _once(rules: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each rule once, in order."""
    kept: list[dict[str, Any]] = []
    for rule in rules:
        if rule not in kept:
            kept.append(rule)
    return kept
