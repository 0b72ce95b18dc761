# SPDX-License-Identifier: Apache-2.0
"""Running the generator from a container start: once for all that wait, with a time limit.

Loaded only when compiled specs are stale. A failure is remembered for a moment, so that a hundred
starts do not run a hundred generators that fail.
"""

from __future__ import annotations

import os
import time

from gpubind import paths
from gpubind.config import stamp, trusted
from gpubind.errors import ToolkitError
from gpubind.oci import codec

LIMIT_S = 30.0
MEMORY_S = 5.0
_STEP_S = 0.005

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def run(folders: Sequence[str], state: str = paths.STATE, program: str = paths.GENERATOR) -> None:
    """Run `gpubind cdi compile`; return once `compiled.json` is new or another start made it so.

    Raises ToolkitError where the program is not installed, fails, or takes longer than LIMIT_S.
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
        _wait_for(lock)
        if stamp(f"{state}/compiled.json") == before:
            _remembered(state)
            _generate(folders, state, program)
    finally:
        os.close(lock)


def _wait_for(lock: int) -> None:
    import fcntl

    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ToolkitError(
                    f"another start has held the generator's lock for {LIMIT_S:.0f} s",
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


def _generate(folders: Sequence[str], state: str, program: str) -> None:
    words = [program, "cdi", "compile", "--state-dir", state]
    for folder in folders:
        words += ["--spec-dir", folder]
    status, message = _spawn(words)
    if status == 0:
        return
    reason = message or f"{program} ended with status {status}"
    _remember(state, reason)
    raise ToolkitError(reason, identifier="GENERATOR-FAILED")


def _spawn(words: list[str]) -> tuple[int, str]:
    """Run a program with no descriptor of ours but 0 to 2; give its status and last message."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
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
        status = _wait(child)
        text = _last_line(reader)
    except OSError as error:
        return 1, f"{words[0]}: {error.strerror}"
    finally:
        for fd in (reader, writer, null):
            os.close(fd)
    return (status, text) if status is not None else (1, f"{words[0]} took over {LIMIT_S:.0f} s")


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False  # the listing's own descriptor


def _wait(child: int) -> int | None:
    """Give the child's exit status, None where it had to be killed."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(_STEP_S)
    os.killpg(child, 9)
    os.waitpid(child, 0)
    return None


def _last_line(reader: int) -> str:
    try:
        data = os.read(reader, 1 << 16)
    except BlockingIOError:
        return ""
    lines = data.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


def _remember(state: str, message: str) -> None:
    from gpubind import folder

    parent = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        data = codec.encode({"time": time.time(), "message": message})
        folder.write(parent, "compile.failed", data)
    finally:
        os.close(parent)
