# SPDX-License-Identifier: Apache-2.0
"""What one container gets: from its request and the compiled specs to edits and a plan. Pure.

The only facts of the host used here come in as values; `runtime` asks for them and acts.
"""

from __future__ import annotations

from gpubind import capability, config, plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpubind.config import Config
    from gpubind.oci.types import CompiledSpec, Edits, LibraryItem, OciHook, Spec
    from gpubind.plan import Operation

VOID = "NVIDIA_VISIBLE_DEVICES=void"
COMPAT = ("/usr/local/cuda/compat", "/etc/ld.so.conf.d/00-compat-gpubind.conf")
"""Where an image brings CUDA libraries of its own, and what an earlier start may have left."""

GRAPHICS = frozenset(("graphics", "display"))
PRESTART = frozenset(
    ("gpubind-runtime-hook", "nvidia-container-runtime-hook", "nvidia-container-toolkit")
)
"""Programs that give a container its GPUs from a prestart hook: ours and the field's."""

HOOK_PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"


def edits(spec: CompiledSpec, devices: Iterable[str], capabilities: Sequence[str]) -> list[Edits]:
    """Give a spec's edits for some of its devices: the common ones first, then in request order."""
    wanted = [spec["containerEdits"], *(spec["devices"][name] for name in devices)]
    return [capability.narrow(capabilities, edit) for edit in wanted]


class Facts:
    """What a plan depends on besides the specs.

    `compat` tells whether the image may bring CUDA libraries of its own, `modifiable` whether the
    driver lets a container change device nodes, `disabled` names the hooks nobody wants.
    """

    __slots__ = ("compat", "disabled", "modifiable")

    def __init__(
        self, *, compat: bool = False, modifiable: bool = False, disabled: Sequence[str] = ()
    ) -> None:
        self.compat = compat
        self.modifiable = modifiable
        self.disabled = disabled


NO_FACTS = Facts()


def operations(
    spec: CompiledSpec,
    devices: Sequence[str],
    capabilities: Sequence[str],
    facts: Facts = NO_FACTS,
) -> list[Operation]:
    """Give what the container's root needs besides, for the same devices and capabilities."""
    wanted: list[Operation] = []
    if "create-symlinks" not in facts.disabled:
        wanted += _links(spec, devices, capabilities)
    special = [name for name in spec.get("operations", ()) if name not in facts.disabled]
    libraries = capability.only(capabilities, spec["libraries"])
    if libraries and "update-ldcache" not in facts.disabled:
        if "enable-cuda-compat" in special and facts.compat and "compute" in capabilities:
            wanted.append(_compat(spec))
        wide, narrow = _paths(libraries, narrow=False), _paths(libraries, narrow=True)
        used = {path.rpartition("/")[0] for path in wide + narrow}
        wanted.append(
            plan.LdCache([name for name in spec["folders"] if name in used], wide, narrow)
        )
    if "update-application-profile" in special and GRAPHICS.intersection(capabilities):
        wanted.append(_profile(spec, devices))
    if "disable-device-node-modification" in special and facts.modifiable:
        from gpubind.operation import params

        wanted.append(params.MaskParams())
    return wanted


def _links(
    spec: CompiledSpec, devices: Sequence[str], capabilities: Sequence[str]
) -> list[Operation]:
    return [
        plan.Link(link["target"], link["link"])
        for link in capability.only(capabilities, spec["links"])
        if not link["devices"] or any(name in link["devices"] for name in devices)
    ]


def disabled(settings: Config) -> tuple[str, ...]:
    """Give the names of the hooks whose work the operator wants nowhere."""
    names = settings.texts(config.DISABLED_HOOKS)
    if settings.flag(config.NO_COMPAT) or settings.text(config.COMPAT_MODE) == "disabled":
        names = [*names, "enable-cuda-compat"]
    return tuple(names)


def _compat(spec: CompiledSpec) -> Operation:
    from gpubind.operation import compat

    driver = spec["driver"] or {}
    place, version, cuda = (driver.get(name, "") for name in ("compat", "version", "cuda"))
    if place:  # a Tegra's: its driver's versions say nothing to these libraries
        return compat.CudaCompat("", cuda, place)
    return compat.CudaCompat(version, "" if version else cuda)


