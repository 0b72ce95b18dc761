# SPDX-License-Identifier: Apache-2.0
"""What one container gets: from its request and the compiled specs to edits and a plan. Pure.

The only facts of the host used here come in as values; `runtime` asks for them and acts.
"""

from __future__ import annotations

from gpubind import capability, plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpubind.oci.types import CompiledSpec, Edits, LibraryItem, OciHook, Spec
    from gpubind.plan import Operation

VOID = "NVIDIA_VISIBLE_DEVICES=void"
HOOK_PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"


def edits(spec: CompiledSpec, devices: Iterable[str], capabilities: Sequence[str]) -> list[Edits]:
    """Give a spec's edits for some of its devices: the common ones first, then in request order."""
    wanted = [spec["containerEdits"], *(spec["devices"][name] for name in devices)]
    return [capability.narrow(capabilities, edit) for edit in wanted]


def operations(
    spec: CompiledSpec, devices: Sequence[str], capabilities: Sequence[str]
) -> list[Operation]:
    """Give what the container's root needs besides, for the same devices and capabilities."""
    links = [
        plan.Link(link["target"], link["link"])
        for link in capability.only(capabilities, spec["links"])
        if not link["devices"] or any(name in link["devices"] for name in devices)
    ]
    libraries = capability.only(capabilities, spec["libraries"])
    if not libraries:
        return [*links]
    wide, narrow = _paths(libraries, narrow=False), _paths(libraries, narrow=True)
    used = {path.rpartition("/")[0] for path in wide + narrow}
    folders = [folder for folder in spec["folders"] if folder in used]
    return [*links, plan.LdCache(folders, wide, narrow)]


def _paths(libraries: Iterable[LibraryItem], *, narrow: bool) -> list[str]:
    return [entry["path"] for entry in libraries if (entry["arch"] == "i386") is narrow]


def split(spec: Spec, wanted: Iterable[Operation]) -> tuple[list[Operation], list[Operation]]:
    """Give the operations the bundle's root can take now, and those a hook must do.

    A mount of the container's own that covers a name we write would hide it: `/dev` always does.
    """
    places = [mount.get("destination", "") for mount in spec.get("mounts") or []]
    covers = ["/" + place.strip("/") for place in places if place.strip("/")]
    now: list[Operation] = []
    later: list[Operation] = []
    for operation in wanted:
        hidden = any(_within(name, cover) for name in operation.writes() for cover in covers)
        (later if hidden else now).append(operation)
    return now, later


def _within(name: str, cover: str) -> bool:
    return name == cover or name.startswith(cover + "/")


def with_hook(spec: Spec, program: str, words: list[str]) -> Spec:
    """Give `spec` with our hook as its last createContainer hook."""
    entry: OciHook = {
        "path": program,
        "args": [program.rpartition("/")[2], *words],
        "env": [HOOK_PATH],
    }
    hooks = {**(spec.get("hooks") or {})}
    before = hooks.get("createContainer") or []
    hooks["createContainer"] = before if entry in before else [*before, entry]
    return {**spec, "hooks": hooks}
