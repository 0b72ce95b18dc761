# SPDX-License-Identifier: Apache-2.0
"""Where containerd's configuration is, by the kind of installation, and what is in it."""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from gpubind.errors import UsageError
from gpubind_ctl.engine import block, engine, tomltext, unit
from gpubind_ctl.engine.containerd import model
from gpubind_ctl.engine.engine import File, Service, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpubind_ctl.engine.containerd.model import Layer
    from gpubind_ctl.engine.engine import Host, Wants

STANDARD = "standard"
SHARED = "(shared)"
"""The block with what all runtimes of ours need; no runtime can have this name."""
IN_PLACE, DROP_IN, TEMPLATE, PATCH = "in-place", "drop-in", "template", "patch"
_VERSION = re.compile(r"\bv?(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Target):
    """A target, and in what way it is edited.

    `way`: IN_PLACE, the file that has the CRI plugin's table; DROP_IN, a file that `main` imports;
    TEMPLATE, the text that `rendered` is made of at the next start; PATCH, a file that is merged
    into `main` then. `pattern` is what `main` must import for the drop-in, if it does not yet.
    """

    layout: str = STANDARD
    way: str = IN_PLACE
    drop_in: str = ""
    pattern: str = ""
    rendered: str = ""
    default: str = ""

    def major(self) -> int:
        """Give containerd's major release, 0 where unknown."""
        return self.version[0] if self.version else 0

    def text(self, path: str, name: str = "") -> str:
        """Give a file's text, empty where absent; without the runtime of that name."""
        text = tomltext.decoded(self.data(path) or b"", path)
        if not name:
            return text
        text, _ = block.removed(text, name)
        return text if self.others(name) else block.removed(text, SHARED)[0]

    def others(self, name: str) -> bool:
        """Tell whether the files have runtimes of ours besides the one of that name."""
        blocks = {
            one for file in self.files for one in block.names((file.data or b"").decode("latin-1"))
        }
        return not blocks <= {name, SHARED}

    def layers(self, name: str = "") -> tuple[Layer, ...]:
        """Give the files in the daemon's order, without the blocks of that name."""
        known = {file.path: file.data for file in self.files}

        def read(path: str) -> bytes | None:
            data = known.get(path)
            return self.text(path, name).encode() if data is not None and name else data

        def names(folder: str) -> set[str]:
            start = folder.rstrip("/") + "/"
            here = [path for path, data in known.items() if data is not None]
            return {one[len(start) :].split("/")[0] for one in here if one.startswith(start)}

        start = self.rendered or self.main
        merged = model.layers(start, read, names, self.major())
        if self.way == PATCH and known.get(self.drop_in) is not None:
            text = self.text(self.drop_in, name)
            merged += (model.Layer(self.drop_in, text, tomltext.parsed(text, self.drop_in)),)
        return merged


def layouts() -> list[dict[str, Any]]:
    """Give the kinds of installations that are known, the most particular first."""
    text = resources.files(__package__).joinpath("layouts.json").read_text(encoding="utf-8")
    table: list[dict[str, Any]] = json.loads(text)
    return table


def chosen(wants: Wants, host: Host) -> Mapping[str, Any]:
    """Give the layout of this host, or the one that is asked for.

    Raises ToolkitError where several are there: it would be a guess which one is meant.
    """
    table = {one["name"]: one for one in layouts()}
    if wants.layout:
        if wants.layout not in table:
            message = f"--layout {wants.layout}: there is no such layout"
            raise UsageError(message, identifier="USE-LAYOUT", hint=f"use {', '.join(table)}")
        return table[wants.layout]
    if wants.config:
        named = [one for one in table.values() if wants.config in _paths(one)]
        return named[0] if named else table[STANDARD]
    there = [
        one
        for one in table.values()
        if any(host.read(one[key]) is not None for key in ("rendered", "main") if key in one)
    ]
    if len(there) > 1:
        names = " and ".join(str(one["name"]) for one in there)
        message = f"this host has containerd as of {names}"
        raise engine.refused(message, f"say which is meant: --layout {there[0]['name']}")
    return there[0] if there else table[STANDARD]


def _paths(layout: Mapping[str, Any]) -> list[str]:
    given = [layout.get("main"), layout.get("rendered"), *layout.get("templates", {}).values()]
    return [path for path in given if path]


def release(wants: Wants, host: Host, program: str) -> tuple[int, ...]:
    """Give the installed containerd's version, empty where it does not tell."""
    match = _VERSION.search(host.output(wants.executable or program, "--version"))
    return tuple(int(part) for part in match.groups()) if match else ()


def _unit(layout: Mapping[str, Any], host: Host) -> str:
    """Give the unit that starts containerd where that is not containerd's own."""
    if layout["name"] == STANDARD:
        return ""
    return str(next((one for one in layout["units"] if host.unit(one)), layout["units"][0]))


def find(wants: Wants, host: Host, service: Service) -> Found:
    """Give the files containerd loads. Raises ToolkitError where that is doubtful."""
    layout = chosen(wants, host)
    if "templates" in layout:
        return _template(wants, host, layout)
    if layout["name"] == "k0s" and not wants.config:
        return _k0s(wants, host, layout)
    running = host.running(service) if layout["name"] == STANDARD else None
    argv = running.argv if running else host.unit(layout["units"][0])
    loaded = unit.flag(argv, "--config", "-config", "-c")
    program = argv[0] if running else layout["program"]
    version = release(wants, host, program)
    if layout["name"] != STANDARD:
        return _plain(wants, host, layout, layout["main"], argv, version, layout["about"])
    default, how = _default(host, layout)
    main = wants.config or loaded or default
    notes = []
    if loaded:
        how = f"the {'running containerd' if running else 'unit of containerd'} names it"
    if wants.config:
        how = "named on the command line"
        if argv and wants.config != (loaded or default):
            notes.append(f"warning: containerd loads {loaded or default}, not {wants.config}")
    return _plain(wants, host, layout, main, argv, version, how, notes)


def _default(host: Host, layout: Mapping[str, Any]) -> tuple[str, str]:
    if host.uid:
        home = host.env.get("XDG_CONFIG_HOME") or f"{host.env.get('HOME', '')}/.config"
        return f"{home}/containerd/config.toml", "rootless containerd reads it"
    return layout["main"], "containerd reads it by default"


def _plain(
    wants: Wants,
    host: Host,
    layout: Mapping[str, Any],
    main: str,
    argv: tuple[str, ...],
    version: tuple[int, ...],
    how: str,
    notes: Sequence[str] = (),
) -> Found:
    """Give a file that is edited itself, or gets a drop-in where containerd is 2.x."""
    major = version[0] if version else 0
    given = model.layers(main, host.read, host.names, major)
    number = model.version(given)
    files = [File(layer.path, host.read(layer.path)) for layer in given] or [File(main, None)]
    notes = list(notes)
    own = wants.drop_in or _beside(main, layout)
    way = IN_PLACE
    if wants.drop_in is not None and own and (major >= 2 or number >= 3) and number != 1:
        way = DROP_IN
    elif wants.drop_in:
        notes.append(
            f"containerd {'1.x' if major else 'of unknown release'} may replace a plugin's whole "
            f"table by that of an import: {main} is edited itself"
        )
    pattern = ""
    if way == DROP_IN:
        pattern = _pattern(own, host)
        if own not in [file.path for file in files]:
            files.append(File(own, host.read(own)))
    return Found(
        main=main,
        files=tuple(files),
        how=how,
        version=version,
        argv=argv,
        notes=tuple(notes),
        layout=layout["name"],
        unit=_unit(layout, host),
        way=way,
        drop_in=own if way == DROP_IN else "",
        pattern=pattern,
    )


def _beside(main: str, layout: Mapping[str, Any]) -> str:
    """Give the drop-in for a main file: the layout's, else in conf.d beside it."""
    if "drop_in" not in layout:
        return ""
    if main == layout["main"]:
        return str(layout["drop_in"])
    folder, name = posixpath.dirname(main), posixpath.basename(layout["drop_in"])
    return f"{folder}/conf.d/{name}"


def _pattern(own: str, host: Host) -> str:
    """Give a pattern that brings the drop-in, and nothing else, into the configuration."""
    folder, name = posixpath.split(own)
    others = [one for one in host.names(folder) if one.endswith(".toml") and one != name]
    return f"{folder}/{posixpath.splitext(name)[0]}*.toml" if others else f"{folder}/*.toml"


def _template(wants: Wants, host: Host, layout: Mapping[str, Any]) -> Found:
    """Give the template that k3s or RKE2 renders, or the folder its result imports."""
    rendered = layout["rendered"]
    given = model.layers(rendered, host.read, host.names, 2)
    if not given:
        message = f"{rendered}: is not there, so the version of its template is not known"
        raise engine.refused(message, f"start {layout['name']} once, then run this again")
    number = model.version(given)
    files = [File(layer.path, host.read(layer.path)) for layer in given]
    own = wants.drop_in or f"{layout['folder']}/99-nvidia.toml"
    imports = given[0].document.get("imports", [])
    matched = any(model.matches(one, own) for one in imports)
    version = release(wants, host, layout["program"])
    shared: dict[str, Any] = {
        "how": layout["about"],
        "layout": layout["name"],
        "version": version,
        "unit": _unit(layout, host),
    }
    if number >= 3 and matched and wants.drop_in is not None:
        if own not in [file.path for file in files]:
            files.append(File(own, host.read(own)))
        return Found(main=rendered, files=tuple(files), way=DROP_IN, drop_in=own, **shared)
    main = layout["templates"]["3" if number >= 3 else "2"]
    files.append(File(main, host.read(main)))
    return Found(
        main=main,
        files=tuple(files),
        way=TEMPLATE,
        rendered=rendered,
        default=layout["default"],
        **shared,
    )


def _k0s(wants: Wants, host: Host, layout: Mapping[str, Any]) -> Found:
    """Give the drop-in k0s merges, or its file itself where the operator has taken it over."""
    main, own = layout["main"], wants.drop_in or layout["drop_in"]
    version = release(wants, host, layout["program"])
    data = host.read(main)
    text = tomltext.decoded(data or b"", main)
    if data is not None and layout["managed"] not in text:
        how = f"{main} is no longer k0s's own"
        return _plain(wants, host, layout, main, (), version, how)
    base = layout["merged"] if host.read(layout["merged"]) is not None else main
    return Found(
        main=base,
        files=(File(base, host.read(base)), File(own, host.read(own))),
        how=layout["about"],
        version=version,
        layout=layout["name"],
        unit=_unit(layout, host),
        way=PATCH,
        drop_in=own,
    )
