# SPDX-License-Identifier: Apache-2.0
"""Injecting what a container asks for: decided as data, then done in one place.

`decide` says what a bundle would get, `into` does it; `gpubind explain` prints the decision.
"""

from __future__ import annotations

import posix

from gpubind import (
    config,
    device,
    edits,
    linux,
    mode,
    modifier,
    paths,
    plan,
    registry,
    request,
    userns,
    words,
)
from gpubind.errors import ToolkitError
from gpubind.oci import spec as oci
from gpubind.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpubind.config import Config
    from gpubind.oci.types import Compiled, CompiledSpec, Edits, Spec
    from gpubind.plan import Operation
    from gpubind.request import Request

    Chosen = list[tuple[CompiledSpec, list[str]]]
    Load = Callable[[Config, str], Compiled]
    Serve = Callable[[Sequence[str], str, str, list[str], str], tuple[CompiledSpec, list[str]]]

_DRIVER_SIGNS = (
    *("/proc/driver/nvidia/version", "/dev/nvidiactl"),
    *("/dev/nvmap", "/usr/lib/wsl/lib/libcuda.so.1"),  # a Tegra's, and WSL2's where Windows has it
)


class Decision:
    """What one container gets: `edits`, `now` on its root, `later` by a hook, and `notes`."""

    __slots__ = ("edits", "later", "notes", "now", "request", "root", "space")

    def __init__(self, wanted: Request) -> None:
        self.request = wanted
        self.root = ""
        self.space = userns.Space()
        self.edits: list[Edits] = []
        self.now: list[Operation] = []
        self.later: list[Operation] = []
        self.notes: list[str] = []


def into(
    file: str, spec: Spec, wanted: Request, settings: Config, state: str = paths.STATE
) -> list[str]:
    """Inject what was asked for into a bundle's root and its config.json `file`.

    Gives a note for each thing left out.

    The root is changed before config.json, so that a failure leaves a bundle that still starts as
    it was. Raises ToolkitError.
    """
    how, _ = mode.decide(settings, wanted.devices)
    if how.hook and not userns.is_rootless():  # it could not set the device cgroup
        oci.check(spec, file)
        oci.save(file, modifier.with_prestart(spec, mode.hook_program(settings)))
        return []
    decision = decide(file, spec, wanted, settings, state)
    if not decision.edits:
        if wanted.explicit or modifier.without_prestart(spec) is not spec:
            raise _driver_wanted(decision.notes)
        return decision.notes
    if decision.now:
        plan.ready(decision.now)
        with _root(decision.root) as root:
            plan.perform(root, decision.now, decision.notes)
    oci.save(file, applied(spec, decision))
    return decision.notes


def decide(
    file: str, spec: Spec, wanted: Request, settings: Config, state: str = paths.STATE
) -> Decision:
    """Give what the container gets. Raises ToolkitError for what it must not start without."""
    decision = Decision(wanted)
    oci.check(spec, file)
    chosen = _served(wanted, settings, state, decision.notes)
    if not chosen:
        return decision
    decision.root = oci.root_of(spec, file)
    decision.space = userns.of(spec)
    folders = [(found["driver"] or {}).get("compat", "") for found, _ in chosen]
    facts = look(spec, decision.root, decision.space, settings, folders)
    for found, devices in chosen:
        for edit in modifier.edits(found, devices, wanted.capabilities):
            decision.edits.append(_fitting(edit, spec, decision))
        needed = modifier.operations(found, devices, wanted.capabilities, facts)
        now, later = modifier.split(spec, needed)
        decision.now += now
        decision.later += later
    decision.edits.append({"env": [modifier.VOID]})
    return decision


def _served(wanted: Request, settings: Config, state: str, notes: list[str]) -> Chosen:
    """Give the specs of the devices and of what is asked for besides; an error names who asks."""
    try:
        chosen = choose(wanted.devices, settings, state, notes, all_lists=wanted.all_lists)
    except ToolkitError as error:
        if error.identifier == "REGISTRY-DEVICE":
            error.message = f"{wanted.origin}: {error.message}"
        raise
    if chosen and (wanted.requirements or wanted.features or wanted.imex):
        from gpubind import extras

        chosen += extras.of(wanted, chosen, lambda: registry.load(settings, state), notes)
    return chosen


def _fitting(edit: Edits, spec: Spec, decision: Decision) -> Edits:
    """Give edits as this host and the container's user namespace make them; takes notes."""
    whole = device.complete(edit, decision.notes, bind=decision.space.bind)
    return userns.with_groups(whole, spec, decision.space, decision.notes)


def look(
    spec: Spec, path: str, space: userns.Space, settings: Config, folders: Sequence[str] = ()
) -> modifier.Facts:
    """Look at the image and the host for what the plan depends on.

    `folders` are where images may bring CUDA libraries besides the usual place. In a user namespace
    the driver's own part in a container can't change a node whatever it may.
    """
    compat = modifier.is_covered(spec, modifier.COMPAT[0])
    if not compat:
        with _root(path) as root:
            compat = any(root.exists(name) for name in (*modifier.COMPAT, *filter(None, folders)))
    modifiable = False
    always = settings.flag(config.ALWAYS_MASK)
    if not space.bind and (always or not modifier.denies_devices(spec)):
        from gpubind.operation import params

        modifiable = params.is_open()
    unwanted = modifier.disabled(settings)
    return modifier.Facts(compat=compat, modifiable=modifiable, disabled=unwanted)


