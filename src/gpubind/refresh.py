# SPDX-License-Identifier: Apache-2.0
"""Running the generator from a container start: once for all that wait, with a time limit.

Loaded only when compiled specs are stale. A failure is remembered for a moment, so that a hundred
starts do not run a hundred generators that fail.
"""

from __future__ import annotations

import os
import time

from gpubind import paths, registry
from gpubind.config import stamp, trusted
from gpubind.errors import ToolkitError
from gpubind.oci import codec

LIMIT_S = 30.0
MEMORY_S = 5.0
_STEP_S = 0.005
_KEPT = 1 << 16  # bytes of what the program says: its last line is told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def run(
    folders: list[str],
    state: str = paths.STATE,
    program: str = paths.GENERATOR,
    limit_s: float = LIMIT_S,
) -> None:
    """Run `gpubind cdi compile`; return once `compiled.json` is new or another start made it so.

    Raises ToolkitError where the program is not installed, fails, or takes longer than `limit_s`.
    """
    before = stamp(f"{state}/compiled.json")
    if not os.access(program, os.X_OK):
        raise ToolkitError(
            f"{', '.join(folders)} changed and {program} is not installed to compile them",
            identifier="GENERATOR-ABSENT",
            hint="install the gpubind package or run 'gpubind cdi compile' elsewhere",
        )
    try:
        os.makedirs(state, 0o755, exist_ok=True)
        lock = os.open(f"{state}/compile.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ToolkitError(
            f"{error.filename}: {error.strerror}", identifier="STATE-WRITE"
        ) from None
    try:
        _wait_for(lock, limit_s)
        waited = stamp(f"{state}/compiled.json") != before
        if not waited and registry.current(folders, state) is None:
            _remembered(state)
            _generate(folders, state, program, limit_s)
    finally:
        os.close(lock)


def _wait_for(lock: int, limit_s: float) -> None:
    import fcntl

    deadline = time.monotonic() + limit_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ToolkitError(
                    f"another start has held the generator's lock for {limit_s:g} s",
                    identifier="GENERATOR-TIMEOUT",
                ) from None
            time.sleep(_STEP_S)
        else:
            return


def _remembered(state: str) -> None:
    """Fail at once where the generator failed a moment ago."""
    memory = trusted(f"{state}/compile.failed")
    if memory and 0 <= time.time() - memory.get("time", 0) < MEMORY_S:
        raise ToolkitError(
            f"the generator failed a moment ago: {memory.get('message')}",
            identifier="GENERATOR-FAILED",
        )


def _generate(folders: Sequence[str], state: str, program: str, limit_s: float) -> None:
    words = [program, "cdi", "compile", "--state-dir", state]
    for folder in folders:
        words += ["--spec-dir", folder]
    status, message = _spawn(words, limit_s)
    if status == 0:
        return
    reason = message or f"{program} ended with status {status}"
    _remember(state, reason)
    raise ToolkitError(reason, identifier="GENERATOR-FAILED")


def _spawn(words: list[str], limit_s: float) -> tuple[int, str]:
    """Run a program with no descriptor of ours but 0 to 2; give its status and last message."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reader, False)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1)]
    actions += [(os.POSIX_SPAWN_DUP2, writer, 2)]
    inherited = [int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
    closing = [(os.POSIX_SPAWN_CLOSE, fd) for fd in inherited if _is_inheritable(fd)]
    try:
        child = os.posix_spawn(
            words[0],
            words,
            {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            file_actions=[*actions, *closing],
            setpgroup=0,
        )
        status, text = _wait(child, reader, limit_s)
    except OSError as error:
        return 1, f"{words[0]}: {error.strerror}"
    finally:
        for fd in (reader, writer, null):
            os.close(fd)
    return (status, text) if status is not None else (1, f"{words[0]} took over {limit_s:g} s")


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False  # the listing's own descriptor


def _wait(child: int, reader: int, limit_s: float) -> tuple[int | None, str]:
    """Give the child's exit status, None where it had to be killed, and its last line.

    The pipe is emptied meanwhile: a child that says much must not wait for us.
    """
    said = b""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        said = (said + _said(reader))[-_KEPT:]
        if pid:
            lines = said.decode("utf-8", "replace").strip().splitlines()
            return os.waitstatus_to_exitcode(status), lines[-1] if lines else ""
        time.sleep(_STEP_S)
    os.killpg(child, 9)
    os.waitpid(child, 0)
    return None, ""


def _said(reader: int) -> bytes:
    try:
        return os.read(reader, 1 << 16)
    except BlockingIOError:
        return b""


def _remember(state: str, message: str) -> None:
    from gpubind import folder

    parent = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        data = codec.encode({"time": time.time(), "message": message})
        folder.write(parent, "compile.failed", data)
    finally:
        os.close(parent)
