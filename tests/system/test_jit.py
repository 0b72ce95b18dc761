# SPDX-License-Identifier: Apache-2.0
"""Mode jit-cdi on real runc: no spec is written by hand, and a change of the driver is followed."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from system import nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.engines.low_level import LowLevel
    from system.nodes import Node

pytestmark = pytest.mark.system

CONFIG = """\
[nvidia-container-cli]
root = "{root}"
[nvidia-container-runtime]
mode = "{mode}"
runtimes = ["/usr/sbin/runc"]
[nvidia-container-runtime.modes.cdi]
spec-dirs = ["{prefix}/cdi"]
"""
SCRIPT = """\
ls /dev | grep '^nvidia[0-9c]'
probe open /dev/nvidia0 /dev/nvidia1
LD_TRACE_LOADED_OBJECTS=1 LD_PRELOAD=libcuda.so.1 cat | grep -o 'libcuda.so.1 => [^ ]*'
"""
LIBCUDA = "libcuda.so.1 => /usr/lib/x86_64-linux-gnu/libcuda.so.1"


@pytest.fixture(scope="module")
def node(scratch: str) -> Node:
    """A node of this module's own, without any CDI spec."""
    made = nodes.make("simulated", f"{scratch}/jit")
    shutil.rmtree(os.path.dirname(made.spec))
    return made


def configure(node: Node, mode: str) -> None:
    with open(f"{node.prefix}/etc/gpubind/config.toml", "w", encoding="utf-8") as stream:
        stream.write(CONFIG.format(root=node.root, prefix=node.prefix, mode=mode))


def looked(shim: LowLevel, devices: str) -> list[str]:
    environment = {"NVIDIA_VISIBLE_DEVICES": devices}
    return shim.run("sh", "-c", SCRIPT, environment=environment).stdout.splitlines()


@pytest.mark.parametrize("mode", ["auto", "jit-cdi"])
def test_a_container_gets_the_gpu_of_the_driver_as_it_is_now(
    node: Node, low_level_runtime: Callable[[str], LowLevel], mode: str
) -> None:
    configure(node, mode)
    shim = low_level_runtime(node.runtime)
    one = ["nvidia1", "nvidiactl", "/dev/nvidia0: ENOENT", "/dev/nvidia1: allowed", LIBCUDA]
    assert looked(shim, "1") == one
    assert looked(shim, "runtime.nvidia.com/gpu=1") == one


def test_a_gpu_that_is_lost_leaves_the_others(
    node: Node, low_level_runtime: Callable[[str], LowLevel]
) -> None:
    configure(node, "jit-cdi")
    shim = low_level_runtime(node.runtime)
    assert "nvidia0" in looked(shim, "all")
    os.rename(f"{node.root}/dev/nvidia0", f"{node.root}/dev/lost")
    found = looked(shim, "all")
    os.rename(f"{node.root}/dev/lost", f"{node.root}/dev/nvidia0")
    assert found[:7] == [f"nvidia{number}" for number in range(1, 8)]
    assert found[-3:] == ["/dev/nvidia0: ENOENT", "/dev/nvidia1: allowed", LIBCUDA]
    assert looked(shim, "all")[0] == "nvidia0"
