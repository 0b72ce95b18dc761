# SPDX-License-Identifier: Apache-2.0
"""A Jetson and a WSL2 machine on real runc: what a container sees there, by spec and without."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from system import nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.engines.low_level import LowLevel
    from system.engines.podman import Podman
    from system.nodes import Node

pytestmark = pytest.mark.system

CONFIG = """\
[nvidia-container-cli]
root = "{root}"
[nvidia-container-runtime]
mode = "{mode}"
runtimes = ["{lowlevel}"]
[nvidia-container-runtime.modes.cdi]
spec-dirs = ["{prefix}/cdi"]
"""
LOWLEVEL = ("/usr/sbin/runc", "/usr/bin/crun")
ORIN = """\
probe open /dev/nvmap /dev/nvgpu/igpu0/ctrl /dev/nvidia0 /dev/fb0
cd /usr/lib/aarch64-linux-gnu
readlink libcuda.so nvidia/libcuda.so nvidia/libcuda.so.1
ls nvidia/libcuda.so.1.1 /etc/nv_tegra_release /lib/firmware/tegra23x
ls nvidia/libEGL_nvidia.so.0 /usr/src/tensorrt 2>&1 | grep -c 'No such file'
touch nvidia/libcuda.so.1.1 2>&1 | grep -o 'Read-only file system'
grep -c /usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1 /etc/ld.so.cache
"""
SEEN_ON_ORIN = [
    "/dev/nvmap: allowed",
    "/dev/nvgpu/igpu0/ctrl: allowed",
    "/dev/nvidia0: allowed",
    "/dev/fb0: ENOENT",
    "nvidia/libcuda.so",
    "libcuda.so.1",
    "libcuda.so.1.1",
    "/etc/nv_tegra_release",
    "nvidia/libcuda.so.1.1",
    "",
    "/lib/firmware/tegra23x:",
    "nvhost_vic042.fw",
    "2",
    "Read-only file system",
    "1",
]
STORE = nodes.LIBRARIES["wsl2"]
WSL2 = f"""\
probe open /dev/dxg /dev/nvidiactl
readlink /usr/bin/nvidia-smi {STORE}/libcuda.so.1
nvidia-smi | grep '^GPU'
LD_TRACE_LOADED_OBJECTS=1 LD_PRELOAD=libcuda.so.1 cat | grep -o 'lib[a-z]*.so[.1]* => [^ ]*' | sort
"""
SEEN_ON_WSL2 = [
    "/dev/dxg: allowed",
    "/dev/nvidiactl: ENOENT",
    f"{STORE}/nvidia-smi",
    "libcuda.so.1.1",
    "GPU 0: NVIDIA GeForce RTX 4080 (UUID: GPU-",
    f"libcuda.so.1 => {STORE}/libcuda.so.1",
    "libdxcore.so => /usr/lib/wsl/lib/libdxcore.so",
]


@pytest.fixture(scope="module", params=LOWLEVEL)
def lowlevel(request: pytest.FixtureRequest) -> str:
    program: str = request.param
    if not os.path.exists(program):
        pytest.fail(f"{program} is missing: ./dev test --system installs it")
    return program


@pytest.fixture(scope="module")
def made(scratch: str) -> Callable[[str], Node]:
    known: dict[str, Node] = {}

    def make(name: str) -> Node:
        if name not in known:
            known[name] = nodes.make(name, f"{scratch}/embedded")
        return known[name]

    return make


def configure(node: Node, mode: str, lowlevel: str) -> None:
    with open(f"{node.prefix}/etc/gpubind/config.toml", "w", encoding="utf-8") as stream:
        stream.write(
            CONFIG.format(root=node.root, prefix=node.prefix, mode=mode, lowlevel=lowlevel)
        )


def looked(shim: LowLevel, script: str, devices: str, **environment: str) -> list[str]:
    given = {"NVIDIA_VISIBLE_DEVICES": devices, **environment}
    return shim.run("sh", "-c", script, environment=given).stdout.splitlines()


def cut(lines: list[str]) -> list[str]:
    """Give the lines without the UUID of a GPU."""
    return [line.partition("GPU-")[0] + "GPU-" if "UUID" in line else line for line in lines]


@pytest.mark.parametrize(
    ("mode", "devices"), [("cdi", "0"), ("cdi", "nvidia.com/gpu=all"), ("csv", "0"), ("auto", "0")]
)
def test_a_container_on_a_jetson_sees_what_the_lists_name(
    made: Callable[[str], Node],
    low_level_runtime: Callable[[str], LowLevel],
    lowlevel: str,
    mode: str,
    devices: str,
) -> None:
    node = made("orin")
    configure(node, mode, lowlevel)
    assert looked(low_level_runtime(node.runtime), ORIN, devices) == SEEN_ON_ORIN


def test_all_lists_and_capabilities_give_a_container_more(
    made: Callable[[str], Node], low_level_runtime: Callable[[str], LowLevel]
) -> None:
    node = made("orin")
    configure(node, "csv", LOWLEVEL[0])
    script = "ls /usr/src/tensorrt; ls /usr/lib/aarch64-linux-gnu/nvidia/libEGL_nvidia.so.0"
    more = {"NVIDIA_REQUIRE_JETPACK": "csv-mounts=all", "NVIDIA_DRIVER_CAPABILITIES": "all"}
    assert looked(low_level_runtime(node.runtime), script, "all", **more) == [
        "README",
        "/usr/lib/aarch64-linux-gnu/nvidia/libEGL_nvidia.so.0",
    ]


def test_none_is_no_node_at_all(
    made: Callable[[str], Node], low_level_runtime: Callable[[str], LowLevel]
) -> None:
    node = made("orin")
    configure(node, "csv", LOWLEVEL[0])
    script = "probe open /dev/nvmap /dev/nvidia0; ls /etc/nv_tegra_release"
    assert looked(low_level_runtime(node.runtime), script, "none") == [
        "/dev/nvmap: ENOENT",
        "/dev/nvidia0: ENOENT",
        "/etc/nv_tegra_release",
    ]


@pytest.mark.parametrize(("mode", "devices"), [("cdi", "all"), ("auto", "all"), ("auto", "0")])
def test_a_container_on_wsl2_sees_the_node_and_the_driver_windows_lends(
    made: Callable[[str], Node],
    low_level_runtime: Callable[[str], LowLevel],
    lowlevel: str,
    mode: str,
    devices: str,
) -> None:
    node = made("wsl2")
    configure(node, mode, lowlevel)
    assert cut(looked(low_level_runtime(node.runtime), WSL2, devices)) == SEEN_ON_WSL2


@pytest.mark.parametrize(("name", "device"), [("orin", "0"), ("orin", "all"), ("wsl2", "all")])
def test_podman_sees_the_same_by_the_spec_alone(
    made: Callable[[str], Node], podman_engine: Podman, name: str, device: str
) -> None:
    script, wanted = (ORIN, SEEN_ON_ORIN) if name == "orin" else (WSL2, SEEN_ON_WSL2)
    podman_engine.place.run("cp", made(name).spec, "/etc/cdi/nvidia.yaml")
    options = [f"--device=nvidia.com/gpu={device}"]
    found = podman_engine.run("sh", "-c", script, options=options).stdout.splitlines()
    # an engine knows no driver capabilities: the EGL library is there too
    assert cut(found) == ["1" if line == "2" else line for line in wanted]
