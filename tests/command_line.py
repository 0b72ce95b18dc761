# SPDX-License-Identifier: Apache-2.0
"""The `gpubind` command as operators start it: a process of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

PROGRAM = (sys.executable, "-m", "gpubind_ctl")
NO_ENGINES = "/nonexistent"
"""A PATH that finds no engine: what is installed here must not decide what a test sees."""
USUAL = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the process left: exit status and the texts of both outputs."""

    status: int
    out: str
    err: str


def gpubind(
    *words: str | os.PathLike[str],
    before: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    stdin: str = "",
) -> Outcome:
    """Run `gpubind` with `words`, through the program `before`, with nothing else in its env.

    It finds no engine, unless that program needs the usual PATH.
    """
    done = subprocess.run(
        [*before, *PROGRAM, *words],
        input=stdin,
        env={"PATH": USUAL if before else NO_ENGINES, "LC_ALL": "C.UTF-8", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Outcome(status=done.returncode, out=done.stdout, err=done.stderr)
