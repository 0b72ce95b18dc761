# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi explain`: who provides a device, who does not and why, and what it brings."""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from gpubind import config, registry
from gpubind.errors import UsageError, printable
from gpubind_ctl import engine_versions, options, settings
from gpubind_ctl.answer import Answer
from gpubind_ctl.check import beside, folders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpubind_ctl.check.folders import Entry, Survey
    from gpubind_ctl.engine_versions import Engine

SIMILAR = 5


@click.command()
@click.argument("name")
@click.option(
    "--engine",
    default="",
    metavar="NAME[@VERSION]",
    help="Whether this engine finds it; by default all that are installed are told.",
)
@options.spec_dirs
@options.config_file
@options.as_json
def command(
    *, name: str, engine: str, spec_dir: tuple[str, ...], config_file: str, as_json: bool
) -> Answer:
    """Explain a CDI device: its file, the files ignored and why, and what it brings.

    Exit status: 1 where it can't be used, by the engine that is named if one is.
    """
    known, _ = settings.read(config_file)
    (wanted,) = registry.qualified([name], known)
    engines = [_engine(engine)] if engine else engine_versions.installed()
    survey = folders.survey(spec_dir or known.texts(config.SPEC_DIRS))
    told = _told(wanted, survey)
    told["engines"] = [_seen_by(one, wanted, survey, pinned=bool(spec_dir)) for one in engines]
    finds = told["engines"][0]["file"] if engine else told["file"]
    status = 0 if finds else 1
    if as_json:
        return Answer(text=json.dumps(told, indent=2) + "\n", status=status)
    return Answer(text="".join(f"{printable(line)}\n" for line in _lines(told)), status=status)


def _engine(word: str) -> Engine:
    name, _, release = word.partition("@")
    if name not in engine_versions.table():
        there = ", ".join(engine_versions.table())
        raise UsageError(f"no engine {name!r}", identifier="USE-ENGINE", hint=f"there are: {there}")
    if release:
        if not engine_versions.NUMBER.fullmatch(release):
            raise UsageError(
                f"{release!r} is no release", identifier="USE-ENGINE", hint="such as podman@4.3"
            )
        return engine_versions.known(name, name, release)
    here = (one for one in engine_versions.installed() if one.name == name)
    return next(here, None) or engine_versions.known(name, name, "")


def _told(wanted: str, survey: Survey) -> dict[str, Any]:
    """Give all that the spec directories say about a device."""
    served, conflicts = survey.served()
    entry = served.get(wanted)
    hidden = [one for one in survey.givers().get(wanted, ()) if one is not entry]
    why = dict.fromkeys(conflicts.get(wanted, ()), "in conflict: another file gives it too")
    ignored = [
        {"file": one.path, "why": why.get(one.path, "hidden by a folder that comes later")}
        for one in hidden
    ]
    ignored += [{"file": one.path, "why": one.why} for one in survey.entries if one.why]
    names = list(survey.givers())
    return {
        "name": wanted,
        "file": entry.path if entry else None,
        "cdiVersion": entry.spec.cdi_version if entry and entry.spec else None,
        "ignored": ignored,
        "edits": _edits(entry, wanted) if entry else None,
        "similar": [] if wanted in names else difflib.get_close_matches(wanted, names, SIMILAR),
    }


def _edits(entry: Entry, wanted: str) -> dict[str, Any]:
    """Give what a device brings, the edits of all devices of its file first."""
    if entry.spec is None:
        return {}
    device = next(one for one in entry.spec.devices if one.name == wanted.partition("=")[2])
    parts = (entry.spec.container_edits.document(), device.container_edits.document())
    return {
        name: [*_list(parts[0].get(name)), *_list(parts[1].get(name))]
        for name in dict.fromkeys([*parts[0], *parts[1]])
    }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _seen_by(engine: Engine, wanted: str, survey: Survey, *, pinned: bool) -> dict[str, Any]:
    """Give what an engine makes of a device; with `pinned` it is said to look where we do."""
    places = survey.folders if pinned else engine.folders
    seen = survey if places == survey.folders else folders.survey(places)
    new = [one for one, spec in seen.specs if beside.is_newer(spec, engine)]
    read = replace(seen, entries=tuple(one for one in seen.entries if one not in new))
    entry = read.served()[0].get(wanted) if engine.reads else None
    return {
        "engine": str(engine),
        "folders": list(places),
        "reads": engine.reads or None,
        "source": engine.source,
        "note": engine.note,
        "file": entry.path if entry else None,
        "why": "" if entry else _why_not(engine, wanted, read, new),
    }


def _why_not(engine: Engine, wanted: str, read: Survey, new: Sequence[Entry]) -> str:
    if not engine.reads:
        return "it reads no CDI specs"
    files = read.served()[1].get(wanted)
    if files:
        return f"{' and '.join(files)} are in conflict"
    kind, _, device = wanted.partition("=")
    for entry in new:
        spec = entry.spec
        if spec and spec.kind == kind and any(one.name == device for one in spec.devices):
            return f"{entry.path} is CDI {spec.cdi_version}, it reads {engine.reads} at most"
    return "no file it reads gives it"


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    if told["file"]:
        yield f"{told['name']}: given by {told['file']}, CDI {told['cdiVersion']}"
    else:
        similar = f"; similar: {', '.join(told['similar'])}" if told["similar"] else ""
        yield f"{told['name']}: no file gives it{similar}"
    for one in told["ignored"]:
        yield f"  ignored   {one['file']}: {one['why']}"
    for one in told["engines"]:
        limit = f"CDI up to {one['reads']} ({one['source']})" if one["reads"] else "no CDI"
        finds = f"finds it in {one['file']}" if one["file"] else f"does not find it: {one['why']}"
        note = f"; {one['note']}" if one["note"] else ""
        yield f"  engine    {one['engine']}, {limit}, {', '.join(one['folders'])}: {finds}{note}"
    for part, items in (told["edits"] or {}).items():
        for item in items:
            yield f"  {part}: {_item(item)}"


def _item(item: Any) -> str:
    """Give an edit on one line: what is in the container, and what it is on the host."""
    if not isinstance(item, dict):
        return str(item)
    if "containerPath" in item:
        return f"{item['containerPath']} (host: {item['hostPath']})"
    if "hookName" in item:
        return f"{item['hookName']} {' '.join([item['path'], *item.get('args', [])[1:]])}"
    if "path" in item:
        number = f" {item['major']}:{item.get('minor', 0)}" if item.get("major") else ""
        return f"{item['path']}{number} (host: {item.get('hostPath') or item['path']})"
    return json.dumps(item)
