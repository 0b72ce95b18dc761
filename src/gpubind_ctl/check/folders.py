# SPDX-License-Identifier: Apache-2.0
"""Everything that lies in spec directories: specs, and what is ignored with the reason."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubind_cdi import compile as compiler
from gpubind_cdi import document, names, sources, validate
from gpubind_cdi.model import Spec

from gpubind.errors import DocumentError
from gpubind_ctl.check.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from gpubind_cdi.sources import Source

MANY = 100_000  # entries of one folder that are looked at
READABLE = 0o004
LIKE_SPECS = (".yml", ".yaml~", ".yaml.bak", ".json.bak")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A spec directory or an entry of one; `spec` is None where it gives no devices, see `why`.

    `kind` says which: "folder", "refused" (its owner, mode or type), "invalid", "other" (no name of
    a spec), or "spec". `loaded` is the document as loaded, `data` its bytes.
    """

    path: str
    folder: str
    priority: int
    kind: str
    why: str = ""
    spec: Spec | None = None
    loaded: Any = None
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All entries of the spec directories `folders`, which are in ascending priority."""

    folders: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def specs(self) -> list[tuple[Entry, Spec]]:
        """The entries that are specs, with them."""
        return [(entry, entry.spec) for entry in self.entries if entry.spec is not None]

    def givers(self) -> dict[str, list[Entry]]:
        """Give the entries that describe each device, by qualified name, in ascending priority."""
        found: dict[str, list[Entry]] = {}
        for entry, spec in self.specs:
            for device in spec.devices:
                found.setdefault(names.qualified(spec.kind, device.name), []).append(entry)
        return found

    def served(self) -> tuple[dict[str, Entry], dict[str, list[str]]]:
        """Give who serves each device, and the files of each that nobody serves by conflict."""
        specs = self.specs
        plain: list[Mapping[str, Any]] = [
            {
                "path": entry.path,
                "priority": entry.priority,
                "kind": spec.kind,
                "devices": [device.name for device in spec.devices],
            }
            for entry, spec in specs
        ]
        devices, conflicts = compiler.resolved(plain)
        return {name: specs[index][0] for name, index in devices.items()}, conflicts


def survey(folders: Sequence[str], owners: Collection[int] | None = None) -> Survey:
    """Look at everything in `folders`. Nothing in there makes this fail or wait."""
    known = sources.default_owners() if owners is None else owners
    return Survey(
        folders=tuple(folders),
        entries=tuple(
            entry
            for priority, folder in enumerate(folders)
            for entry in _entries(folder, priority, known)
        ),
    )


def _entries(folder: str, priority: int, owners: Collection[int]) -> Iterator[Entry]:
    for source in sources.specs(folder, owners):
        if source.path != folder:
            yield _entry(source, folder, priority)
            continue
        why = source.fault or ("" if source.stamp else "there is no such folder")
        yield Entry(path=folder, folder=folder, priority=priority, kind="folder", why=why)
        if not why:
            yield from _others(folder, priority)


def _entry(source: Source, folder: str, priority: int) -> Entry:
    about: dict[str, Any] = {"path": source.path, "folder": folder, "priority": priority}
    if source.fault or source.stamp is None:
        return Entry(**about, kind="refused", why=source.fault or "it has just gone")
    try:
        loaded = document.load(source.data, source.path)
        spec = Spec.parse(loaded)
        validate.check(spec)
    except DocumentError as error:
        place = f" at {error.path}" if error.path else ""
        return Entry(**about, kind="invalid", why=f"{error.message}{place}")
    return Entry(**about, kind="spec", spec=spec, loaded=loaded, data=source.data)


def _others(folder: str, priority: int) -> Iterator[Entry]:
    """Give what lies beside the specs, without following anything."""
    with os.scandir(folder) as listed:
        found = sorted(
            (one.name, one.is_dir(follow_symlinks=False))
            for one, _ in zip(listed, range(MANY), strict=False)
            if not one.name.endswith(sources.ENDINGS)
        )
    for name, is_folder in found:
        why = "a folder: what is inside is not read" if is_folder else "not named *.json or *.yaml"
        path = f"{folder}/{name}"
        yield Entry(path=path, folder=folder, priority=priority, kind="other", why=why)


def findings(known: Survey) -> Iterator[Finding]:
    """Give what is wrong with the files themselves."""
    for entry in known.entries:
        if entry.why and (entry.kind != "folder" or os.path.lexists(entry.path)):
            yield from _ignored(entry)
        elif not entry.why:
            yield from _closed(entry.path)


def clashes(known: Survey) -> Iterator[Finding]:
    """Give the devices that no file serves because two do, and those another folder hides."""
    served, conflicts = known.served()
    for name, files in conflicts.items():
        for file in files:
            others = " and ".join(one for one in files if one != file)
            yield Finding(
                identifier="CDI-CONFLICT",
                file=file,
                devices=(name.partition("=")[2],),
                message=f"also in {others}, which no engine can choose between: unusable",
                hint="remove one of the files",
            )
    for name, entries in known.givers().items():
        highest = max(entry.priority for entry in entries)
        winner = served[name].path if name in served else entries[-1].path
        for entry in entries:
            if entry.priority < highest:
                yield Finding(
                    identifier="CDI-SHADOWED",
                    file=entry.path,
                    devices=(name.partition("=")[2],),
                    message=f"hidden by {winner}, whose folder comes later",
                    hint="remove one of the files",
                )


def _ignored(entry: Entry) -> Iterator[Finding]:
    if entry.kind == "other":
        if entry.path.endswith(LIKE_SPECS):
            hint = "name it *.yaml or *.json, or remove it"
            yield _file(entry.path, "CDI-FILE", f"ignored: {entry.why}", hint)
    elif entry.kind == "invalid":
        hint = "'gpubind cdi validate' names all faults; mend it or generate it again"
        yield _file(entry.path, "CDI-INVALID", f"ignored: {entry.why}", hint)
    else:
        yield _file(
            entry.path, "CDI-FILE", entry.why, "give it to root with mode 0644, 0755 for a folder"
        )


def _closed(path: str) -> Iterator[Finding]:
    try:
        status = os.stat(path)
    except OSError:
        return
    wanted = 0o005 if stat.S_ISDIR(status.st_mode) else READABLE
    if status.st_uid == 0 and status.st_mode & wanted != wanted:
        mode = stat.S_IMODE(status.st_mode)
        yield _file(
            path, "CDI-FILE", f"mode {mode:04o}: rootless engines can't read it", "chmod go+rX"
        )


def _file(path: str, identifier: str, message: str, hint: str) -> Finding:
    return Finding(identifier=identifier, file=path, message=message, hint=hint)
