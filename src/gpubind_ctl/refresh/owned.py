# SPDX-License-Identifier: Apache-2.0
"""Whose a spec file is: ours is what its sidecar, or a receipt of it, is tied to by path and hash.

Sidecars vanish at boot. A spec that stays, such as one in /etc/cdi, has a receipt that stays too.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubind_cdi import document, files, sidecar

from gpubind.errors import DocumentError, ToolkitError
from gpubind.root import contents

if TYPE_CHECKING:
    from gpubind_ctl.refresh.job import Job

ROOM = "receipts"
VANISHING = "/run/"
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """The file at a job's output, and whether it is ours; `there` is false where there is none.

    `digest` is that of its bytes, empty for what is no regular file. `made` is what the sidecar
    says of how it was made, where it says so.
    """

    there: bool
    ours: bool = False
    digest: str = ""
    made: dict[str, Any] | None = None


def look(job: Job) -> Owned:
    """Give whose the file is. Raises OSError where it can't be read."""
    try:
        status = os.lstat(job.output)
    except FileNotFoundError:
        return Owned(there=False)
    if not stat.S_ISREG(status.st_mode):
        return Owned(there=True)
    digest = sidecar.digest(_read(job.output))
    for file in ties(job):
        tied = _tied(file, digest)
        if tied is not None:
            return Owned(there=True, ours=True, digest=digest, made=_made(tied))
    return Owned(there=True, digest=digest)


def ties(job: Job) -> list[str]:
    """Give the files that may tie the job's file to us."""
    beside = sidecar.paths_of(os.path.join(job.state, files.SIDECARS), job.output)
    return [*beside, receipt(job)]


def sign(job: Job, digest: str) -> None:
    """Leave a receipt for the job's file with this hash, unless the file itself vanishes at boot.

    Where that can't be done there is none: after a boot the file is not ours any more then.
    """
    folder = os.path.dirname(job.output)
    if job.lasting == job.state or os.path.realpath(folder).startswith(VANISHING):
        return
    tie = {"spec": job.output, "sha256": digest}
    with contextlib.suppress(OSError):
        files.put(receipt(job), document.dump(tie, "json"))


def receipt(job: Job) -> str:
    """Give where a receipt for the job's file lies."""
    return sidecar.path_of(os.path.join(job.lasting, ROOM), job.output)


def foreign(job: Job) -> ToolkitError:
    """Give the error for a file that is not ours."""
    return ToolkitError(
        f"{job.output} was not written by gpubind, or changed since: it is left alone",
        identifier="REFRESH-FOREIGN",
        hint="give another --output, or move the file away",
    )


def _tied(file: str, digest: str) -> dict[str, Any] | None:
    """Give the document that ties a spec with this hash to us."""
    try:
        known = document.load(_read(file), file)
    except (OSError, DocumentError):
        return None
    return known if isinstance(known, dict) and known.get("sha256") == digest else None


def _made(tied: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return sidecar.made(tied.get("made")) or None
    except DocumentError:
        return None


def _read(file: str) -> bytes:
    fd = os.open(file, _FLAGS)
    try:
        return contents(fd, file, document.MAX_SIZE)
    finally:
        os.close(fd)
