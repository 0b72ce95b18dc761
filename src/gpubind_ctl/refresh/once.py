# SPDX-License-Identifier: Apache-2.0
"""One refresh: a spec that still holds is left alone, a stale one is written anew or withdrawn.

Whatever goes wrong, the last good spec stays, and the outcome says why. Only files that are ours
are ever replaced or removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind_cdi import files, generate, sidecar, signs
from gpubind_cdi.modes import table

from gpubind.errors import PartialError, ToolkitError, line
from gpubind_ctl import roots
from gpubind_ctl.refresh import lock, made, owned, presence

if TYPE_CHECKING:
    from gpubind_cdi.generate import Generated
    from gpubind_cdi.signs import Signs

    from gpubind_ctl.refresh.job import Job
    from gpubind_ctl.refresh.owned import Owned

WRITTEN, CURRENT, KEPT = "written", "current", "kept"
WITHDRAWN, NONE, REFUSED = "withdrawn", "none", "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a refresh came to: `state` is one of those above, `message` one line, or empty.

    `notes` name what is missing. `identifier` is that of the failure for which a spec was kept,
    not made or not touched; `status` is the exit status.
    """

    state: str
    message: str = ""
    notes: tuple[str, ...] = ()
    identifier: str = ""
    status: int = 0


def refresh(job: Job, *, force: bool = False) -> Outcome:
    """Make the job's file true; with `force` look at the driver though nothing seems changed.

    A file that is not ours, another refresh that takes too long, and a disk that is full leave it
    as it was, and are told in the outcome.
    """
    try:
        with lock.held(job):
            return _refreshed(job, force=force)
    except ToolkitError as error:
        told, identifier = str(error), error.identifier
    except OSError as error:
        told, identifier = line(error, "SYS-REFUSED"), "SYS-REFUSED"
    return Outcome(state=REFUSED, message=told, identifier=identifier, status=1)


def _refreshed(job: Job, *, force: bool) -> Outcome:
    known = owned.look(job)
    absent = presence.gone(job)
    if absent:
        return _withdrawn(job, known, absent)
    if known.made is not None and not force and made.holds(job, known.made):
        return Outcome(state=CURRENT)
    try:
        generated, taken = _look(job)
    except ToolkitError as error:
        return _kept(job, known, error)
    return _written(job, known, generated, taken)


def _look(job: Job) -> tuple[Generated, Signs]:
    with roots.opened(job.driver_root, job.dev_root) as found:
        places = (found.driver, found.nodes, found.system)

        now = table.asks_gpus(job.options.mode)
        search = job.options.library_search_paths

        def look() -> Generated:
            gpus = job.source(found.driver, search, found.nodes, now=now)
            return generate.generate(job.options, gpus, *places)

        generated, taken = signs.settled(look, *places, more=job.options.csv_files)
    if job.strict and generated.missing:
        raise ToolkitError(
            "; ".join(map(str, generated.missing)),
            identifier="GEN-INCOMPLETE",
            hint="mend that, or leave out --strict",
        )
    return generated, taken


def _written(job: Job, known: Owned, generated: Generated, taken: Signs) -> Outcome:
    data = files.text(generated, job.form)
    if known.there and not known.ours and known.digest != sidecar.digest(data):
        raise owned.foreign(job)
    lost = tuple(map(str, generated.missing))
    notes = tuple(f"missing: {one}" for one in lost)
    told = made.told(generated, job, taken)
    try:
        saved = files.save(told, job.output, form=job.form, state=job.state)
    except PartialError as error:
        return Outcome(state=WRITTEN, message=str(error), notes=notes, status=error.status)
    owned.sign(job, sidecar.digest(data))
    spec = generated.spec
    what = f"CDI {spec.cdi_version}, {len(spec.devices)} devices of {spec.kind}"
    return Outcome(
        state=WRITTEN if saved.changed else CURRENT,
        message=f"{job.output}: {what}" if saved.changed else "",
        notes=notes,
        status=3 if lost else 0,
    )


def _kept(job: Job, known: Owned, error: ToolkitError) -> Outcome:
    """Give the outcome of a look that failed: whatever spec there is stays."""
    what = f"{job.output} is kept as it was" if known.there else f"{job.output} is not written"
    return Outcome(
        state=KEPT if known.there else NONE,
        message=f"{what}: {error}",
        identifier=error.identifier,
        status=1,
    )


def _withdrawn(job: Job, known: Owned, absent: str) -> Outcome:
    """Remove our spec of a driver that is gone, the sidecar after it."""
    if not known.there:
        return Outcome(state=NONE, message=_why_none(job, absent))
    if not known.ours:
        raise owned.foreign(job)
    files.withdraw(job.output)
    for file in owned.ties(job):
        files.withdraw(file)
    return Outcome(state=WITHDRAWN, message=f"{job.output} is withdrawn: {absent}")


def _why_none(job: Job, absent: str) -> str:
    """Give why there is no spec, and nothing on a host that has no GPU anyway."""
    if not presence.hardware(job):
        return ""
    return f"{job.output} is not written: {absent}"