def _profile(spec: CompiledSpec, devices: Iterable[str]) -> Operation:
    from gpubind.operation import profile

    nodes = [node for name in devices for node in spec["devices"][name].get("deviceNodes", ())]
    numbers = [(node, node["path"].removeprefix("/dev/nvidia")) for node in nodes]
    # CDI leaves a minor number of 0 out; one without any has them from its node, which is so named.
    minors = {
        node.get("minor", 0) if "major" in node else int(number)
        for node, number in numbers
        if number.isdecimal()
    }
    return profile.ApplicationProfile(sorted(minors))


def denies_devices(spec: Spec) -> bool:
    """Tell whether the container's device cgroup allows only what it names (config-linux.md)."""
    rules = ((spec.get("linux") or {}).get("resources") or {}).get("devices") or []
    denied = False
    for rule in rules:
        numbers = (rule.get("major", -1), rule.get("minor", -1))
        if rule.get("type", "a") in ("a", "") and all(one in (-1, None) for one in numbers):
            denied = not rule.get("allow")
    return denied


def _paths(libraries: Iterable[LibraryItem], *, narrow: bool) -> list[str]:
    return [entry["path"] for entry in libraries if (entry["arch"] == "i386") is narrow]


def split(spec: Spec, wanted: Iterable[Operation]) -> tuple[list[Operation], list[Operation]]:
    """Give the operations the bundle's root can take now, and those a hook must do.

    A mount of the container's own that covers a name we write would hide it: `/dev` always does.
    """
    now: list[Operation] = []
    later: list[Operation] = []
    for operation in wanted:
        hidden = any(is_covered(spec, name) for name in operation.writes())
        (later if hidden else now).append(operation)
    return now, later


def is_covered(spec: Spec, name: str) -> bool:
    """Tell whether a mount of the container's own hides what its root has at an inner name."""
    places = (mount.get("destination", "").strip("/") for mount in spec.get("mounts") or [])
    return any(_within(name, "/" + place) for place in places if place)


def _within(name: str, cover: str) -> bool:
    return name == cover or name.startswith(cover + "/")


def with_hook(spec: Spec, program: str, root: str, words: list[str]) -> Spec:
    """Give `spec` with our hook as its last createContainer hook; `root` is the bundle's."""
    entry: OciHook = {
        "path": program,
        "args": [program.rpartition("/")[2], "--root", root, *words],
        "env": [HOOK_PATH],
    }
    hooks = {**(spec.get("hooks") or {})}
    before = hooks.get("createContainer") or []
    hooks["createContainer"] = before if entry in before else [*before, entry]
    return {**spec, "hooks": hooks}


def without_prestart(spec: Spec) -> Spec:
    """Give `spec` without the prestart hooks that would do again what its edits do.

    Such a hook changes the device cgroup behind the runtime's back; the edits stand in the spec.
    """
    hooks = spec.get("hooks") or {}
    before = hooks.get("prestart") or []
    kept = [hook for hook in before if _program(hook) not in PRESTART]
    if len(kept) == len(before):
        return spec
    given = {**hooks, "prestart": kept}
    if not kept:
        del given["prestart"]
    return {**spec, "hooks": given}


def with_prestart(spec: Spec, program: str) -> Spec:
    """Give `spec` with a prestart hook as its last one, unless it has such a hook already."""
    if without_prestart(spec) is not spec:
        return spec
    entry: OciHook = {
        "path": program,
        "args": [program.rpartition("/")[2], "prestart"],
        "env": [HOOK_PATH],
    }
    hooks = {**(spec.get("hooks") or {})}
    hooks["prestart"] = [*(hooks.get("prestart") or []), entry]
    return {**spec, "hooks": hooks}


def _program(hook: OciHook) -> str:
    path = hook.get("path")
    return path.rpartition("/")[2] if isinstance(path, str) else ""
