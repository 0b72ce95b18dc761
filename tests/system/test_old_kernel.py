# SPDX-License-Identifier: Apache-2.0
"""A kernel without openat2, memfd_create and the newer mount calls: the same containers, as safe.

The old kernel is played by a seccomp filter, see `oldkernel`; the runtime behind has it too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import image_roots
import pytest
import trees
from system import injected, oldkernel, roots
from system.engines.low_level import LowLevel

if TYPE_CHECKING:
    from pathlib import Path

    from system.nodes import Node
    from system.place import Place

pytestmark = pytest.mark.system

OLD = (sys.executable, "-IS", oldkernel.__file__, ",".join(oldkernel.NUMBERS))


@pytest.fixture(scope="module")
def idle(scratch: str) -> Node:
    """A node whose low-level runtime does nothing."""
    return injected.node(os.path.join(scratch, "idle"))


def test_each_of_its_calls_is_gone() -> None:
    call = (
        "import ctypes as c; lib = c.CDLL(None, use_errno=True); "
        f"print([(lib.syscall(n), c.get_errno()) for n in {list(oldkernel.NUMBERS.values())}])"
    )
    words = [*OLD, sys.executable, "-c", call]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert done.stdout == f"{[(-1, 38)] * len(oldkernel.NUMBERS)}\n"
    wanted = {"openat2", "open_tree", "memfd_create", "move_mount", "mount_setattr"}
    assert wanted <= set(oldkernel.NUMBERS)


@pytest.mark.parametrize("way", injected.WAYS)
@pytest.mark.parametrize(
    ("kind", "cache"),
    [
        ("distroless", "new"),
        ("fedora", "old"),
        ("fedora", "older driver"),
        ("alpine with a path file", "absent"),
        ("nixos with a linked cache", ""),
        ("scratch", ""),
    ],
)
def test_the_tree_is_that_of_a_new_kernel(
    kind: str, cache: str, way: str, idle: Node, tmp_path: Path
) -> None:
    os.makedirs(tmp_path / "new")
    os.makedirs(tmp_path / "old")
    new = image_roots.lay_out(kind, str(tmp_path / "new/rootfs"))
    if cache:
        image_roots.with_cache(new, cache)
    old = roots.copy(new, str(tmp_path / "old/rootfs"))
    injected.inject(idle, way, new)
    injected.inject(idle, way, old, OLD)
    assert injected.state(old) == injected.state(new)
    before = trees.seen(old)
    injected.inject(idle, way, old, OLD)
    assert trees.seen(old) == before


def older(program: str, scratch: str) -> str:
    """Give a program that runs this one under the old kernel."""
    name = os.path.join(scratch, f"older-{os.path.basename(program)}")
    with open(name, "w", encoding="utf-8") as stream:
        stream.write(f'#!/bin/sh\nexec {" ".join(OLD)} {program} "$@"\n')
    os.chmod(name, 0o755)
    return name


LOOK = "probe open /dev/nvidia0; probe make /tmp/other 195 1; ldconfig -p | grep -o 'libcuda.so.1 '"
FINE = "/dev/nvidia0: allowed\n/tmp/other: EPERM\nlibcuda.so.1 \n"


def test_a_container_has_its_gpu_and_no_other(
    simulated: Node, place: Place, minimal_root: str, scratch: str
) -> None:
    shim = LowLevel(place, minimal_root, scratch, older(simulated.runtime, scratch))
    done = shim.run("sh", "-c", LOOK, environment=injected.GPU_0)
    assert (done.stdout, done.stderr) == (FINE, "")


def test_the_shim_s_own_hook_does_its_part(
    simulated: Node, place: Place, minimal_root: str, scratch: str
) -> None:
    def change(config: dict[str, Any]) -> None:
        etc = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
        config["mounts"].append(etc)

    shim = LowLevel(place, minimal_root, scratch, older(simulated.runtime, scratch))
    done = shim.run("sh", "-c", LOOK, environment=injected.GPU_0, change=change)
    assert (done.stdout, done.stderr) == (FINE, "")


OUTWARD = {
    "a folder": "-> {canary}",
    "a folder, upwards": "-> ../../../../../../../../../../../../..{canary}",
    "through proc": "-> /proc/self/root{canary}",
    "a descriptor": "-> /proc/self/fd/3",
}


@pytest.mark.parametrize("name", ["/etc", "/usr", "/usr/lib", "/etc/ld.so.conf.d"])
@pytest.mark.parametrize("to", OUTWARD)
@pytest.mark.parametrize("way", injected.WAYS)
def test_no_link_leads_out_of_the_root(
    name: str, to: str, way: str, idle: Node, tmp_path: Path
) -> None:
    canary = trees.build(tmp_path / "canary", {"/ld.so.cache": "the host's", "/lib/x": "own"})
    before = trees.seen(canary)
    target = OUTWARD[to].replace("{canary}", canary)
    root = trees.build(tmp_path / "bundle/rootfs", {name: target})
    folder = injected.bundle(root)
    done = injected.call(idle, way, folder, OLD)
    assert trees.seen(canary) == before
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or done.stderr.endswith("[ROOT-WRITE]\n"), done.stderr
    shutil.rmtree(root)
