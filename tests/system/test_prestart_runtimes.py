# SPDX-License-Identifier: Apache-2.0
"""The prestart hook under runc and crun by hand: hostile roots, namespaces, races, kernels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from system import deliveries, host, oldkernel, roots
from system.engines.low_level import LowLevel
from system.place import Place
from system.test_hostile_roots import CASES, TRAPS, contents, fine_or_refused, trapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.nodes import Node

pytestmark = pytest.mark.system

GPU_0 = {"NVIDIA_VISIBLE_DEVICES": "0", "NVIDIA_DRIVER_CAPABILITIES": "all"}
OPENS = ("/probe", "open", "/dev/nvidia0")
ALLOWED = "/dev/nvidia0: allowed\n"
FIRST_UID, COUNT = 100000, 65536


@pytest.fixture
def outside(scratch: str) -> Iterator[str]:
    """A folder of the host that no container may change."""
    folder = os.path.join(scratch, "outside-prestart")
    os.makedirs(f"{folder}/ld.so.conf.d")
    for name in ("file", "ld.so.cache", "ld.so.conf.d/00-gpubind.conf"):
        with open(f"{folder}/{name}", "w", encoding="utf-8") as stream:
            stream.write("the host's\n")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def smallest(minimal_root: str, scratch: str) -> str:
    """A root with nothing but the static probe."""
    folder = os.path.join(scratch, "smallest")
    os.makedirs(folder)
    shutil.copy(f"{minimal_root}/usr/bin/probe", f"{folder}/probe")
    return folder


def hooked(node: Node, config: dict[str, Any], *before: str) -> None:
    """Put our hook into a config.json, through the program `before`, as docker does."""
    words = [*before, f"{node.prefix}/bin/gpubind-runtime-hook", "prestart"]
    entry = {"path": words[0], "args": words, "env": ["PATH=/usr/bin:/bin"]}
    config["hooks"] = {"prestart": [entry]}


@pytest.mark.parametrize("case", CASES)
def test_the_host_stays_as_it_is(
    case: str, simulated: Node, place: Place, smallest: str, scratch: str, outside: str
) -> None:
    prepare = CASES[case].format(canary=outside)
    runc = LowLevel(place, smallest, scratch)
    runc.run(*OPENS, prepare=prepare, status=None)  # what runc does alone is not ours
    before, machine = contents(outside), host.snapshot()

    def change(config: dict[str, Any]) -> None:
        hooked(simulated, config)

    done = runc.run(*OPENS, environment=GPU_0, prepare=prepare, change=change, status=None)
    assert contents(outside) == before
    assert host.changes(machine, host.snapshot()) == []
    assert fine_or_refused(done, "/dev/nvidia0"), (done.returncode, done.stdout, done.stderr)


def test_nothing_of_the_image_runs_or_is_imported(
    simulated: Node, place: Place, smallest: str, scratch: str
) -> None:
    marker = os.path.join(scratch, "marker-prestart")
    root = roots.copy(smallest, os.path.join(scratch, "trapped-prestart"))
    trapped(root, marker)
    runc = LowLevel(place, root, scratch)
    environment = GPU_0 | TRAPS
    done = runc.run(*OPENS, environment=environment, change=lambda c: hooked(simulated, c))
    assert done.stdout == ALLOWED
    assert not os.path.exists(marker)


def test_after_the_root_is_entered_no_file_of_python_is_opened_and_nothing_executed(
    simulated: Node, place: Place, smallest: str, scratch: str
) -> None:
    log = os.path.join(scratch, "prestart.strace")
    calls = "--trace=execve,execveat,openat,open,setns,fork,vfork,clone,clone3"
    trace = ("/usr/bin/strace", "--follow-forks", calls, f"--output={log}")
    runc = LowLevel(place, smallest, scratch)
    done = runc.run(*OPENS, environment=GPU_0, change=lambda c: hooked(simulated, c, *trace))
    assert done.stdout == ALLOWED
    with open(log, encoding="utf-8") as stream:
        lines = [line.split(" ", 1)[1].strip() for line in stream]
    entered, left = (index for index, line in enumerate(lines) if line.startswith("setns("))
    inside = lines[entered + 1 : left]
    assert len(inside) > 10
    assert [line for line in inside if not line.startswith("openat(")] == []
    assert [line for line in inside if ".py" in line or '.so"' in line.split("(")[0]] == []


def test_crun(simulated: Node, smallest: str, scratch: str) -> None:
    # crun 1.8 wants cgroups of version 2, and to lock memory, which not every machine lets it.
    program = os.path.join(scratch, "crun-without-cgroups")
    with open(program, "w", encoding="utf-8") as stream:
        stream.write('#!/bin/sh\nexec /usr/bin/crun --cgroup-manager=disabled "$@"\n')
    os.chmod(program, 0o755)
    with Place("unified") as made:
        runtime = LowLevel(made, smallest, scratch, program)
        done = runtime.run(*OPENS, environment=GPU_0, change=lambda c: hooked(simulated, c))
    assert done.stdout == ALLOWED


def test_a_container_in_a_user_namespace(
    simulated: Node, place: Place, minimal_root: str, scratch: str
) -> None:
    root = roots.copy(minimal_root, os.path.join(scratch, "root-of-a-user"))
    subprocess.run(["/usr/bin/chown", "-hR", f"{FIRST_UID}:{FIRST_UID}", root], check=True)

    def change(config: dict[str, Any]) -> None:
        hooked(simulated, config)
        mapped = [{"containerID": 0, "hostID": FIRST_UID, "size": COUNT}]
        config["linux"] |= {"uidMappings": mapped, "gidMappings": mapped}
        config["linux"]["namespaces"].append({"type": "user"})

    runc = LowLevel(place, root, scratch)
    script = (
        "probe open /dev/nvidia0; ldconfig -p | grep -c 'libcuda.so.1 '; "
        "stat -c %u /etc/ld.so.cache /usr/lib/x86_64-linux-gnu/libcuda.so.1"
    )
    done = runc.run("sh", "-c", script, environment=GPU_0, change=change)
    assert done.stdout == f"{ALLOWED}1\n0\n0\n"


@pytest.mark.parametrize("missing", ["mount_setattr", ",".join(oldkernel.NUMBERS)])
def test_an_old_kernel(
    missing: str, simulated: Node, place: Place, smallest: str, scratch: str
) -> None:
    older = (sys.executable, oldkernel.__file__, missing)
    runc = LowLevel(place, smallest, scratch)
    done = runc.run(*OPENS, environment=GPU_0, change=lambda c: hooked(simulated, c, *older))
    assert done.stdout == ALLOWED


def test_the_old_kernel_is_one() -> None:
    call = "import ctypes as c; print(c.CDLL(None, use_errno=True).syscall(437), c.get_errno())"
    words = [sys.executable, oldkernel.__file__, "openat2", sys.executable, "-c", call]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert done.stdout == "-1 38\n"


def race(base: str, folder: str) -> dict[str, Any]:
    """Lay out a root and a folder outside of it below `base`; give what `deliveries` shall do."""
    for inner in ("rootfs/usr/lib", "rootfs/etc", "rootfs/opt", "outside/lib", "outside/a"):
        os.makedirs(f"{base}/{inner}")
    for file in ("library", "outside/library", "outside/lib/library", "outside/a/library"):
        with open(f"{base}/{file}", "w", encoding="utf-8") as stream:
            stream.write("the host's")
    os.symlink(f"{base}/outside", f"{base}/rootfs/swapped")
    targets = ["/usr/lib/library", "/etc/a/library", "/opt/a/library"]
    mounts = [{"hostPath": f"{base}/library", "containerPath": at} for at in targets]
    return {
        "root": f"{base}/rootfs",
        "edits": [{"mounts": mounts}],
        "links": [["library", "/usr/lib/library.1"], ["library", "/opt/library.1"]],
        "swap": [f"{base}/rootfs/{folder}", f"{base}/rootfs/swapped"],
        "rounds": 100,
    }


@pytest.mark.parametrize("folder", ["usr", "usr/lib", "etc", "opt"])
def test_a_folder_exchanged_with_a_link_out_of_the_root(
    folder: str, place: Place, scratch: str
) -> None:
    base = os.path.join(scratch, f"prestart-race-{folder.replace('/', '-')}")
    wanted = race(base, folder)
    before = contents(f"{base}/outside")
    answer = place.run(
        *(sys.executable, "-m", "system.deliveries", json.dumps(wanted)),
        environment={"PYTHONPATH": deliveries.PYTHONPATH},
        timeout=120,
    )
    assert contents(f"{base}/outside") == before
    seen = json.loads(answer.stdout)
    assert (seen["rounds"], seen["outside"], seen["own"]) == (100, [], {})
