# SPDX-License-Identifier: Apache-2.0
"""What an engine is set to: by its files, the journal, and the running daemon."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import engine, journal
from gpubind_ctl.engine.engine import File

if TYPE_CHECKING:
    from gpubind_ctl.engine.engine import Engine, Host, Setting, Wants
    from gpubind_ctl.engine.journal import Record

OURS, PEERS, HAND = "by gpubind", "by the field's toolkit", "by hand"
UNTOLD = "yes; by whom and since when is in a journal that root alone may read"


def of(one: Engine, wants: Wants, host: Host, state: str) -> dict[str, Any]:
    """Give the facts as JSON values. Raises ToolkitError, OSError.

    `since` is in seconds of the epoch. `former` is the default runtime before us. `drift`: others
    have changed a file since. `restarted`: the daemon has read the files since. None is unknown, or
    that there is nothing to compare with.
    """
    target = one.find(wants, host)
    setting = one.read(target)
    record, readable = _record(one, target.main, host, state)
    files = target.files if one.service.program else [File(target.main, target.data(target.main))]
    there = any(file.data is not None for file in files)  # others read podman's other files too
    names = [name for name, path in setting.runtimes.items() if _injects(path)]
    since = record.changes[-1].at if record.changes else None
    return {
        "installed": bool(there or target.version or target.argv),
        "file": target.main,
        "how": target.how,
        "version": ".".join(map(str, target.version)),
        "runtimes": dict(setting.runtimes),
        "by": _by(names, setting, record) if readable else UNTOLD if names else "",
        "since": since,
        "journalled": bool(record.changes),
        "journal_readable": readable,
        "default": setting.default,
        "former": _former(record),
        "cdi": setting.cdi,
        "hooks": list(setting.hooks),
        "findings": list(setting.findings),
        "drift": record.original(host.read) is None if record.changes else None,
        "restarted": _restarted(one, since, host),
    }


def _record(one: Engine, main: str, host: Host, state: str) -> tuple[Record, bool]:
    """Give the record as far as it is true, and whether we may read it."""
    try:
        return journal.load(state, one.name, main).settled(host.read), True
    except PermissionError:
        return journal.Record(engine=one.name, main=main), False


def _injects(path: str) -> bool:
    return os.path.basename(path) in engine.PROGRAMS


def _by(names: list[str], setting: Setting, record: Record) -> str:
    """Tell who configured the engine, empty where nobody did."""
    if any(name in setting.runtimes for name in record.names):
        return OURS
    if not names:
        return ""
    path = os.path.basename(setting.runtimes[names[0]])
    return HAND if path.startswith("gpubind") else PEERS


def _former(record: Record) -> str:
    """Give the default runtime before the first change that touched it, empty for none."""
    formers = (one.former["default"] for one in record.changes if "default" in one.former)
    return next(formers, None) or ""


def _restarted(one: Engine, since: float | None, host: Host) -> bool | None:
    """Tell whether the daemon started after the last change; None where none runs."""
    daemon = host.running(one.service)
    if since is None or daemon is None:
        return None
    return daemon.started > since
