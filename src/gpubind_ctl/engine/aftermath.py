# SPDX-License-Identifier: Apache-2.0
"""After an engine's files have changed: what the operator is to do, or the daemon's restart."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError, UsageError
from gpubind_ctl.engine import configurator, restart

if TYPE_CHECKING:
    from gpubind_ctl.engine.configurator import Done
    from gpubind_ctl.engine.engine import Engine, Host, Wants


def advice(one: Engine, done: Done) -> list[str]:
    """Give the lines that say what is to be restarted and why, none where nothing is."""
    if not done.edits or not one.service.program:
        return []
    command = f"systemctl restart {done.target.unit or one.name}"
    lines = [f"It is recommended that {one.name} daemon be restarted."]
    return [*lines, f"{one.service.why}: {command}"] if one.service.why else lines


def way(mode: str, one: Engine, wants: Wants, host: Host) -> restart.Restarter:
    """Give how the daemon is restarted: a unit that is not its usual one is left to the operator.

    Raises UsageError for a daemon that only such a unit can restart, as that of k3s.
    """
    unit = one.find(wants, host).unit
    if not unit:
        return restart.of(mode, host, one.service)
    if one.service.reloads and mode != "systemd":
        return restart.of("signal", host, one.service)
    raise UsageError(
        f"{one.name} is started by {unit} here, which --restart does not restart",
        identifier="USE-RESTART",
        hint=f"leave it out, then run systemctl restart {unit}",
    )


def waits(one: Engine, done: Done, host: Host) -> bool:
    """Tell whether the daemon runs since before one of its files was last written."""
    daemon = host.running(one.service)
    if daemon is None:
        return False
    there = (file.path for file in done.target.files if file.data is not None)
    return any(daemon.started < os.stat(path).st_mtime for path in there)


@dataclass(frozen=True, slots=True)
class Restart:
    """A restart that takes a change back where the daemon does not come up with it.

    `patience` is how long it may take, in seconds.
    """

    way: restart.Restarter
    one: Engine
    host: Host
    state: str
    patience: int

    def told(self, done: Done, runtime: str) -> str:
        """Restart; give the line that says it is up, with a runtime of that name if one is given.

        Raises ToolkitError where it did not come up, once the old files are back.
        """
        one, since = self.one, time.time() - 1 if isinstance(self.way, restart.Systemd) else 0.0
        self.way.restart(one.service)
        if restart.up(one.service, self.host, runtime, since, self.patience):
            return (
                f"{one.name} is up, {f'with the runtime {runtime}' if runtime else 'as before us'}"
            )
        configurator.put_back(done, self.host, self.state, one)
        self.way.restart(one.service)
        again = restart.up(one.service, self.host, "", since, self.patience)
        back = "the old one is back" if done.edits else "nothing was changed"
        raise ToolkitError(
            f"{one.name} did not come up with the new configuration; {back}, and "
            f"{one.name} is {'up with it' if again else 'still down'}",
            identifier="ENGINE-RESTART",
            hint=f"see journalctl -u {one.service.unit}",
        )
