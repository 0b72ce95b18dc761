# SPDX-License-Identifier: Apache-2.0
"""Where containerd's configuration is: the file it really loads, by the kind of installation."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import engine, tomltext, unit
from gpubind_ctl.engine.containerd import layouts, model
from gpubind_ctl.engine.containerd.found import DROP_IN, PATCH, TEMPLATE, Found
from gpubind_ctl.engine.containerd.layouts import STANDARD
from gpubind_ctl.engine.engine import File

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubind_ctl.engine.engine import Host, Service, Wants

_VERSION = re.compile(r"\bv?(\d+)\.(\d+)\.(\d+)")


def find(wants: Wants, host: Host, service: Service) -> Found:
    """Give the files containerd loads. Raises ToolkitError where that is doubtful."""
    layout = layouts.chosen(wants, host)
    begun = Found(
        main=layout.get("main", ""),
        files=(),
        how=layout["about"],
        version=_release(wants, host, layout["program"]),
        layout=layout["name"],
        unit=layouts.unit(layout, host),
    )
    if layout["name"] == STANDARD:
        return _standard(wants, host, layout, begun, service)
    if "templates" in layout:
        return _template(wants, host, layout, begun)
    if "managed" in layout:
        return _k0s(wants, host, layout, begun)
    return _plain(wants, host, layout, begun)


def _standard(
    wants: Wants, host: Host, layout: Mapping[str, Any], begun: Found, service: Service
) -> Found:
    """Give the file that is named, else that of the daemon's command line, else the default."""
    running = host.running(service)
    argv = running.argv if running else host.unit(layout["units"][0])
    main, how = begun.main, "containerd reads it by default"
    if host.uid:
        home = host.env.get("XDG_CONFIG_HOME") or f"{host.env.get('HOME', '')}/.config"
        main, how = f"{home}/containerd/config.toml", "rootless containerd reads it"
    if loaded := unit.flag(argv, "--config", "-config", "-c"):
        named = "running containerd" if running else "unit of containerd"
        main, how = loaded, f"the {named} names it"
    notes: tuple[str, ...] = ()
    if wants.config:
        if argv and wants.config != main:
            notes = (f"warning: containerd loads {main}, not {wants.config}",)
        main, how = wants.config, "named on the command line"
    version = _release(wants, host, argv[0]) if running else begun.version
    found = replace(begun, main=main, how=how, argv=argv, notes=notes, version=version)
    return _plain(wants, host, layout, found)


def _plain(wants: Wants, host: Host, layout: Mapping[str, Any], begun: Found) -> Found:
    """Give a file that is edited itself, or gets a drop-in where containerd is 2.x."""
    main, major = begun.main, begun.major()
    given = model.layers(main, host.read, host.names, major)
    number = model.version(given)
    files = [File(layer.path, host.read(layer.path)) for layer in given] or [File(main, None)]
    plain = replace(begun, files=tuple(files))
    own = wants.drop_in or layouts.drop_in(layout, main)
    if wants.drop_in is not None and own and (major >= 2 or number >= 3) and number != 1:
        there = own in [file.path for file in files]
        files += [] if there else [File(own, host.read(own))]
        pattern = _pattern(own, host)
        return replace(plain, files=tuple(files), way=DROP_IN, drop_in=own, pattern=pattern)
    if not wants.drop_in:
        return plain
    known = "1.x" if major else "of unknown release"
    note = (
        f"containerd {known} may replace a plugin's whole table by that of an import: {main} is "
        "edited itself"
    )
    return replace(plain, notes=(*begun.notes, note))


def _pattern(own: str, host: Host) -> str:
    """Give a pattern that brings the drop-in, and nothing else, into the configuration."""
    folder, name = posixpath.split(own)
    others = [one for one in host.names(folder) if one.endswith(".toml") and one != name]
    return f"{folder}/{posixpath.splitext(name)[0]}*.toml" if others else f"{folder}/*.toml"


def _template(wants: Wants, host: Host, layout: Mapping[str, Any], begun: Found) -> Found:
    """Give the template that k3s or RKE2 renders, or the folder its result imports."""
    rendered = layout["rendered"]
    given = model.layers(rendered, host.read, host.names, 2)
    if not given:
        message = f"{rendered}: is not there, so the version of its template is not known"
        raise engine.refused(message, f"start {layout['name']} once, then run this again")
    number = model.version(given)
    files = [File(layer.path, host.read(layer.path)) for layer in given]
    own = wants.drop_in or f"{layout['folder']}/99-nvidia.toml"
    imported = any(model.matches(one, own) for one in given[0].document.get("imports", []))
    if number >= 3 and imported and wants.drop_in is not None:
        there = own in [file.path for file in files]
        files += [] if there else [File(own, host.read(own))]
        return replace(begun, main=rendered, files=tuple(files), way=DROP_IN, drop_in=own)
    main = layout["templates"]["3" if number >= 3 else "2"]
    note = f"{rendered} does not import {own}: {main} is edited instead"
    return replace(
        begun,
        notes=(note,) if wants.drop_in else (),
        main=main,
        files=(*files, File(main, host.read(main))),
        way=TEMPLATE,
        rendered=rendered,
        default=layout["default"],
    )


def _k0s(wants: Wants, host: Host, layout: Mapping[str, Any], begun: Found) -> Found:
    """Give the drop-in k0s merges, or its file itself where the operator has taken it over."""
    main, own = begun.main, wants.drop_in or layout["drop_in"]
    data = host.read(main)
    if data is not None and layout["managed"] not in tomltext.decoded(data, main):
        return _plain(wants, host, layout, replace(begun, how=f"{main} is no longer k0s's own"))
    base = layout["merged"] if host.read(layout["merged"]) is not None else main
    files = (File(base, host.read(base)), File(own, host.read(own)))
    return replace(begun, main=base, files=files, way=PATCH, drop_in=own)


def _release(wants: Wants, host: Host, program: str) -> tuple[int, ...]:
    """Give the installed containerd's version, empty where it does not tell."""
    match = _VERSION.search(host.output(wants.executable or program, "--version"))
    return tuple(int(part) for part in match.groups()) if match else ()
