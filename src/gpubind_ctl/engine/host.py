# SPDX-License-Identifier: Apache-2.0
"""This host as engines' configurators see it: files, folders, units, running daemons, programs."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

from gpubind import root
from gpubind.errors import ToolkitError
from gpubind_ctl.engine import unit
from gpubind_ctl.engine.engine import Daemon, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpubind_ctl.engine.engine import Service

LIMIT = 1 << 24  # bytes of a configuration file
PATIENCE = 10  # seconds for a program that shows its version or configuration
_ASKS = {"--version", "-v", "--help", "-h", "--validate", "config", "version", "status"}
UNITS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"


class ThisHost:
    """The port's one implementation; see `engine.Host` for what each method gives."""

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        config: str = "",
        units: Sequence[str] = (),
        uid: int | None = None,
    ) -> None:
        """`config` is the file the operator names: daemons that load another are not meant.

        `units` are the folders of systemd's units, by default those of root's or the user's own.
        `uid` is whose engines are meant, by default ours.
        """
        self.uid = os.geteuid() if uid is None else uid
        self.env = env
        self.config = config
        self.units = units or (_users_units(env) if self.uid else UNITS)

    def read(self, path: str) -> bytes | None:
        """Give a regular file's bytes, links followed; what would block is refused."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except (FileNotFoundError, NotADirectoryError):
            if os.path.islink(path):
                leads = os.path.realpath(path)
                raise _refused(path, f"is a link to {leads}, which is not there") from None
            return None
        except ValueError:  # a NUL in the name
            raise _refused(path, "is no path") from None
        except OSError as error:
            raise _refused(path, _strerror(error)) from None
        try:
            return root.contents(fd, path, LIMIT)
        except OSError as error:
            raise _refused(path, _strerror(error)) from None
        finally:
            os.close(fd)

    def names(self, folder: str) -> tuple[str, ...]:
        """Give the sorted names in a folder, none where it is absent."""
        try:
            return tuple(sorted(os.listdir(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except ValueError:  # a NUL in the name
            raise _refused(folder, "is no path") from None
        except OSError as error:
            raise _refused(folder, _strerror(error)) from None

    def running(self, service: Service) -> Daemon | None:
        """Give our user's daemon of that name in our namespaces; of several, the pid file's.

        Raises ToolkitError where several run and nothing tells which is meant.
        """
        found = {one.pid: one for one in _daemons(service.program, self.uid) if self._meant(one)}
        if len(found) < 2:
            return next(iter(found.values()), None)
        pids = [_number(self.read(path)) for path in service.pidfiles]
        pids += [pid for pid, one in found.items() if self.config and _config(one) == self.config]
        meant = next((found[pid] for pid in pids if pid in found), None)
        if meant is None and not self.config:
            numbers = ", ".join(map(str, sorted(found)))
            message = f"several {service.program} are running, as processes {numbers}"
            raise refused(message, "name the file of the one that is meant with --config")
        return meant

    def _meant(self, daemon: Daemon) -> bool:
        return not self.config or _config(daemon) in (None, self.config)

    def unit(self, name: str) -> tuple[str, ...]:
        """Give the words of a unit's ExecStart, drop-ins and variables applied."""
        place = next(
            (f"{folder}/{name}" for folder in self.units if self._text(f"{folder}/{name}")), ""
        )
        drops: dict[str, str] = {}
        for folder in reversed(self.units):
            for base in self.names(f"{folder}/{name}.d"):
                if base.endswith(".conf"):
                    drops[base] = f"{folder}/{name}.d/{base}"
        paths = [place, *(drops[base] for base in sorted(drops))] if place else []
        found = unit.parse(self._text(path) for path in paths)
        variables = dict(found.variables)
        for path in found.files:
            variables.update(unit.assignments(self._text(path)))
        return unit.command(found, variables)

    def output(self, *words: str) -> str:
        """Give what a program prints, empty where it is not installed, fails or hangs."""
        program = shutil.which(words[0], path=_PATH)
        if program is None:
            return ""
        try:
            done = subprocess.run(
                [program, *words[1:]],
                env={"PATH": _PATH, "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=PATIENCE,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""

    def tried(self, files: Mapping[str, bytes], *words: str) -> str:
        """Give what a program prints with these files in a folder, `{folder}` in the words."""
        with tempfile.TemporaryDirectory(prefix="gpubind-") as folder:
            for name, data in files.items():
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(data)
            return self.output(*(word.replace("{folder}", folder) for word in words))

    def _text(self, path: str) -> str:
        """Give a file's text; one that can't be read is empty, as is one that is masked."""
        try:
            return (self.read(path) or b"").decode("utf-8", "replace")
        except ToolkitError:
            return ""


def _users_units(env: Mapping[str, str]) -> tuple[str, ...]:
    """Give the folders of a user's units, those that win first: systemd.unit(5)."""
    home = env.get("HOME", "")
    return (
        f"{env.get('XDG_CONFIG_HOME') or f'{home}/.config'}/systemd/user",
        *(folder.removesuffix("system") + "user" for folder in UNITS[:2]),
        f"{env.get('XDG_DATA_HOME') or f'{home}/.local/share'}/systemd/user",
        *(folder.removesuffix("system") + "user" for folder in UNITS[2:]),
    )


def boot_time() -> float:
    """Give when this machine started, in seconds of the epoch."""
    with open("/proc/stat", encoding="ascii") as file:
        return float(next(line.split()[1] for line in file if line.startswith("btime ")))


def _daemons(program: str, uid: int) -> Iterator[Daemon]:
    """Give the processes that run a program in this process' own namespaces, as our user."""
    ours = _namespaces("self")
    for name in os.listdir("/proc") if program else ():
        if not name.isdecimal():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid != uid or _namespaces(name) != ours:
                continue
            with open(f"/proc/{name}/cmdline", "rb") as file:
                argv = os.fsdecode(file.read()).split("\0")[:-1]
            if _serves(argv, program) and not _is_dockers(name):
                yield Daemon(pid=int(name), argv=tuple(argv), started=_started(name))
        except OSError:
            continue  # it ended while we looked


def _config(daemon: Daemon) -> str | None:
    """Give the file a daemon's command line names, None for its default one."""
    return unit.flag(daemon.argv, "--config-file", "--config", "-c")


def _namespaces(pid: str) -> tuple[str, ...]:
    return tuple(os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("mnt", "pid"))


def _started(pid: str) -> float:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        ticks = float(file.read().rpartition(")")[2].split()[19])  # proc_pid_stat(5): starttime
    return boot_time() + ticks / os.sysconf("SC_CLK_TCK")


def _serves(argv: list[str], program: str) -> bool:
    """Tell whether it is the daemon, and not the same program asked for its version."""
    return argv[:1] != [] and os.path.basename(argv[0]) == program and not _ASKS & {*argv[1:]}


def _is_dockers(pid: str) -> bool:
    """Tell whether dockerd has started it, such as a containerd of its own."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        parent = file.read().rpartition(")")[2].split()[1]
    if parent == "0":  # it is the first of its namespace
        return False
    with open(f"/proc/{parent}/comm", encoding="utf-8", errors="replace") as file:
        return file.read() == "dockerd\n"


def _number(data: bytes | None) -> int:
    text = (data or b"").strip()
    return int(text) if text.isdigit() and len(text) < 10 else 0


def _strerror(error: OSError) -> str:
    if error.errno == errno.EINVAL:
        return "is not a regular file"
    if error.errno == errno.ELOOP:
        return "is a link in a circle"
    return error.strerror or str(error)


def _refused(path: str, message: str) -> ToolkitError:
    return ToolkitError(f"{path}: {message}", identifier="ENGINE-FILE")
