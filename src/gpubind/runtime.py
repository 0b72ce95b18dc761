# SPDX-License-Identifier: Apache-2.0
"""The OCI runtime shim: a `create` or `run` gets its GPUs, then the real runtime takes over.

Every other call goes through as it came; what a call does not need is not imported.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # `signal` costs 3 ms: it makes enums
import posix
import sys

from gpubind import VERSION, config, errors, linux, paths
from gpubind.errors import ToolkitError
from gpubind.log import Log
from gpubind.oci import args

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMED = {"cdi": "cdi", "legacy": "legacy"}  # what our name ends with, and the mode that means
_MARK = b"from gpubind.runtime import main"  # in our launchers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind.config import Config
    from gpubind.oci.args import Arguments


def main(words: list[str]) -> None:
    """Do what the words after the program's name ask for, and become the low-level runtime.

    Returns never: the process is replaced, or ends with the error's status.
    """
    log = Log("gpubind-runtime")
    try:
        read = args.parse(words[1:])
        log.follow(read)
        settings = _settings(read, log)
        if mode := _NAMED.get(words[0].rpartition(".")[2]):
            settings.values[config.MODE] = mode
        log.keep(settings.text(config.DEBUG), settings.text(config.LOG_LEVEL), debug=read.debug)
        program = lowlevel(settings, words[0])
        if read.makes_container:
            prepare(args.config_of(read), settings, log)
        if not read.command and ("--version" in words[1:] or "-v" in words[1:]):
            posix.write(1, f"gpubind-runtime version {VERSION}\n".encode())
        become(program, words[1:])
    except ToolkitError as error:
        log.fail(str(error))
        sys.exit(error.status)
    except Exception as error:  # noqa: BLE001 - an engine shows one line, never a traceback
        log.fail(errors.line(error, "RUNTIME-OS"))
        sys.exit(1)


def _settings(read: Arguments, log: Log) -> Config:
    """Give the configuration; a broken one must not keep a container from being stopped."""
    try:
        return config.load(environ=linux.environment())
    except ToolkitError as error:
        if read.makes_container:
            raise
        log.note(str(error))
        return config.Config({}, f"{paths.ETC}/config.toml")


def become(program: str, words: list[str]) -> None:
    """Replace this process by a program. Raises ToolkitError naming it where it can't be run.

    Python ignores two signals, and what is ignored stays so beyond execve(2): they are given back,
    or a container's processes would not end when nobody reads their output.
    """
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    try:
        posix.execv(program, [program, *words])
    except OSError as error:
        raise ToolkitError(
            f"{program} can't be run: {error.strerror}",
            identifier="RUNTIME-EXEC",
            hint=f"install it again, or name another at {config.RUNTIMES}",
        ) from None


def prepare(file: str, settings: Config, log: Log) -> None:
    """Inject what the container of the config.json `file` asks for. Raises ToolkitError.

    Most containers of a host ask for nothing: for them no more is loaded than finds that out.
    """
    from gpubind import request
    from gpubind.oci import spec

    document = spec.load(file)
    wanted = request.of(document, settings, file)
    for note in wanted.notes:
        log.note(note)
    if wanted.devices:
        from gpubind import injection

        log.detail(f"{file}: {wanted.source} ask for {', '.join(wanted.devices[:8])}")
        for note in injection.into(file, document, wanted, settings):
            log.note(note)


def lowlevel(settings: Config, own: str) -> str:
    """Give the path of the first low-level runtime of the configuration that is installed.

    A bare name is looked for in PATH and the usual folders; `own`, this program, is never taken.
    Raises ToolkitError where there is none.
    """
    candidates = settings.texts(config.RUNTIMES)
    path = f"{linux.environment().get('PATH', '')}:{PATH}"
    folders = [folder for folder in path.split(":") if folder.startswith("/")]
    for candidate in candidates:
        places = [candidate] if candidate.startswith("/") else [f"{f}/{candidate}" for f in folders]
        for place in places:
            if posix.access(place, posix.X_OK) and not _is_own(place, own):
                return place
    raise ToolkitError(
        f"no low-level runtime found: looked for {', '.join(candidates) or 'nothing'}",
        identifier="RUNTIME-ABSENT",
        hint=f"install runc, or name one in {settings.file} at {config.RUNTIMES}",
    )


def _is_own(place: str, own: str) -> bool:
    """Tell whether a candidate is this program, to run for ever, or nothing that can be run.

    A copy under another name counts too: two that name each other would never end.
    """
    try:
        with open(place, "rb", buffering=0) as file:
            if _MARK in file.read(512):
                return True
            return linux.same(posix.fstat(file.fileno()), posix.stat(own))
    except IsADirectoryError:
        return True
    except OSError:
        return False
