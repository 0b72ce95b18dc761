# SPDX-License-Identifier: Apache-2.0
"""CRI-O: a drop-in in crio.conf.d, or crio.conf itself where no drop-in is wanted.

CRI-O reads crio.conf, then every file below crio.conf.d in the order of their names, whatever they
end in, and takes a runtime's whole table from the last file that has it: crio.conf.d(5), and
UpdateFromPath in CRI-O's pkg/config. So nothing but a finished file may ever lie in that folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import block, engine, ocihook, tomledit, tomltext, unit
from gpubind_ctl.engine.engine import Edit, File, Service, Setting, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpubind_ctl.engine.engine import Former, Host, Wants

MAIN = "/etc/crio/crio.conf"
FOLDER = "/etc/crio/crio.conf.d"
DROP_IN = "99-nvidia.toml"
KNOWS_CDI = (1, 23)
RUNTIME = ("crio", "runtime")
DEFAULT = "default_runtime"
STOCK = ("runc", "crun")
FOREIGN = ("inherit_default_runtime", "platform_runtime_paths", "runtime_config_path")
"""Options that would have CRI-O start another program than ours; they are not inherited."""
_VERSION = re.compile(r"\b(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Target):
    """A target, with the file that gets our runtime, the folder of the drop-ins, old hook files."""

    own: str
    folder: str
    hooks: tuple[File, ...] = ()


class Crio:
    """The configurator of CRI-O."""

    name = "crio"
    service = Service(
        unit="crio.service",
        program="crio",
        sockets=("/run/crio/crio.sock", "/var/run/crio/crio.sock"),
        why="it reads its runtimes only when it starts",
    )

    def find(self, wants: Wants, host: Host) -> Target:
        """Give crio.conf and its drop-ins, where the running crio or its unit has them."""
        engine.check_absolute(wants)
        running = host.running(self.service)
        argv = running.argv if running else host.unit(self.service.unit)
        named = unit.flag(argv, "--config", "-c")
        folder = unit.flag(argv, "--config-dir", "-d") or FOLDER
        main = wants.config or named or MAIN
        own = main if wants.drop_in is None else wants.drop_in or f"{folder}/{DROP_IN}"
        paths = [main, *_below(folder, host)]
        paths += [own] if own not in paths else []
        if wants.drop_in and not own.startswith(f"{folder}/"):
            message = f"{own}: CRI-O reads no drop-in outside of {folder}"
            raise engine.refused(message, "name one there, or none with --drop-in-config ''")
        notes = []
        if wants.config and argv and main != (named or MAIN):
            notes.append(f"warning: crio loads {named or MAIN}, not {main}")
        match = _VERSION.search(host.output(wants.executable or "crio", "--version"))
        how = "the command line of crio names it" if named else "crio reads it by default"
        target = Found(
            main=main,
            files=tuple(File(path, host.read(path)) for path in paths),
            how="named on the command line" if wants.config else how,
            version=tuple(int(part) for part in match.groups()) if match else (),
            argv=argv,
            notes=tuple(notes),
            own=own,
            folder=folder,
        )
        return replace(target, hooks=ocihook.found(_merged(target), host))

    def notes(self, target: Target, wants: Wants) -> tuple[str, ...]:
        """Tell of files in the folder that look like no drop-in, of CDI, and of the default."""
        here = _found(target)
        notes = ocihook.notes(here.hooks, self.name, wants)
        notes += [
            f"warning: CRI-O reads {file.path} too, whatever it ends in"
            for file in here.files
            if file.path.startswith(f"{here.folder}/")
            and file.data is not None
            and (not file.path.endswith((".conf", ".toml")) or "/." in file.path)
        ]
        if wants.cdi is not None:
            notes.append("warning: CRI-O has no switch for CDI; 1.23 and later have it on")
        former = _default(_merged(here, wants.name))
        if wants.default and former not in (wants.name, "", *STOCK):
            notes.append(f"warning: the default runtime was {former}; unconfigure gives it back")
        if wants.default:
            notes.append(
                "warning: as the default runtime it gives GPUs to every container whose image asks"
            )
        return tuple(notes)

    def former(self, target: Target, wants: Wants) -> Former:
        """Give the default runtime and our runtime's program as they are."""
        here = _found(target)
        merged = _merged(here)
        program = tomltext.value(merged, ("runtimes", wants.name, "runtime_path"))
        before: Former = {"default": merged.get(DEFAULT), "path": program}
        if wants.sweep:
            before |= ocihook.former(here.hooks)
        if here.data(here.own) is None:
            before[engine.CREATED] = True
        return before

    def edit(self, target: Target, wants: Wants) -> tuple[Edit, ...]:
        """Give the drop-in, or crio.conf, with our runtime."""
        here = _found(target)
        text = f"{block.MADE}\n" if here.data(here.own) is None else _without(here, wants.name)
        document = tomltext.parsed(text, here.own)
        merged = _merged(here, wants.name)
        place = (*RUNTIME, "runtimes", wants.name)
        keys: dict[tuple[str, ...], Any] = {}
        tables: dict[tuple[str, ...], dict[str, Any]] = {}
        if tomltext.value(document, place):
            keys = {(*place, "runtime_path"): wants.path}
        else:
            tables = {place: _table(merged, wants)}
        if _is_default(here, merged, wants):
            keys[(*RUNTIME, DEFAULT)] = wants.name
        change = tomledit.Change(keys=keys, tables=tables)
        new = tomledit.done(text, change, wants.name, here.own)
        data = here.data(here.own)
        edits = ocihook.swept(here.hooks) if wants.sweep else []
        if data is not None and tomltext.parsed(new, here.own) == _document(here.own, data):
            return tuple(edits)
        after = tomltext.encoded(new, data)
        return (Edit(here.own, data, after, scratch=_scratch(here, here.own)), *edits)

    def remove(self, target: Target, wants: Wants, former: Former) -> tuple[Edit, ...]:
        """Give the files without our blocks, and what they changed as it was."""
        here = _found(target)
        edits = []
        for file in here.files:
            if file.data is None:
                continue
            text = tomltext.decoded(file.data, file.path)
            after, _ = block.removed(text, wants.name)
            if after != text:
                new = None if block.left_over(after) else tomltext.encoded(after, file.data)
                edits.append(Edit(file.path, file.data, new, scratch=_scratch(here, file.path)))
        mended = _with_a_default(here, tuple(edits), wants, former)
        return (*mended, *ocihook.back(here.hooks, former))

    def prove(self, target: Target, edits: tuple[Edit, ...], wants: Wants) -> None:
        """Refuse where a later file overrides ours, or the default is no runtime."""
        after = _found(target).after(edits)
        merged = _merged(after)
        place = ("runtimes", wants.name, "runtime_path")
        if tomltext.value(merged, place) != wants.path:
            last = _last(after, (*RUNTIME, *place[:2]))
            message = f"{last} comes later and gives runtime {wants.name} another program"
            raise engine.refused(message, "remove it there, or use --drop-in-config to come later")
        default = _default(merged)
        if wants.default and default != wants.name:
            last = _last(after, (*RUNTIME, DEFAULT))
            message = f"{last} comes later and makes {default} the default runtime"
            raise engine.refused(message, "remove it there, or use --drop-in-config to come later")
        if default not in (*merged.get("runtimes", {}), "", *STOCK):
            last = _last(after, (*RUNTIME, DEFAULT))
            raise engine.refused(f"{last}: {DEFAULT} is {default!r}, which is no runtime")

    def read(self, target: Target) -> Setting:
        """Give the runtimes and the default of the merged files."""
        here = _found(target)
        merged = _merged(here)
        known = merged.get("runtimes", {})
        return Setting(
            runtimes={name: str(one.get("runtime_path", "")) for name, one in known.items()},
            default=_default(merged),
            cdi=here.version >= KNOWS_CDI if here.version else True,
            hooks=ocihook.left(here.hooks, here),
        )


