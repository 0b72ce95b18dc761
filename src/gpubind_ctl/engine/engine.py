# SPDX-License-Identifier: Apache-2.0
"""What an engine's configurator is: the values it works on and the protocol it fulfils.

    find(wants, host) -> Target          reads, through the host port
    former(target, wants) -> Former      pure: what our keys were before
    edit(target, wants) -> edits         pure: the files with our keys
    prove(target, edits, wants)          pure: a model of the daemon's own merge says it is right
    remove(target, wants, former)        pure: the files without our keys, the former values back
    read(target) -> Setting              pure: what is set now

An engine never writes. `configurator` locks, calls these in this order, writes and journals. Each
engine's module is pure: the one thing it knows of the host is the port it gets in `find`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from gpubind import paths
from gpubind.errors import ToolkitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONFIG_FILE = "config-file"
OCI_HOOK = "oci-hook"
RUNTIME = paths.HOOK.rpartition("/")[0] + "/gpubind-runtime"
PROGRAMS = frozenset(
    f"{stem}{end}"
    for stem in ("gpubind-runtime", "nvidia-container-runtime")
    for end in ("", ".cdi", ".legacy", ".experimental")
)
"""Base names of runtimes that inject GPUs: ours, and the field's."""
HOOKS = frozenset(
    ("gpubind-runtime-hook", "nvidia-container-runtime-hook", "nvidia-container-toolkit")
)
"""Base names of OCI hooks that inject GPUs."""
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LONGEST = 4095  # PATH_MAX without its NUL

CREATED = "created"
Former = dict[str, Any]
"""What an engine's keys were before us, as JSON values: a key of the engine's choice to its value.

It has only keys that the change may touch; None is one that was absent. It is journalled at the
first change that touches the key and handed to `remove`. CREATED is there where the file was not;
`default` is the default runtime's name in every engine.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What an operator wants of an engine; None is: leave it as it is.

    `default`: our runtime as the default one; False gives the former default back. `config`,
    `drop_in`, `executable`: empty for what the engine's own search finds; no drop-in is asked for
    by `drop_in=None`. `source` is `file` or `command`. `sweep`: old hook files may be removed too.
    `former` is what the journal holds of this runtime; `default=False` needs it. `layout` is the
    kind of installation, empty where it shall be found out. `annotations`: prefixes of those that
    name CDI devices.
    """

    name: str = "nvidia"
    path: str = RUNTIME
    hook: str = paths.RUNTIME_HOOK
    mode: str = CONFIG_FILE
    default: bool | None = None
    cdi: bool | None = None
    config: str = ""
    drop_in: str | None = ""
    source: str = "file"
    executable: str = ""
    hook_file: str = ""
    sweep: bool = False
    former: Former = field(default_factory=dict)
    layout: str = ""
    annotations: tuple[str, ...] = ("cdi.k8s.io/",)

    def __post_init__(self) -> None:
        """Refuse names that could not stand in a file. Raises UsageError."""
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} is no runtime name",
                identifier="USE-RUNTIME",
                hint="use letters, digits, dots, hyphens and underscores",
            )
        for path in (self.path, self.hook, self.config, self.drop_in or "", self.hook_file):
            if _CONTROL.search(path) or len(path) > _LONGEST:
                raise UsageError(f"{path[:80]!r} is no path", identifier="USE-PATH")


