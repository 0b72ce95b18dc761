# SPDX-License-Identifier: Apache-2.0
"""Running the generator from a container start: once for all that wait, with a time limit.

Loaded only when compiled specs are stale. A failure is remembered for a moment, so that a hundred
starts do not run a hundred generators that fail.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # as in `runtime`
import os
import time

from gpubind import paths, registry
from gpubind.config import stamp, trusted
from gpubind.errors import ToolkitError
from gpubind.oci import codec

LIMIT_S = 30.0
MEMORY_S = 5.0
PARTIAL = 3
"""The generator's exit status where some GPU could not be described: the others are served."""

DOES = ("look at it", "compile them")
ELSEWHERE = ("", " or run 'gpubind cdi compile' elsewhere")
_STEP_S = 0.005
_KEPT = 1 << 16  # bytes of what the program says: its last line is told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Job:
    """What is made: `name` of its lock and memory, the `file`, and the words for the generator.

    `made` are the exit statuses that mean success.
    """

    __slots__ = ("file", "made", "name", "state", "words")

    def __init__(
        self, name: str, file: str, state: str, words: list[str], made: tuple[int, ...] = (0,)
    ) -> None:
        self.name = name
        self.file = f"{state}/{file}"
        self.state = state
        self.words = words
        self.made = made


def run(
    folders: list[str],
    state: str = paths.STATE,
    program: str = paths.GENERATOR,
    limit_s: float = LIMIT_S,
) -> None:
    """Run `gpubind cdi compile`; return once `compiled.json` is new or another start made it so.

    Raises ToolkitError where the program is not installed, fails, or takes longer than `limit_s`.
    """
    words = [program, "cdi", "compile", "--state-dir", state]
    for folder in folders:
        words += ["--spec-dir", folder]
    job = Job("compile", registry.FILE, state, words)
    changed = f"{', '.join(folders)} changed"
    _once(job, lambda: registry.current(folders, state) is not None, changed, limit_s)


def look(
    root: str,
    state: str = paths.STATE,
    program: str = paths.GENERATOR,
    limit_s: float = LIMIT_S,
    kind: str = "jit",
    *,
    fitting: bool = False,
) -> None:
    """Run `gpubind cdi compile --jit`, likewise for the driver in `root`; `kind` as in `jit`.

    With `fitting` also where that fits, unless another start had it made meanwhile.
    """
    from gpubind import jit

    words = [program, "cdi", "compile", "--state-dir", state, "--jit", "--driver-root", root]
    if kind.startswith(jit.CSV):
        words += ["--mode", "csv"]
    if kind.endswith(jit.ALL_LISTS):
        words.append("--csv-all")
    job = Job(kind, f"{kind}.json", state, words, made=(0, PARTIAL))
    changed = f"the driver in {root} was not looked at yet or has changed,"
    fits = (lambda: False) if fitting else (lambda: jit.current(root, state, kind) is not None)
    _once(job, fits, changed, limit_s)


def _once(job: Job, fits: Callable[[], bool], changed: str, limit_s: float) -> None:
    """Do a job unless another start does it while we wait for the lock, or what is there fits."""
    before = stamp(job.file)
    program = job.words[0]
    specs = job.name == "compile"
    if not os.access(program, os.X_OK):
        raise ToolkitError(
            f"{changed} and {program} is not installed to {DOES[specs]}",
            identifier="GENERATOR-ABSENT",
            hint=f"install the gpubind package{ELSEWHERE[specs]}",
        )
    try:
        os.makedirs(job.state, 0o755, exist_ok=True)
        lock = os.open(f"{job.state}/{job.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ToolkitError(
            f"{error.filename}: {error.strerror}", identifier="STATE-WRITE"
        ) from None
    try:
        _wait_for(lock, limit_s)
        waited = stamp(job.file) != before
        if not waited and not fits():
            _remembered(job)
            _generate(job, limit_s)
    finally:
        os.close(lock)


def _wait_for(lock: int, limit_s: float) -> None:
    """Take the lock. Who holds it for `limit_s` hears why it failed first, hence the tenth more."""
    import fcntl

    deadline = time.monotonic() + limit_s * 1.1
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


def _remembered(job: Job) -> None:
    """Fail at once where the generator failed a moment ago."""
    memory = trusted(f"{job.state}/{job.name}.failed")
    if memory and 0 <= time.time() - memory.get("time", 0) < MEMORY_S:
        raise ToolkitError(
            f"the generator failed a moment ago: {memory.get('message')}",
            identifier="GENERATOR-FAILED",
        )


def _generate(job: Job, limit_s: float) -> None:
    status, message = _spawn(job.words, limit_s)
    if status in job.made:
        return
    reason = message or f"{job.words[0]} ended with status {status}"
    _remember(job, reason)
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
            setsigdef=(_signal.SIGPIPE, _signal.SIGXFSZ),  # Python ignores them, and its children
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
    _reap(child)
    return None, ""


def _reap(child: int) -> None:
    """Take a killed child's status; one that not even that ends is left to init."""
    for _ in range(200):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(_STEP_S)


def _said(reader: int) -> bytes:
    try:
        return os.read(reader, 1 << 16)
    except BlockingIOError:
        return b""


def _remember(job: Job, message: str) -> None:
    from gpubind import folder

    parent = os.open(job.state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        data = codec.encode({"time": time.time(), "message": message})
        folder.write(parent, f"{job.name}.failed", data)
    except OSError:
        return  # a full disk, say: why the generator failed is what must be told
    finally:
        os.close(parent)
