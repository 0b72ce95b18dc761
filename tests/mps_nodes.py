# SPDX-License-Identifier: Apache-2.0
"""A simulated node whose MPS programs write down what they are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import simulated_nodes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROGRAM = (sys.executable, "-c", "from gpubind_plugin import main; main.main()")
PATIENCE_S = 60.0
STARTED: list[subprocess.Popen[bytes]] = []  # for whoever sees that none is left
SMI = """#!/bin/sh
echo "smi $*" >> {record}
test ! -e {broken}/smi || {{ echo 'GPU is lost'; exit 15; }}
"""
CONTROL = """#!/bin/sh
pipe=$CUDA_MPS_PIPE_DIRECTORY
name=$(basename "$(dirname "$pipe")")
if [ "$1" = -d ]; then
    names=$(env | /usr/bin/cut -d= -f1 | /usr/bin/sort | /usr/bin/tr '\\n' ' ')
    echo "$name -d $names" >> {record}
    test ! -e {broken}/$name || {{ echo 'no memory'; exit 1; }}
    echo up > "$pipe/control"
    echo "Starting control daemon for $name" >> "$CUDA_MPS_LOG_DIRECTORY/control.log"
    exit 0
fi
test -e "$pipe/control" || {{ echo 'Cannot find MPS control daemon process'; exit 1; }}
while read -r line; do
    case $line in
    get_*) echo 25.0 ;;
    quit) /bin/rm "$pipe/control"; echo "$name quit" >> {record} ;;
    *) echo "$name $line" >> {record} ;;
    esac
done
"""


class Node:
    """The node, below it `mps` with pipes and logs, and the record of what was told."""

    def __init__(self, folder: Path, profile: str, config: dict[str, Any]) -> None:
        self.root = simulated_nodes.node(profile, folder)
        self.mps, self.record = folder / "mps", folder / "record"
        self.broken, self.file = folder / "broken", folder / "config.json"
        self.mps.mkdir()
        self.broken.mkdir()
        self.record.touch()
        self.configure(config)
        for name, text in (("nvidia-smi", SMI), ("nvidia-cuda-mps-control", CONTROL)):
            path = self.root / "usr/bin" / name
            path.unlink(missing_ok=True)
            path.write_text(text.format(record=self.record, broken=self.broken))
            path.chmod(0o755)

    def configure(self, config: dict[str, Any]) -> None:
        """Write the configuration."""
        self.file.write_text(json.dumps({"version": "v1", **config}))

    def environment(self) -> dict[str, str]:
        """Give what the program's environment has."""
        return {
            "PATH": "/usr/bin:/bin",
            "DRIVER_ROOT_CTR_PATH": str(self.root),
            "CONFIG_FILE": str(self.file),
        }

    def words(self, *more: str) -> list[str]:
        """Give the command line."""
        return [*PROGRAM, "mps-control-daemon", "--root", str(self.mps), *more]

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Start the program; what it logs goes to `log`."""
        with open(self.record.parent / "log", "ab") as log:
            started = subprocess.Popen(self.words(*more), env=self.environment(), stderr=log)
        STARTED.append(started)
        return started

    def lines(self) -> list[str]:
        """Give what the driver's programs were told so far."""
        return self.record.read_text().splitlines()

    def log(self) -> str:
        """Give what was logged so far."""
        return (self.record.parent / "log").read_text()

    def told_again(self) -> list[str]:
        """Give what was told since the last such call."""
        lines = self.lines()
        self.record.write_text("")
        return lines

    def ready(self) -> bool:
        """Tell whether all daemons run."""
        return (self.mps / ".ready").exists()


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes]) -> int:
    """End the program as Kubernetes does, and give its status."""
    os.kill(process.pid, signal.SIGTERM)
    return process.wait(PATIENCE_S)
