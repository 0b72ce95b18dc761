# SPDX-License-Identifier: Apache-2.0
"""What the shim and its hook do, seen by strace, while a container of real runtimes is created.

Nothing of the image is executed before the container's own process, and no file of Python is opened
while the container's root is open.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from system import injected
from system.engines.low_level import LowLevel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.nodes import Node
    from system.place import Place

pytestmark = pytest.mark.system

CALLS = "--trace=execve,execveat,open,openat,openat2,close,chroot,setns,chdir,fchdir"
EXECUTED = re.compile(r'^(\d+) +execve(?:at\(\S+ |\()"([^"]*)", \["([^"]*)"')
OPENED = re.compile(r'^(\d+) +open(?:at2?)?\((?:\S+, )?"([^"]*)".* = (\d+)$')
CLOSED = re.compile(r"^(\d+) +close\((\d+)\)")
MODULE = re.compile(r"\.pyc?$|\.so(\.\d+)*$")


RUNTIMES = ("/usr/sbin/runc", "/usr/bin/crun")


@pytest.fixture(scope="module", params=RUNTIMES)
def traced_node(request: pytest.FixtureRequest, scratch: str) -> Node:
    """A node with each of the low-level runtimes."""
    runtime: str = request.param
    return injected.node(os.path.join(scratch, f"traced-{os.path.basename(runtime)}"), runtime)


def hidden_etc(config: dict[str, Any]) -> None:
    """Mount over /etc, so that the hook has to do what the shim can't."""
    etc = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
    config["mounts"].append(etc)


@pytest.fixture(scope="module")
def trace(traced_node: Node, place: Place, minimal_root: str, scratch: str) -> list[str]:
    """What strace saw of a container with a hook, from the shim to the container's process."""
    log = os.path.join(scratch, f"{os.path.basename(traced_node.prefix)}-{id(traced_node)}.strace")
    program = f"{log}.sh"
    with open(program, "w", encoding="utf-8") as stream:
        # The tracer stays in the background: the caller waits for the shim, not for the container.
        strace = f"/usr/bin/strace -D -f -qq --string-limit=4096 {CALLS} --output={log}"
        stream.write(f'#!/bin/sh\n[ "$3" = create ] || exec {traced_node.runtime} "$@"\n')
        stream.write(f'exec {strace} {traced_node.runtime} "$@"\n')
    os.chmod(program, 0o755)
    words = ("/usr/bin/probe", "open", "/dev/nvidia0")
    for called in (traced_node.runtime, program):  # the first start compiles the specs
        shim = LowLevel(place, minimal_root, scratch, called)
        done = shim.run(*words, environment=injected.GPU_0, change=hidden_etc)
        assert done.stdout == "/dev/nvidia0: allowed\n"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with open(log, encoding="utf-8", errors="replace") as stream:
            lines = stream.read().splitlines()
        if any('execve("/usr/bin/probe"' in line for line in lines):
            return lines
        time.sleep(0.1)
    raise AssertionError("the trace does not end with the container's process")


def executed(trace: list[str]) -> list[tuple[str, str, str]]:
    """Give process, program and its own name for itself, of each program started."""
    found = (EXECUTED.match(line) for line in trace)
    return [(match[1], match[2], match[3]) for match in found if match]


def test_nothing_is_executed_before_the_container_s_own_process(
    trace: list[str], traced_node: Node
) -> None:
    # The runtimes start copies of themselves, by a descriptor or by /proc/self/exe.
    programs = [program for _, program, name in executed(trace) if name not in RUNTIMES]
    hook = f"{traced_node.prefix}/bin/gpubind-cdi-hook"
    assert programs == [traced_node.runtime, hook, "/usr/bin/probe"]


def processes(trace: list[str], traced_node: Node) -> Iterator[tuple[str, list[str]]]:
    """Give the lines of the shim, until it becomes the runtime, and of each hook."""
    started = [(pid, program) for pid, program, _ in executed(trace)]
    for pid, program in started:
        if program.startswith(traced_node.prefix):
            own = [line for line in trace if line.startswith(f"{pid} ")]
            begin = next(i for i, line in enumerate(own) if f'"{program}"' in line)
            later = [i for i, line in enumerate(own) if i > begin and " execve(" in line]
            yield program, own[begin : later[0] if later else None]


def test_no_module_is_opened_while_the_root_is_open(trace: list[str], traced_node: Node) -> None:
    seen = []
    for program, lines in processes(trace, traced_node):
        roots: set[str] = set()
        for line in lines:
            if opened := OPENED.match(line):
                if opened[2].endswith("/rootfs"):
                    roots.add(opened[3])
                    seen.append(os.path.basename(program))
                assert not (roots and MODULE.search(opened[2])), line
            elif closed := CLOSED.match(line):
                roots.discard(closed[2])
    assert set(seen) == {"gpubind-runtime", "gpubind-cdi-hook"}


def test_no_process_of_ours_enters_the_root(trace: list[str], traced_node: Node) -> None:
    calls = ("chroot(", "setns(", "chdir(", "fchdir(")
    for _, lines in processes(trace, traced_node):
        assert len(lines) > 10
        assert [line for line in lines if line.split()[1].startswith(calls)] == []
