# SPDX-License-Identifier: Apache-2.0
"""What stands beside specs: sidecars that no longer fit, and engines older than a spec."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gpubind_cdi import driver as drivers
from gpubind_cdi import sidecar, signs, sources, version

from gpubind.errors import DocumentError
from gpubind.root import Root
from gpubind_ctl.check.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from gpubind_cdi.model import Spec

    from gpubind_ctl.check.folders import Entry
    from gpubind_ctl.engine_versions import Engine

AGAIN = "run 'gpubind cdi refresh', or 'gpubind cdi generate' again"


def old_engines(entry: Entry, spec: Spec, engines: Iterable[Engine]) -> Iterator[Finding]:
    """Give the engines that look into a spec's directory and can't read its version."""
    for engine in engines:
        if entry.folder in engine.folders and is_newer(spec, engine):
            yield Finding(
                identifier="CDI-ENGINE",
                file=entry.path,
                message=f"CDI {version.bare(spec.cdi_version)}, and {engine} reads "
                f"{engine.reads} at most",
                hint=f"generate it with --cdi-version-max {engine.reads}",
            )


def is_newer(spec: Spec, engine: Engine) -> bool:
    """Say whether an engine that reads CDI refuses a spec's version."""
    return bool(engine.reads) and version.order(spec.cdi_version) > version.order(engine.reads)


def stale(folder: str, owners: Collection[int], known_of: Collection[str]) -> Iterator[Finding]:
    """Give what is wrong with the sidecars in `folder`, and the specs they tell of as outdated.

    Of the specs `known_of` it is told already what they name that has gone.
    """
    for path in _files(folder):
        beside = sources.read(path, owners)
        if beside.stamp is None:
            continue
        try:
            known = _parsed(beside)
        except DocumentError as error:
            yield _stale(path, f"this sidecar is ignored: {error.message}")
            continue
        spec = sources.read(known.facts["spec"], owners)
        if spec.stamp is None:
            yield _stale(known.facts["spec"], f"it is gone, and its sidecar {path} is not")
        elif not known.fits(spec.path, sidecar.digest(spec.data)):
            yield _stale(spec.path, f"it was changed since its sidecar {path} was written")
        else:
            yield from _outdated(spec.path, known.facts, known_of)


def _parsed(found: sources.Source) -> sidecar.Sidecar:
    if found.fault:
        raise DocumentError(found.fault)
    return sidecar.Sidecar.parse(found.data, found.path)


def _outdated(spec: str, facts: Mapping[str, Any], known_of: Collection[str]) -> Iterator[Finding]:
    """Say where the kernel's driver, or a sign of what a spec was made of, is another now."""
    known = facts["driver"]
    written = known.get("version", "")
    running = _running(known.get("root", "/"))
    if written and running and written != running:
        yield _stale(spec, f"it describes driver {written}, and {running} is running")
        return
    changed = signs.difference(facts["made"]["signs"])
    if changed and spec not in known_of:
        yield _stale(spec, f"{changed} has changed since it was made")


def _running(place: str) -> str:
    """Give the version of the loaded driver that serves a driver root; empty where none is."""
    try:
        with Root(place) as root, Root("/") as host:
            return drivers.kernel_version(root if drivers.holds_system(root) else host)
    except OSError:
        return ""


def _stale(file: str, message: str) -> Finding:
    return Finding(identifier="CDI-STALE", file=file, message=message, hint=AGAIN)


def _files(folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in sorted(os.listdir(folder)) if name[-5:] == ".json"]
    except OSError:
        return []
