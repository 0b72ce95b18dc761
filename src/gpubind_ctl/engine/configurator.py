# SPDX-License-Identifier: Apache-2.0
"""Engines configured and given back: lock, find, edit, prove, journal, write.

Where the result is doubtful an error says so and nothing is written. The journal is written first:
a kill at any instant leaves the old files or the new ones, and a journal that fits either.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError
from gpubind_ctl import writing
from gpubind_ctl.engine import engine, files, journal
from gpubind_ctl.engine.engine import Edit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_ctl.engine.engine import Engine, Host, Target, Wants
    from gpubind_ctl.engine.journal import Image, Record

ATTEMPTS = 5  # where others write the same file at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A change as it is planned, or was made: none without edits.

    `partial`: CDI was left out. `record` is the journal before it.
    """

    target: Target
    record: Record
    edits: tuple[Edit, ...]
    notes: tuple[str, ...] = ()
    partial: bool = False


def configure(one: Engine, wants: Wants, host: Host, state: str, *, dry_run: bool = False) -> Done:
    """Give an engine our runtime. Raises ToolkitError; nothing is changed then."""
    if dry_run:
        target = one.find(wants, host)
        return _planned(one, target, wants, journal.load(state, one.name, target.main), host)
    with files.locked(state):
        for _ in range(ATTEMPTS):
            target = one.find(wants, host)
            old = _current(one, target, journal.load(state, one.name, target.main), host)
            done = _planned(one, target, wants, old, host)
            files.sweep(done.edits or (Edit(target.main, None, None),))
            if not done.edits:
                return done
            new = old.with_change(wants, one.former(target, wants), done.edits)
            if _written(done.edits, host, state, old, new):
                return done
    raise _contended(one.name)


def _planned(one: Engine, target: Target, wants: Wants, record: Record, host: Host) -> Done:
    wants = replace(wants, former=record.former(wants.name))
    edits = tuple(
        edit if edit.after is not None else replace(edit, status=writing.status(edit.path))
        for edit in one.edit(target, wants)
        if edit.before != edit.after
    )
    one.prove(target, edits, wants)
    if isinstance(one, engine.Checked):
        one.check(target, edits, wants, host)
    setting = one.read(target.after(edits))
    return Done(
        target=target,
        record=record,
        edits=edits,
        notes=(*target.notes, *_source(one, wants), *one.notes(target, wants), *_odd(edits)),
        partial=bool(wants.cdi and not setting.cdi),
    )


def unconfigure(
    one: Engine, wants: Wants, host: Host, state: str, *, only: bool = False, dry_run: bool = False
) -> Done:
    """Take our runtimes out again: all that are journalled, or `only` that of `wants.name`.

    Where nobody has changed the files since, they get the bytes they had; else our keys go alone
    and the former values come back. Raises ToolkitError; nothing is changed then.
    """
    if dry_run:
        target = one.find(wants, host)
        record = _settled(journal.load(state, one.name, target.main), host)
        return _removal(one, target, wants, record, host, only=only)[0]
    with files.locked(state):
        for _ in range(ATTEMPTS):
            target = one.find(wants, host)
            old = _settled(journal.load(state, one.name, target.main), host)
            done, left = _removal(one, target, wants, old, host, only=only)
            files.sweep(done.edits or (Edit(target.main, None, None),))
            try:
                files.write(done.edits, host)
            except files.ChangedError:
                continue
            journal.save(state, left)
            return done
    raise _contended(one.name)


def _removal(
    one: Engine, target: Target, wants: Wants, record: Record, host: Host, *, only: bool
) -> tuple[Done, Record]:
    """Give what takes the runtimes out, and the record that is left."""
    names = record.names or _unjournalled(one, target, wants)
    if only:
        names = tuple(name for name in names if name == wants.name)
    left = record
    for name in names:
        left = left.without(name)
    original = None if left.changes else record.original(host.read)
    notes = target.notes
    if names and original is not None and record.changes:
        edits = _restored(original, host)
    else:
        edits = _taken_out(one, target, wants, record, names)
        if edits and record.changes and not left.changes:
            notes = (*notes, f"{target.main} has changed since; only our keys are removed")
        elif edits and not record.changes:
            notes = (*notes, "there is no journal of this; the former default is not known")
    one.read(target.after(edits))  # what is left is still a configuration
    return Done(target=target, record=record, edits=edits, notes=notes), left


def _unjournalled(one: Engine, target: Target, wants: Wants) -> tuple[str, ...]:
    """Give the name that is wanted where the files have it and its program injects GPUs."""
    program = one.read(target).runtimes.get(wants.name)
    if program is None:
        return ()
    known = os.path.basename(program) in engine.PROGRAMS | engine.HOOKS
    if not known and program != wants.path:
        raise engine.refused(
            f"{target.main}: the runtime {wants.name} starts {program}, which is not ours",
            f"name it with --nvidia-runtime-path {program} to remove it",
        )
    return (wants.name,)


def _restored(original: Sequence[Image], host: Host) -> tuple[Edit, ...]:
    edits = (
        Edit(image.path, host.read(image.path), image.data, status=image.status)
        for image in reversed(original)
    )
    return tuple(edit for edit in edits if edit.before != edit.after)


def _taken_out(
    one: Engine, target: Target, wants: Wants, record: Record, names: Sequence[str]
) -> tuple[Edit, ...]:
    """Give the edits that remove the names one after the other, the last that came first."""
    found: dict[str, Edit] = {}
    for name in reversed(names):
        now = target.after(found.values())
        for edit in one.remove(now, replace(wants, name=name), record.former(name)):
            first = found.pop(edit.path, edit)
            found[edit.path] = replace(edit, before=first.before)
    return tuple(edit for edit in found.values() if edit.before != edit.after)


def _written(edits: Sequence[Edit], host: Host, state: str, old: Record, new: Record) -> bool:
    """Write journal and files; False where somebody else was faster. Raises ToolkitError."""
    journal.save(state, new)
    try:
        files.write(edits, host)
    except files.ChangedError:
        journal.save(state, old)
        return False
    except ToolkitError:
        journal.save(state, old)
        raise
    return True


def _settled(record: Record, host: Host) -> Record:
    return record.settled(host.read)


def _current(one: Engine, target: Target, record: Record, host: Host) -> Record:
    """Give the record as far as it is still true: files without our names begin a new one."""
    record = _settled(record, host)
    here = one.read(target).runtimes
    return record if any(name in here for name in record.names) else replace(record, changes=())


def _source(one: Engine, wants: Wants) -> tuple[str, ...]:
    """Tell that files are read whatever the source: a dump does not say which file has a key."""
    if wants.source == "file":
        return ()
    return (f"warning: {one.name}'s files are read all the same, as {one.name} reads them",)


def _odd(edits: Sequence[Edit]) -> tuple[str, ...]:
    return tuple(
        f"warning: {edit.path} has {files.links(edit.path)} names; the others keep the old text"
        for edit in edits
        if files.links(edit.path) > 1
    )


def put_back(done: Done, host: Host, state: str, one: Engine) -> None:
    """Take a change back right after it was made. Raises ToolkitError, OSError."""
    with files.locked(state):
        edits = [replace(edit, before=edit.after, after=edit.before) for edit in done.edits]
        try:
            files.write(tuple(reversed(edits)), host)
        except files.ChangedError:
            raise _contended(one.name) from None
        if edits:
            journal.save(state, done.record)


def _contended(name: str) -> ToolkitError:
    return ToolkitError(
        f"others keep writing {name}'s files; they are as they left them",
        identifier="ENGINE-CHANGED",
    )
