# SPDX-License-Identifier: Apache-2.0
"""Injecting what a container asks for: decided as data, then done in one place.

`decide` says what a bundle would get, `into` does it; `gpubind explain` prints the decision.
"""

from __future__ import annotations

import os

from gpubind import config, device, edits, modifier, paths, plan, registry, request, words
from gpubind.errors import ToolkitError
from gpubind.oci import spec as oci
from gpubind.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind.config import Config
    from gpubind.oci.types import Compiled, CompiledSpec, Edits, Spec
    from gpubind.plan import Operation
    from gpubind.request import Request

_DRIVER_SIGNS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")


class Decision:
    """What one container gets: `edits`, `now` on its root, `later` by a hook, and `notes`."""

    __slots__ = ("edits", "later", "notes", "now", "request", "root")

    def __init__(self, wanted: Request) -> None:
        self.request = wanted
        self.root = ""
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
    decision = decide(file, spec, wanted, settings, state)
    if not decision.edits:
        return decision.notes
    if decision.now:
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
    compiled = registry.load(settings, state)
    chosen = _chosen(compiled, wanted, settings, decision)
    if not chosen:
        return decision
    decision.root = oci.root_of(spec, file)
    facts = look(spec, decision.root)
    for found, devices in chosen:
        for edit in modifier.edits(found, devices, wanted.capabilities):
            decision.edits.append(device.complete(edit, decision.notes))
        needed = modifier.operations(found, devices, wanted.capabilities, facts)
        now, later = modifier.split(spec, needed)
        decision.now += now
        decision.later += later
    decision.edits.append({"env": [modifier.VOID]})
    return decision


def look(spec: Spec, path: str) -> modifier.Facts:
    """Look at the image and the host for what the plan depends on."""
    compat = modifier.is_covered(spec, modifier.COMPAT[0])
    if not compat:
        with _root(path) as root:
            compat = any(root.exists(name) for name in modifier.COMPAT)
    modifiable = False
    if not modifier.denies_devices(spec):
        from gpubind.operation import params

        modifiable = params.is_open()
    return modifier.Facts(compat=compat, modifiable=modifiable)


def applied(spec: Spec, decision: Decision) -> Spec:
    """Give the spec with the decision's edits and, where one is needed, our hook. Pure."""
    given = edits.apply(modifier.without_prestart(spec), decision.edits)
    if decision.later:
        given = modifier.with_hook(given, paths.HOOK, words.of(decision.later))
    return given


def _chosen(
    compiled: Compiled, wanted: Request, settings: Config, decision: Decision
) -> list[tuple[CompiledSpec, list[str]]]:
    """Give the specs and their devices; nothing, with a note, on a host without a driver."""
    kind = settings.text(config.DEFAULT_KIND)
    specs = registry.of_kind(compiled, kind)
    bare = [name for name in wanted.devices if "=" not in name]
    if bare and not specs and not any(map(os.path.exists, _DRIVER_SIGNS)):
        decision.notes.append(
            f"{request.DEVICES_VARIABLE}={','.join(bare[:4])} asks for GPUs, but this host has no "
            f"NVIDIA driver and no CDI spec of kind {kind}: started without [NO-DRIVER]"
        )
        wanted = request.Request(
            tuple(name for name in wanted.devices if "=" in name), wanted.capabilities
        )
    if wanted.devices == ("none",):
        if not specs:
            raise ToolkitError(
                f"no CDI spec describes {kind}",
                identifier="REGISTRY-DEVICE",
                hint="run 'gpubind cdi generate'",
            )
        return [(specs[0], [])]
    names = registry.qualified(wanted.devices, settings)
    found = registry.resolve(compiled, names)
    return [(compiled["specs"][index], devices) for index, devices in found.items()]


def _root(path: str) -> Root:
    try:
        return Root(path)
    except OSError as error:
        raise ToolkitError(
            f"container's root {path}: {error.strerror}", identifier="ROOT-OPEN"
        ) from None
