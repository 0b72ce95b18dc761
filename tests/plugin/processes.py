# SPDX-License-Identifier: Apache-2.0
"""The plugin as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from plugin.kubelet import Kubelet

PROGRAM = (sys.executable, "-m", "gpubind_plugin")
LIMIT_S = 120.0


class Process:
    """A started plugin and the lines it logs."""

    def __init__(self, *words: str, program: Sequence[str] = PROGRAM, **env: str) -> None:
        self.process = subprocess.Popen(
            (*program, *words), stderr=subprocess.PIPE, text=True, env={"PATH": os.defpath, **env}
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines += iter(self.process.stderr.readline, "")

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + LIMIT_S
        while not holds():
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)

    def said(self, text: str) -> bool:
        """Tell whether a line has this text."""
        return any(text in line for line in list(self.lines))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait, and give the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(LIMIT_S)
        self.reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


@contextlib.contextmanager
def started(*words: str, program: Sequence[str] = PROGRAM, **env: str) -> Iterator[Process]:
    """Run the plugin; what is left of it at the end is killed."""
    process = Process(*words, program=program, **env)
    try:
        yield process
    finally:
        process.end(signal.SIGKILL)


def options(node: Path, kubelet: Kubelet) -> list[str]:
    """Give the options for a simulated node and a kubelet."""
    return [
        f"--driver-root={node}",
        f"--driver-root-ctr-path={node}",
        f"--kubelet-socket={kubelet.socket}",
        f"--cdi-spec-dir={node}-cdi",
    ]
