# SPDX-License-Identifier: Apache-2.0
"""Deliver into a container that is nothing but a process in a mount namespace of its own.

Started as a program with one word, a JSON object: `root`, `edits`, and optionally `links` and `old`
(system calls the kernel shall not have). Prints a JSON object: the
error or "", notes, what was done, and the container's mounts below the root with their options.
With `swap` and `rounds` it delivers while two names are exchanged (see `race`).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from system import oldkernel

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHECKOUT = os.path.dirname(TESTS)
# For a Python that is not the tests' own, in a place with another system.
PYTHONPATH = ":".join((TESTS, f"{CHECKOUT}/src", f"{CHECKOUT}/hooks"))
PRIVATE = ["/usr/bin/unshare", "--mount", "--propagation", "private"]
INSIDE = ["/bin/sh", "-c", "echo ready; read line"]


def deliver(root: str, edits: list[Any], **wanted: Any) -> dict[str, Any]:
    """Run this file in a mount namespace of its own, so that nothing can reach the host."""
    asked = json.dumps({"root": root, "edits": edits, **wanted})
    words = [*PRIVATE, sys.executable, "-m", "system.deliveries", asked]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=TESTS)
    if done.returncode:
        raise AssertionError(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def mounts(pid: int, root: str) -> dict[str, str]:
    """Give a process's mounts below a folder: place in there to options of the mount."""
    found: dict[str, str] = {}
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
        for line in file:
            place, options = line.split(" ")[4:6]
            if place.startswith(f"{root}/"):
                found[place.removeprefix(root)] = options
    return found


def act(wanted: Any, pid: int) -> dict[str, Any]:
    """Deliver, and give what became of it."""
    from gpubind_hooks import delivery

    from gpubind import injection, plan, request
    from gpubind.errors import ToolkitError

    decision = injection.Decision(request.Request())
    decision.root = wanted["root"]
    decision.edits = wanted["edits"]
    decision.now = [plan.Link(target, link) for target, link in wanted.get("links", [])]
    error, done = "", []
    try:
        done = delivery.deliver(decision, pid, cgroups=False)
    except ToolkitError as caught:
        error = str(caught)
    seen = {"error": error, "notes": decision.notes, "done": done}
    return {
        **seen,
        "mounts": mounts(pid, wanted["root"]),
        "own": mounts(os.getpid(), wanted["root"]),
    }


def race(wanted: Any) -> dict[str, Any]:
    """Deliver again and again while two names in the root are exchanged, see renameat2(2).

    Gives the container's mounts that are neither in its root nor below the folder exchanged.
    """
    first, second = (os.fsencode(name) for name in wanted["swap"])
    child = os.fork()
    if not child:
        exchange = ctypes.CDLL(None).renameat2
        while True:
            exchange(-100, first, -100, second, 2)
    outside: list[str] = []
    own: dict[str, str] = {}
    try:
        for _ in range(wanted["rounds"]):
            with container() as pid:
                own |= act(wanted, pid)["own"]
                base = os.path.dirname(wanted["root"])
                outside += [at for at in mounts(pid, base) if at.startswith("/outside")]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {"rounds": wanted["rounds"], "outside": outside, "own": own}


@contextlib.contextmanager
def container() -> Iterator[int]:
    """Start a process in a mount namespace of its own; it ends with the block."""
    process = subprocess.Popen([*PRIVATE, *INSIDE], stdin=-1, stdout=-1)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def main() -> None:
    """Start the container's process, deliver, print."""
    wanted = json.loads(sys.argv[1])
    if "swap" in wanted:
        json.dump(race(wanted), sys.stdout)
        return
    with container() as pid:
        if wanted.get("old"):
            oldkernel.forget(wanted["old"])
        json.dump(act(wanted, pid), sys.stdout)


if __name__ == "__main__":
    main()