def applied(spec: Spec, decision: Decision) -> Spec:
    """Give the spec with the decision's edits and, where one is needed, our hook. Pure."""
    space = decision.space
    given = edits.apply(
        modifier.without_prestart(spec), decision.edits, bind=space.bind, rules=space.rules
    )
    if decision.later:
        given = modifier.with_hook(given, paths.HOOK, decision.root, words.of(decision.later))
    return given


def choose(
    names: Sequence[str],
    settings: Config,
    state: str = paths.STATE,
    notes: list[str] | None = None,
    load: Load = registry.load,
    serve: Serve | None = None,
    *,
    all_lists: bool = False,
) -> Chosen:
    """Give the specs that serve the devices, each with its devices; a note on what is left out.

    A bare name, and one of the kind that mode jit-cdi gives its devices, is of the driver as it is
    now where `is_live` says so; of a Tegra's lists of files all are read with `all_lists`. `load`
    and `serve` give compiled specs and the driver's, by default made anew where they are stale.
    Raises ToolkitError for what is not there.
    """
    said: list[str] = [] if notes is None else notes
    bare = [name for name in names if "=" not in name]
    live = bool(bare) and is_live(settings, state, load)
    own = [name for name in names if _is_own(name, settings) or (live and "=" not in name)]
    chosen: Chosen = []
    if len(own) < len(names):
        rest = [name for name in names if name not in own]
        chosen += _specified(load(settings, state), rest, settings, said)
    if own and live and not has_driver(settings):
        said.append(_driverless(bare, "", ""))
        own = [name for name in own if "=" in name]
    if own:
        kind = look_of(settings, all_lists=all_lists)
        root = settings.text(config.DRIVER_ROOT) or "/"
        chosen.append((serve or _serve)(own, root, state, said, kind))
    return chosen


def _serve(
    names: Sequence[str], root: str, state: str, notes: list[str], kind: str
) -> tuple[CompiledSpec, list[str]]:
    from gpubind import jit

    return jit.serve(names, root, state, notes, look=kind)


def look_of(settings: Config, *, all_lists: bool = False) -> str:
    """Give which look at the driver the settings' mode takes, as `jit.kind`."""
    from gpubind import jit

    csv = settings.text(config.MODE) == "csv"
    if all_lists and not csv:
        all_lists = mode.is_tegra(settings.text(config.DRIVER_ROOT) or "/")
    return jit.kind(csv=csv, all_lists=all_lists)


def is_live(settings: Config, state: str = paths.STATE, load: Load = registry.load) -> bool:
    """Tell whether bare names are of the driver as it is now, or else of the default kind's specs.

    In mode auto they are where a driver is there; where only the generator is not, its specs count.
    """
    name = settings.text(config.MODE)
    if name != mode.AUTO or not has_driver(settings):
        return name in ("jit-cdi", "csv")
    if posix.access(paths.GENERATOR, posix.X_OK):
        return True
    return not registry.of_kind(load(settings, state), settings.text(config.DEFAULT_KIND))


def has_driver(settings: Config) -> bool:
    """Tell whether the operator named a driver root, or the host shows a driver."""
    root = settings.text(config.DRIVER_ROOT)
    return root not in ("", "/") or any(map(linux.exists, _DRIVER_SIGNS))


def _is_own(name: str, settings: Config) -> bool:
    kind = name.partition("=")[0]
    return kind == registry.JIT_KIND and settings.text(config.MODE) != "cdi"


def _specified(compiled: Compiled, names: list[str], settings: Config, notes: list[str]) -> Chosen:
    """Give what the spec directories have; nothing, with a note, on a host without a driver."""
    kind = settings.text(config.DEFAULT_KIND)
    specs = registry.of_kind(compiled, kind)
    bare = [name for name in names if "=" not in name]
    if bare and not specs and not has_driver(settings):
        notes.append(_driverless(bare, " and no CDI spec of kind ", kind))
        names = [name for name in names if "=" in name]
    if names == ["none"]:
        if not specs:
            raise ToolkitError(
                f"no CDI spec describes {kind}",
                identifier="REGISTRY-DEVICE",
                hint="run 'gpubind cdi generate'",
            )
        return [(specs[0], [])]
    found = registry.resolve(compiled, registry.qualified(names, settings))
    return [(compiled["specs"][index], devices) for index, devices in found.items()]


def _driverless(bare: list[str], joint: str, kind: str) -> str:
    return (
        f"{request.DEVICES_VARIABLE}={','.join(bare[:4])} asks for GPUs, but this host has no "
        f"NVIDIA driver{joint}{kind}: started without [NO-DRIVER]"
    )


def _driver_wanted(notes: Sequence[str]) -> ToolkitError:
    """Give the error for who asked for GPUs by hand, where an image alone would get a note."""
    why = notes[-1] if notes else "nothing to inject was found"
    return ToolkitError(
        why.removesuffix(": started without [NO-DRIVER]"),
        identifier="NO-DRIVER",
        hint="install the driver and run 'gpubind cdi generate', or ask for no GPU",
    )


def _root(path: str) -> Root:
    try:
        return Root(path)
    except OSError as error:
        raise ToolkitError(
            f"container's root {path}: {error.strerror}", identifier="ROOT-OPEN"
        ) from None
