# SPDX-License-Identifier: Apache-2.0
"""One line to the operator: on stderr, in the system's log, in the engine's file and in his own.

Engines show the last line of the file they name with `--log` when a container does not start; they
read what runc writes there, so the lines have its two forms, text and json. The operator's own file
is `nvidia-container-runtime.debug` of config.toml.
"""

from __future__ import annotations

import posix

from gpubind.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind.oci.args import Arguments


LEVELS = {
    "panic": 0,
    "fatal": 0,
    "error": 0,
    "warning": 1,
    "warn": 1,
    "info": 2,
    "debug": 3,
    "trace": 3,
}
"""The field's words for how much is written to files, and our rank of each."""

_NOWHERE = ("", "/dev/null")


class Log:
    """Where lines of `program` go: stderr, `file` where the engine named one, the operator's `own`.

    `level` is one of LEVELS; errors and warnings are told on stderr and in the system's log
    whatever it says. `system` names the sockets of another system's log.
    """

    __slots__ = ("file", "form", "level", "own", "program", "system")

    def __init__(self, program: str, *system: str) -> None:
        self.program = program
        self.system = system
        self.file = ""
        self.form = "text"
        self.own = ""
        self.level = "info"

    def follow(self, read: Arguments) -> None:
        """Take the engine's log file and its format from the command line."""
        self.file = read.log
        self.form = read.log_format

    def keep(self, own: str, level: str, *, debug: bool) -> None:
        """Take the operator's file and level; `debug` is the engine's option, which counts more."""
        self.own = "" if own in _NOWHERE else own
        self.level = "debug" if debug else level

    def fail(self, message: str) -> None:
        """Tell why a container does not start."""
        self._tell("error", message)

    def note(self, message: str) -> None:
        """Tell what was left out though the container starts."""
        self._tell("warning", message)

    def detail(self, message: str) -> None:
        """Tell what is done, in the files only and only where their level is `debug`."""
        self._append("debug", printable(message))

    def _tell(self, level: str, message: str) -> None:
        line = printable(message)
        prefix = "" if level == "error" else f"{level}: "
        _write(2, f"{self.program}: {prefix}{line}\n")
        from gpubind import journal

        journal.tell(self.program, level, line, *self.system)
        self._append(level, line)

    def _append(self, level: str, line: str) -> None:
        if LEVELS[level] > LEVELS.get(self.level, LEVELS["info"]):
            return
        for file, form in ((self.file, self.form), (self.own, "text")):
            fd = _opened(file, make_folder=file == self.own) if file else -1
            if fd >= 0:
                _write(fd, self._formatted(level, line, form))
                posix.close(fd)

    def _formatted(self, level: str, line: str, form: str) -> str:
        import time

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        quoted = line.replace("\\", "\\\\").replace('"', '\\"')
        if form == "json":
            return f'{{"level":"{level}","msg":"{self.program}: {quoted}","time":"{now}"}}\n'
        return f'time="{now}" level={level} msg="{self.program}: {quoted}"\n'


def _opened(file: str, *, make_folder: bool) -> int:
    """Give a descriptor to append to a file, -1 where it can't be had: stderr has the line."""
    flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NONBLOCK
    try:
        if make_folder:
            import os

            os.makedirs(os.path.dirname(file), 0o755, exist_ok=True)
        return posix.open(file, flags, 0o644)
    except OSError:
        return -1


def _write(fd: int, text: str) -> None:
    try:
        posix.write(fd, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return  # a closed stderr must not fail a container
