# SPDX-License-Identifier: Apache-2.0
"""containerd: config.toml of versions 1 to 4, as distributions, k3s, RKE2, k0s, MicroK8s have it.

1.x replaces a plugin's whole table by an import's, so the file that has the CRI plugin's table is
edited in place, in a block at its end; 2.x merges, so it gets a small drop-in. What k3s renders is
edited in its template. The version is the file's and never changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import block, engine, tomltext
from gpubind_ctl.engine.containerd import change, dump, found, model, proof, runtime, search
from gpubind_ctl.engine.engine import Service, Setting

if TYPE_CHECKING:
    from gpubind_ctl.engine.containerd.found import Found
    from gpubind_ctl.engine.engine import Edit, Former, Host, Target, Wants

SPEC_DIRS = {"/etc/cdi", "/var/run/cdi", "/run/cdi"}


class Containerd:
    """The configurator of containerd."""

    name = "containerd"
    service = Service(
        unit="containerd.service",
        program="containerd",
        sockets=("/run/containerd/containerd.sock",),
        why="it reads its configuration only when it starts",
    )

    def find(self, wants: Wants, host: Host) -> Target:
        """Give the files containerd loads, by the kind of installation."""
        engine.check_absolute(wants)
        return search.find(wants, host, self.service)

    def notes(self, target: Target, wants: Wants) -> tuple[str, ...]:
        """Tell what CDI needs, what a default runtime means, and what is odd in the files."""
        here = _found(target)
        state = change.State(here, wants)
        notes = [f"warning: {one}" for one in state.findings]
        if wants.cdi and here.version and here.version[:2] < change.KNOWS_CDI:
            version = ".".join(map(str, here.version))
            notes.append(
                f"warning: containerd {version} knows no CDI, 1.7 is the first; it is left out"
            )
        elif wants.cdi and state.has_cdi():
            notes.append("CDI is on in this containerd; no key is written")
        folders = state.cri.get("cdi_spec_dirs")
        if wants.cdi and isinstance(folders, list) and not set(folders) & SPEC_DIRS:
            notes.append(f"warning: cdi_spec_dirs is {folders}; no spec of ours is found there")
        former = change.default_of(state.cri)
        if wants.default and former not in (wants.name, "runc"):
            notes.append(f"warning: the default runtime was {former}; unconfigure gives it back")
        if wants.default:
            notes.append(
                "warning: as the default runtime it gives GPUs to every container whose image asks"
            )
        for name, table in runtime.runtimes(state.cri).items():
            if here.major() < 2 and state.version < 3 and not table.get("runtime_type"):
                notes.append(f"warning: runtime {name} has no runtime_type, it starts no container")
        return tuple(notes)

    def former(self, target: Target, wants: Wants) -> Former:
        """Give the default runtime and the program of this name as they are, and what is absent."""
        here = _found(target)
        layers = here.layers()
        table = change.cri(layers, model.version(layers) or 2, 2)
        before: Former = {
            "default": runtime.section(table).get("default_runtime_name"),
            "path": _program(runtime.runtimes(table).get(wants.name, {})) or None,
        }
        if here.data(here.drop_in or here.main) is None:
            before[engine.CREATED] = True
        return before

    def edit(self, target: Target, wants: Wants) -> tuple[Edit, ...]:
        """Give the files with our runtime."""
        return change.edits(_found(target), wants)

    def remove(self, target: Target, wants: Wants, former: Former) -> tuple[Edit, ...]:
        """Give the files without our blocks, and what they changed as it was."""
        return change.removal(_found(target), wants, former)

    def prove(self, target: Target, edits: tuple[Edit, ...], wants: Wants) -> None:
        """Refuse what containerd would read otherwise than wanted."""
        proof.prove(_found(target), edits, wants)

    def check(self, target: Target, edits: tuple[Edit, ...], wants: Wants, host: Host) -> None:
        """Refuse what the installed containerd itself shows otherwise than wanted."""
        dump.check(_found(target), edits, wants, host)

    def read(self, target: Target) -> Setting:
        """Give the runtimes, the default and the CDI switch of the merged files."""
        here = _found(target)
        layers = here.layers()
        number = model.version(layers) or 2
        table = change.cri(layers, number, 1 if here.major() == 1 and not here.rendered else 2)
        known = {name: _program(one) for name, one in runtime.runtimes(table).items()}
        if here.way == found.TEMPLATE:
            known |= _in_template(here)
        return Setting(
            runtimes=known,
            default=runtime.section(table).get("default_runtime_name", ""),
            cdi=table.get(change.CDI, here.version >= change.HAS_CDI_ON if here.version else None),
            findings=model.findings(layers),
        )


def _found(target: Target) -> Found:
    assert isinstance(target, found.Found)  # noqa: S101 - what our own `find` gave
    return target


def _program(table: Any) -> str:
    program = tomltext.value(table, ("options", "BinaryName"))
    return program if isinstance(program, str) else ""


def _in_template(target: Found) -> dict[str, str]:
    """Give the runtimes of our blocks in a template, which are in force after the next start."""
    known = {}
    text = target.text(target.main)
    for name in block.names(text):
        document = tomltext.parsed(block.content(text, name), target.main)
        for plugin in document.get("plugins", {}).values():
            known[name] = _program(runtime.runtimes(plugin).get(name, {}))
    return known
