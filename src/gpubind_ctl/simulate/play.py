# SPDX-License-Identifier: Apache-2.0
"""Plays the script of a simulated node: its files become what the acts say, each in its time.

What NVML says of a sick GPU needs no playing, see `gpubind_cdi.script`. A node's state is its
profile with all acts that were done; each act is the difference between two such states.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gpubind_cdi import script, simulated

from gpubind import folder
from gpubind.errors import UsageError
from gpubind_ctl.simulate import driver, layout, profile
from gpubind_ctl.simulate.entries import File
from gpubind_ctl.simulate.profile import Instance

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpubind_cdi.script import Act, Played

    from gpubind.root import Root
    from gpubind_ctl.simulate.entries import Entry
    from gpubind_ctl.simulate.profile import Gpu, Profile

PAUSE_S = 0.05

# nvmlReturn_t of a library without driver, without kernel module, with one of another version.
NO_LIBRARY = (12, "NVML Shared Library Not Found")
NOT_LOADED = (9, "Driver Not Loaded")
MISMATCH = (18, "Driver/library version mismatch")


@dataclass(slots=True)
class State:
    """A node after some acts: the kernel module's version and GPUs, the libraries' version.

    A version is empty where there is no module, or no libraries.
    """

    base: Profile
    module: str
    libraries: str
    cuda: str
    gpus: dict[str, Gpu]
    unplugged: set[str] = field(default_factory=set)

    def do(self, act: Act) -> None:
        """Let an act happen."""
        said = act.facts[act.verb]
        match act.verb:
            case "unplug":
                self.unplugged.add(act.gpu)
            case "plug":
                self.unplugged.discard(act.gpu)
            case "partition":
                self.gpus[act.gpu] = _partitioned(self.gpus[act.gpu], act.facts["mig"])
            case "libraries":
                self.libraries = said
            case "driver":
                self.module = self.libraries = said
                self.cuda = act.facts.get("cuda", self.cuda)
            case "gone":
                self.module = ""
                self.libraries = "" if said == "driver" else self.libraries

    def entries(self, host_devices: str) -> list[Entry]:
        """Give all files but the inventory."""
        kernel = layout.shown(self._profile(self.module), host_devices)
        return [
            *(driver.plan(self._profile(self.libraries)) if self.libraries else driver.MERGED),
            *(kernel if self.module else _without_module(kernel)),
        ]

    def inventory(self) -> dict[str, Any]:
        """Give what stands in for NVML."""
        error = None
        if not self.libraries:
            error = NO_LIBRARY
        elif not self.module:
            error = NOT_LOADED
        elif self.module != self.libraries:
            error = MISMATCH
        document = layout.inventory(self._profile(self.module))
        return document if error is None else {**document, "gpus": [], "error": error}

    def _profile(self, version: str) -> Profile:
        """Give the profile with this driver and the GPUs there are, numbered by PCI address."""
        there = [one for known, one in self.gpus.items() if known not in self.unplugged]
        there.sort(key=lambda one: one.pci)
        found = tuple(replace(one, index=index) for index, one in enumerate(there))
        return replace(profile.load(self.base.name, version, self.cuda), gpus=found)


def begin(root: Root, acts: Sequence[Act]) -> list[str]:
    """Lay a script into a node just laid out, start its clock, and do what is due at once."""
    layout.write(root, script.FILE[1:], script.document_of(acts))
    layout.write(root, script.PLAYED[1:], script.Played().document())
    folder.write(root.fd, script.LOOKS[1:], b"")
    return due(root)


def due(root: Root) -> list[str]:
    """Do all acts whose time has come; give what was done, a line each."""
    acts, now = script.read(root), script.played(root)
    lines = []
    for place, act in enumerate(acts):
        if act.verb in script.LAID and place not in now.done and act.due(now):
            _do(root, acts, now, place)
            lines.append(f"{now.seconds:.1f} s, look {now.looks}: {act}")
    return lines


def advance(root: Root) -> list[str]:
    """Put the clock, or the count of looks, on to the next act, and do what is due then."""
    acts, now = scripted(root)
    ahead = [act for act in acts if not act.due(now)]
    if ahead:
        first = ahead[0]
        if first.after is not None:
            now.started -= first.after - now.seconds
            layout.write(root, script.PLAYED[1:], now.document())
        for _ in range((first.look or 0) - now.looks):
            script.count_look(root)
    return due(root) + [f"next: {act}" for act in ahead[:1] if act.verb not in script.LAID]


def play(root: Root) -> list[str]:
    """Start the clock, do each act in its time until all are done; give what was done."""
    acts, now = scripted(root)
    now.started = time.time()
    layout.write(root, script.PLAYED[1:], now.document())
    lines = []
    while True:
        over = all(act.due(script.played(root)) for act in acts)
        lines += due(root)
        if over:
            return lines
        time.sleep(PAUSE_S)


def scripted(root: Root) -> tuple[Sequence[Act], Played]:
    """Give a node's script and how far it is. Raises UsageError where it has none."""
    acts = script.read(root) if simulated.is_simulated(root) else ()
    if not acts:
        raise UsageError(
            f"{root.path} is no simulated node with a script",
            identifier="SIM-SCRIPT",
            hint="lay it out with --script FILE",
        )
    return acts, script.played(root)


def _do(root: Root, acts: Sequence[Act], now: Played, place: int) -> None:
    with open("/proc/devices", encoding="utf-8") as file:
        host_devices = file.read()
    state = _state(simulated.loaded(root)["profile"], (acts[done] for done in now.done))
    before = state.entries(host_devices)
    state.do(acts[place])
    now.done.append(place)
    layout.change(root, before, state.entries(host_devices), state.inventory())
    layout.write(root, script.PLAYED[1:], now.document())


def _state(name: str, acts: Iterable[Act]) -> State:
    base = profile.load(name)
    known = {one.uuid: one for one in base.gpus}
    state = State(base, base.version, base.version, base.cuda, known)
    for act in acts:
        state.do(act)
    return state


def _partitioned(gpu: Gpu, parts: object) -> Gpu:
    """Give the GPU with these MIG devices, a list; anything else is without MIG."""
    listed = parts if isinstance(parts, list) else []
    made = tuple(
        Instance(
            index=index,
            uuid=part.get("uuid", _mig_uuid(gpu, part)),
            gi=part["gi"],
            ci=part.get("ci", 0),
            profile=part["profile"],
        )
        for index, part in enumerate(listed)
    )
    return replace(gpu, mig_enabled=isinstance(parts, list), instances=made)


def _mig_uuid(gpu: Gpu, part: dict[str, Any]) -> str:
    """Give a MIG device a UUID that the same partition has again."""
    name = f"{gpu.uuid} {part['gi']} {part.get('ci', 0)} {part['profile']}"
    return f"MIG-{uuid.uuid5(uuid.NAMESPACE_OID, name)}"


def _without_module(entries: Sequence[Entry]) -> list[Entry]:
    """Give what the kernel shows without the driver's module: the PCI bus, other devices."""
    kept: list[Entry] = []
    for entry in entries:
        if isinstance(entry, File) and entry.path == "/proc/devices":
            lines = [one for one in entry.data.splitlines(keepends=True) if b"nvidia" not in one]
            kept.append(replace(entry, data=b"".join(lines)))
        elif entry.path.startswith("/sys/") and not any(
            own in entry.path for own in ("/drm/", "/module/nvidia/")
        ):
            kept.append(entry)
    return kept
