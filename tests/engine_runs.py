# SPDX-License-Identifier: Apache-2.0
"""`gpubind runtime` on a daemon.json of a test's own, with a journal of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from command_line import Outcome, gpubind

if TYPE_CHECKING:
    from pathlib import Path

BARE = b'{\n  "debug": true\n}\n'
OURS = b"""{
  "debug": true,
  "runtimes": {
    "nvidia": {
      "args": [],
      "path": "/usr/bin/gpubind-runtime"
    }
  }
}
"""


def runtime(
    verb: str, place: Path, *words: str, engine: str = "docker", before: tuple[str, ...] = ()
) -> Outcome:
    """Run configure, unconfigure or status on `place`/daemon.json."""
    given = (f"--runtime={engine}", f"--config={place}/daemon.json", f"--state-dir={place}/state")
    return gpubind("runtime", verb, *given, *words, before=before)


def configure(place: Path, *words: str, before: tuple[str, ...] = ()) -> Outcome:
    """Run configure on `place`/daemon.json."""
    return runtime("configure", place, *words, before=before)


def leftovers(place: Path) -> list[str]:
    """Give the temporary files below a folder."""
    names = (os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names)
    return [name for name in names if name.endswith(".tmp")]
