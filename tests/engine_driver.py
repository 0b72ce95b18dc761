# SPDX-License-Identifier: Apache-2.0
"""A program that configures docker, or gives it back, on a host where nothing runs: for strace.

Words: configure or unconfigure, a folder with daemon.json, the runtime's name. What the real host
is asked takes system calls that differ from run to run; this one only reads files.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError
from gpubind_ctl.engine import configurator
from gpubind_ctl.engine.docker import Docker
from gpubind_ctl.engine.engine import Wants
from gpubind_ctl.engine.host import ThisHost

if TYPE_CHECKING:
    from gpubind_ctl.engine.engine import Daemon, Service


class Quiet(ThisHost):
    """A host with files alone."""

    def running(self, service: Service) -> Daemon | None:
        """Give no daemon."""
        del service
        return None

    def unit(self, name: str) -> tuple[str, ...]:
        """Give no unit."""
        del name
        return ()

    def output(self, *words: str) -> str:
        """Give no program's output."""
        del words
        return ""


def main(verb: str, place: str, name: str = "nvidia") -> int:
    """Do it and give the exit status."""
    wants = Wants(name=name, config=f"{place}/daemon.json")
    act = configurator.configure if verb == "configure" else configurator.unconfigure
    try:
        act(Docker(), wants, Quiet(os.environ), f"{place}/state")
    except (ToolkitError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