def _without(target: Found, name: str) -> str:
    """Give the text of the file that gets our runtime, without the block of that name."""
    text = tomltext.decoded(target.data(target.own) or b"", target.own)
    return block.removed(text, name)[0]


def _with_a_default(
    target: Found, edits: tuple[Edit, ...], wants: Wants, former: Former
) -> tuple[Edit, ...]:
    """Give the edits, and another default where somebody made ours the default by hand."""
    after = target.after(edits)
    merged = _merged(after)
    if not edits or _default(merged) != wants.name or wants.name in merged["runtimes"]:
        return edits
    path = _last(after, (*RUNTIME, DEFAULT))
    text = tomltext.decoded(after.data(path) or b"", path)
    new = tomltext.assigned(text, (*RUNTIME, DEFAULT), former.get("default") or STOCK[0])
    if new is None:
        message = f"{DEFAULT} is {wants.name!r}, which goes"
        raise tomltext.at(path, text, (*RUNTIME, DEFAULT), message, "name another one first")
    before = target.data(path)
    mended = Edit(path, before, tomltext.encoded(new, before), scratch=_scratch(target, path))
    return (mended, *(edit for edit in edits if edit.path != path))


def _found(target: Target) -> Found:
    assert isinstance(target, Found)  # noqa: S101 - what our own `find` gave
    return target


