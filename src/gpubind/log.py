# SPDX-License-Identifier: Apache-2.0
"""One line to the operator: on stderr, and in the file the engine named with `--log`.

Engines show the last line of that file when a container does not start; they read what runc
writes there, so the lines have its two forms, text and json.
"""

from __future__ import annotations

import os

from gpubind.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind.oci.args import Arguments


class Log:
    """Where lines of `program` go: stderr always, `file` where the engine named one."""

    __slots__ = ("file", "form", "program")

    def __init__(self, program: str) -> None:
        self.program = program
        self.file = ""
        self.form = "text"

    def follow(self, read: Arguments) -> None:
        """Take the engine's log file and its format from the command line."""
        self.file = read.log
        self.form = read.log_format

    def fail(self, message: str) -> None:
        """Tell why a container does not start."""
        self._tell("error", message)

    def note(self, message: str) -> None:
        """Tell what was left out though the container starts."""
        self._tell("warning", message)

    def _tell(self, level: str, message: str) -> None:
        line = printable(message)
        prefix = "" if level == "error" else f"{level}: "
        _write(2, f"{self.program}: {prefix}{line}\n")
        if not self.file:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(self.file, flags, 0o644)
        except OSError:
            return  # stderr has it
        _write(fd, self._formatted(level, line))
        os.close(fd)

    def _formatted(self, level: str, line: str) -> str:
        import time

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        quoted = line.replace("\\", "\\\\").replace('"', '\\"')
        if self.form == "json":
            return f'{{"level":"{level}","msg":"{self.program}: {quoted}","time":"{now}"}}\n'
        return f'time="{now}" level={level} msg="{self.program}: {quoted}"\n'


def _write(fd: int, text: str) -> None:
    try:
        os.write(fd, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return  # a closed stderr must not fail a container