@dataclass(frozen=True, slots=True)
class File:
    """A file the daemon loads: its path as the daemon has it, its bytes, None where absent."""

    path: str
    data: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The files a daemon loads, in its order, and what is known of it.

    `main` is the file that is configured; it is among `files`. `how` says how it was found, for
    the operator. `version` is the installed daemon's, empty where unknown. `argv` is the command
    line it runs with, or will. `notes` are findings to tell, each one line. `unit` is the systemd
    unit to restart where it is not the engine's usual one.
    """

    main: str
    files: tuple[File, ...]
    how: str
    version: tuple[int, ...] = ()
    argv: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unit: str = ""

    def data(self, path: str) -> bytes | None:
        """Give a file's bytes, None where it is absent or none of the target's."""
        return next((file.data for file in self.files if file.path == path), None)

    def after(self, edits: Iterable[Edit]) -> Self:
        """Give the target as it is when the edits are done; files that are new come last."""
        new = {edit.path: edit.after for edit in edits}
        known = {file.path for file in self.files}
        kept = (File(one.path, new.get(one.path, one.data)) for one in self.files)
        added = (File(path, data) for path, data in new.items() if path not in known)
        return replace(self, files=(*kept, *added))


@dataclass(frozen=True, slots=True)
class Edit:
    """A file's bytes before and after; None is no file. Nothing is written where both are equal.

    Edits are done in their order, so that a daemon starts with the first n of them, for every n.
    `scratch` is the folder for the temporary file where the daemon reads all that lies in the
    file's own folder; it must be on the same file system.
    `status` is mode, user and group of a file that goes, or comes back.
    """

    path: str
    before: bytes | None
    after: bytes | None
    scratch: str = ""
    status: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is set: runtimes as name to program, the default's name, and CDI where it is said.

    `default` is empty where the file says nothing; `hooks` are hook files that inject GPUs;
    `findings` tell what keeps this from having any effect, each one line.
    """

    runtimes: Mapping[str, str] = field(default_factory=dict)
    default: str = ""
    cdi: bool | None = None
    hooks: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How an engine's daemon is restarted and asked: unit, program, sockets, pid files.

    All empty for an engine without daemon. `reloads`: SIGHUP makes it read its configuration.
    `why` is what a restart is needed for, for the operator.
    """

    unit: str = ""
    program: str = ""
    sockets: tuple[str, ...] = ()
    pidfiles: tuple[str, ...] = ()
    reloads: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A running daemon: its process, its command line, and since when in seconds of the epoch."""

    pid: int
    argv: tuple[str, ...]
    started: float


class Host(Protocol):
    """What an engine may ask of the host; the double is a small class with dicts."""

    uid: int
    env: Mapping[str, str]

    def read(self, path: str) -> bytes | None:
        """Give a regular file's bytes, links followed; None where there is none.

        Raises ToolkitError for what is no regular file, too large, or a link that leads nowhere.
        """

    def names(self, folder: str) -> tuple[str, ...]:
        """Give the sorted names in a folder, none where it is absent."""

    def running(self, service: Service) -> Daemon | None:
        """Give the daemon that runs on this host, None where none or several do."""

    def unit(self, name: str) -> tuple[str, ...]:
        """Give the words of a systemd unit's ExecStart, drop-ins and variables applied."""

    def output(self, *words: str) -> str:
        """Give what a program prints, empty where it is not installed, fails or hangs."""

    def tried(self, files: Mapping[str, bytes], *words: str) -> str:
        """Give what a program prints with these files in a folder, `{folder}` in the words."""


class Engine(Protocol):
    """A container engine's configurator. All but `find` is pure."""

    name: str
    service: Service

    def find(self, wants: Wants, host: Host) -> Target:
        """Give the files the daemon really loads. Raises ToolkitError where that is doubtful."""

    def notes(self, target: Target, wants: Wants) -> tuple[str, ...]:
        """Give what an operator should know of this change, each one line; often nothing."""

    def former(self, target: Target, wants: Wants) -> Former:
        """Give what our keys are in the files as found."""

    def edit(self, target: Target, wants: Wants) -> tuple[Edit, ...]:
        """Give the edits, none where nothing changes. Raises ToolkitError naming file and line."""

    def remove(self, target: Target, wants: Wants, former: Former) -> tuple[Edit, ...]:
        """Give the edits that take the runtime `wants.name` and what came with it out again.

        `former` is what the journal holds, empty where there is no journal.
        """

    def prove(self, target: Target, edits: tuple[Edit, ...], wants: Wants) -> None:
        """Raise ToolkitError where the daemon, reading the edited files, would not do as wanted."""

    def read(self, target: Target) -> Setting:
        """Give what the files set now. Raises ToolkitError naming file and line."""


@runtime_checkable
class Checked(Protocol):
    """An engine whose daemon shows what it makes of files without being started with them."""

    def check(self, target: Target, edits: tuple[Edit, ...], wants: Wants, host: Host) -> None:
        """Raise ToolkitError where the daemon shows something else than wanted."""


def check_absolute(wants: Wants) -> None:
    """Raise UsageError where the drop-in's or the runtime's path is a relative one."""
    for path, what in ((wants.drop_in or "/", "drop-in"), (wants.path, "NVIDIA runtime path")):
        if not path.startswith("/"):
            message = f"the {what} {path!r} is not an absolute path"
            raise UsageError(message, identifier="USE-PATH", hint="give the whole path")


def refused(message: str, hint: str = "") -> ToolkitError:
    """Give the error for files that can't be edited without doubt; nothing is written."""
    return ToolkitError(message, identifier="ENGINE-REFUSED", hint=hint)