def _below(folder: str, host: Host) -> Iterator[str]:
    """Give the files below a folder in the order of Go's filepath.Walk."""
    for name in host.names(folder):
        path = f"{folder}/{name}"
        inner = [*_below(path, host)]
        yield from inner or [path]


def _document(path: str, data: bytes) -> dict[str, Any]:
    return tomltext.parsed(tomltext.decoded(data, path), path)


def _layers(target: Found, name: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give path, text and document of each file in CRI-O's order, without blocks of a name."""
    below = sorted(
        (one for one in target.files if one.path.startswith(f"{target.folder}/")),
        key=lambda one: one.path.split("/"),
    )
    for file in [one for one in target.files if one.path == target.main] + below:
        if file.data is not None:
            text = tomltext.decoded(file.data, file.path)
            text = block.removed(text, name)[0] if name else text
            yield file.path, text, tomltext.parsed(text, file.path)


def _merged(target: Found, name: str = "") -> dict[str, Any]:
    """Give `crio.runtime` as CRI-O merges it. Raises ToolkitError naming file and line."""
    merged: dict[str, Any] = {"runtimes": {}}
    for path, text, document in _layers(target, name):
        table = tomltext.table(document, RUNTIME, path, text)
        runtimes = tomltext.table(document, (*RUNTIME, "runtimes"), path, text)
        for one in runtimes:
            tomltext.table(document, (*RUNTIME, "runtimes", one), path, text)
        tomltext.check_texts(table.get("hooks_dir", []), (*RUNTIME, "hooks_dir"), path, text)
        if not isinstance(table.get(DEFAULT, ""), str):
            message = f"{DEFAULT} is {tomltext.kind_of(table[DEFAULT])}, not a text"
            raise tomltext.at(path, text, (*RUNTIME, DEFAULT), message)
        merged = {**merged, **table, "runtimes": {**merged["runtimes"], **runtimes}}
    return merged


def _default(merged: Mapping[str, Any]) -> str:
    """Give the default runtime's name, empty where CRI-O's own holds."""
    found = merged.get(DEFAULT, "")
    return found if isinstance(found, str) else ""


def _table(merged: Mapping[str, Any], wants: Wants) -> dict[str, Any]:
    """Give the table for our runtime: the default one's options and our program."""
    inherited: dict[str, Any] = {}
    for name in (_default(merged), *STOCK):
        table = merged["runtimes"].get(name)
        if name != wants.name and table and table.get("runtime_type", "oci") in ("", "oci"):
            program = str(table.get("runtime_path", "")).rpartition("/")[2]
            if program not in engine.PROGRAMS:
                inherited = table
                break
    kept = {key: value for key, value in inherited.items() if key not in FOREIGN}
    return {**kept, "runtime_path": wants.path, "runtime_type": "oci"}


def _is_default(target: Found, merged: Mapping[str, Any], wants: Wants) -> bool:
    """Tell whether our runtime is to be the default; not said is: as it is now."""
    if wants.default is not None:
        return wants.default
    return _default(_merged(target)) == wants.name != _default(merged)


def _last(target: Found, path: tuple[str, ...]) -> str:
    """Give the last file that has something at a path."""
    holders = [file for file, _, doc in _layers(target) if tomltext.value(doc, path) is not None]
    return holders[-1] if holders else target.own


def _scratch(target: Found, path: str) -> str:
    """Give the folder above for a drop-in: CRI-O would read a temporary file beside it."""
    inside = path.startswith(f"{target.folder}/")
    return (target.folder.rpartition("/")[0] or "/") if inside else ""
