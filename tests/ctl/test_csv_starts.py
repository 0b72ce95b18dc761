# SPDX-License-Identifier: Apache-2.0
"""Container starts on a Jetson and on WSL2: real shims of an installation, generators counted."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import jit_hosts
import pytest
from command_line import gpubind
from driver_roots import needs_nodes

if TYPE_CHECKING:
    from pathlib import Path

    from jit_hosts import Host

pytestmark = needs_nodes
LISTS = "etc/nvidia-container-runtime/host-files-for-container.d"
LIBRARIES = "usr/lib/aarch64-linux-gnu/nvidia"
ALL_LISTS = "NVIDIA_REQUIRE_JETPACK=csv-mounts=all"
MODES = ("csv", "auto", "jit-cdi")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jit_hosts.install(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def host(installed: Path) -> Host:
    """A Jetson AGX Orin."""
    made = jit_hosts.fresh(installed)
    made.lay_out("orin")
    return made


@pytest.mark.parametrize("mode", MODES)
def test_the_lists_are_read_once_for_all_starts(host: Host, mode: str) -> None:
    host.configure(mode=mode)
    for _ in range(3):
        assert host.start("0") == (0, "")
        assert {"/dev/nvmap", "/dev/nvgpu/igpu0/ctrl", "/dev/nvidia0"} <= set(host.paths())
        assert f"{host.node}/{LIBRARIES}/libcuda.so.1.1" in host.sources()
        assert f"{host.node}/usr/src/tensorrt" not in host.sources()
        assert "hooks" not in host.config()
    assert host.runs() == 1
    links = [
        os.readlink(host.place / "bundle/rootfs" / name)
        for name in ("usr/lib/aarch64-linux-gnu/libcuda.so", f"{LIBRARIES}/libcuda.so.1")
    ]
    assert links == ["nvidia/libcuda.so", "libcuda.so.1.1"]


@pytest.mark.parametrize("mode", MODES)
def test_none_is_the_files_and_no_node(host: Host, mode: str) -> None:
    host.configure(mode=mode)
    assert host.start("none") == (0, "")
    assert host.paths() == []
    assert f"{host.node}/{LIBRARIES}/libcuda.so.1.1" in host.sources()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["all", "runtime.nvidia.com/gpu=0"])
def test_the_gpu_goes_by_its_names(host: Host, mode: str, name: str) -> None:
    host.configure(mode=mode)
    assert host.start(name) == (0, "")
    assert "/dev/nvmap" in host.paths()


def test_another_gpu_is_an_error(host: Host) -> None:
    host.configure(mode="csv")
    status, said = host.start("1")
    assert (status, "unresolvable CDI devices runtime.nvidia.com/gpu=1" in said) == (1, True)


@pytest.mark.parametrize("mode", MODES)
def test_all_lists_are_taken_by_who_asks_for_them_alone(host: Host, mode: str) -> None:
    host.configure(mode=mode)
    wanted = f"{host.node}/usr/src/tensorrt"
    for env, given in (((), False), ((ALL_LISTS,), True), ((), False), ((ALL_LISTS,), True)):
        assert host.start("0", *env) == (0, "")
        assert (wanted in host.sources()) is given
    assert host.runs() == 2


@pytest.mark.parametrize("value", ["csv-mounts", "all", "csv-mounts=ALL", ""])
def test_another_value_takes_the_usual_lists(host: Host, value: str) -> None:
    host.configure(mode="csv")
    assert host.start("0", f"NVIDIA_REQUIRE_JETPACK={value}") == (0, "")
    assert f"{host.node}/usr/src/tensorrt" not in host.sources()


def test_on_another_machine_that_has_the_driver_looked_at_once(host: Host) -> None:
    host.lay_out("t4")
    assert host.start("0") == (0, "")
    assert host.start("0", ALL_LISTS) == (0, "")
    assert (host.nodes(), host.runs()) == (["0"], 1)


def test_a_list_that_changes_is_read_at_the_next_start(host: Host) -> None:
    host.configure(mode="csv")
    host.start("0")
    with open(host.node / LISTS / "drivers.csv", "a", encoding="utf-8") as file:
        file.write("dir, /usr/src/tensorrt\n")
    for _ in range(2):
        assert host.start("0") == (0, "")
        assert f"{host.node}/usr/src/tensorrt" in host.sources()
    assert host.runs() == 2


@pytest.mark.parametrize("name", ["l4t.csv", "tensorrt.csv"])
def test_a_list_that_comes_is_read_at_the_next_start(host: Host, name: str) -> None:
    host.configure(mode="csv")
    (host.node / LISTS / "tensorrt.csv").unlink()
    host.start("0", ALL_LISTS)
    (host.node / LISTS / name).write_text("dir, /usr/src/tensorrt\n")
    for _ in range(2):
        assert host.start("0", ALL_LISTS) == (0, "")
        assert f"{host.node}/usr/src/tensorrt" in host.sources()
    assert host.runs() == 2


def test_a_node_that_comes_is_served_at_the_next_start(host: Host) -> None:
    host.configure(mode="csv")
    host.start("0")
    os.mknod(host.node / "dev/nvsciipc", 0o666 | 0o020000, os.makedev(319, 99))
    assert host.start("0") == (0, "")
    assert "/dev/nvsciipc" in host.paths()


def test_the_lists_folder_is_the_configured_one(host: Host) -> None:
    os.rename(host.node / LISTS, host.node / "lists")
    lists = 'nvidia-container-runtime.modes.csv.mount-spec-path = "/lists"'
    host.configure(lists, mode="csv")
    assert host.start("0") == (0, "")
    assert "/dev/nvmap" in host.paths()


def test_without_lists_the_start_says_so(host: Host) -> None:
    os.rename(host.node / LISTS, host.node / "lists")
    host.configure(mode="csv")
    status, said = host.start("0")
    assert (status, "[CSV-LISTS]" in said) == (1, True)


@pytest.mark.parametrize(
    ("lines", "folder"),
    [
        ((), "/usr/local/cuda/compat_orin"),
        (('nvidia-container-runtime.modes.csv.compat-container-root = "/opt/cu"',), "/opt/cu"),
    ],
)
def test_newer_cuda_in_an_image_is_looked_for_in_its_folder(
    host: Host, lines: tuple[str, ...], folder: str
) -> None:
    host.configure(*lines, mode="csv")
    assert host.start("0") == (0, "")
    (made,) = (host.place / "run").rglob("csv.json")
    assert json.loads(made.read_text())["specs"][0]["driver"]["compat"] == folder


def test_capabilities_decide_on_files_and_never_on_nodes(host: Host) -> None:
    host.configure(mode="csv")
    egl = f"{host.node}/{LIBRARIES}/libEGL_nvidia.so.0"
    assert host.start("0") == (0, "")
    without, nodes = host.sources(), host.paths()
    assert host.start("0", "NVIDIA_DRIVER_CAPABILITIES=all") == (0, "")
    assert (egl in without, egl in host.sources()) == (False, True)
    assert nodes == host.paths()


@pytest.mark.parametrize("name", ["all", "0", "GPU-c9bdf3f9"])
def test_on_wsl2_every_gpu_is_the_one_node(host: Host, name: str) -> None:
    host.lay_out("wsl2")
    if name.startswith("GPU-"):
        name = json.loads((host.node / "gpubind-node.json").read_text())["gpus"][0]["uuid"]
    for _ in range(2):
        assert host.start(name) == (0, "")
        assert host.paths() == ["/dev/dxg"]
        assert f"{host.node}/usr/lib/wsl/lib/libdxcore.so" in host.sources()
    assert host.runs() == 1


@pytest.mark.parametrize(
    ("requirement", "met"),
    [("cuda>=12.6", True), ("driver>=540,arch>=8.7", True), ("cuda>=99", False)],
)
def test_requirements_are_judged_by_what_nvml_tells(
    host: Host, requirement: str, *, met: bool
) -> None:
    host.configure(mode="csv")
    status, said = host.start("0", f"NVIDIA_REQUIRE_CUDA={requirement}")
    assert (status == 0, said == "") == (met, met)


def test_without_nvml_the_gpu_is_served_and_no_requirement_is_judged(host: Host) -> None:
    (host.node / "gpubind-node.json").unlink()
    host.configure(mode="auto")
    assert host.start("0") == (0, "")
    assert "/dev/nvmap" in host.paths()
    status, said = host.start("0", "NVIDIA_REQUIRE_CUDA=cuda>=99 brand=tesla,driver>=9000")
    assert (status, "[REQ-UNKNOWN]" in said) == (0, True)


def test_a_start_is_explained_with_the_line_of_the_list(host: Host) -> None:
    host.configure(mode="csv")
    host.start("0")
    bundle = host.place / "bundle"
    document = host.config()
    document["process"]["env"] = ["NVIDIA_VISIBLE_DEVICES=0", ALL_LISTS]
    for key in ("linux", "mounts"):
        document.pop(key, None)
    (bundle / "config.json").write_text(json.dumps(document))
    (state,) = {file.parent for file in (host.place / "run").rglob("csv.json")}
    config = host.place / "etc/gpubind/config.toml"
    outcome = gpubind("explain", "--bundle", bundle, "--config", config, "--state-dir", state)
    assert "mode csv (what a Tegra's lists name, as compiled for container starts): " in outcome.out
    assert (
        f"  device    /dev/nvmap 319:15: listed in {host.node}/{LISTS}/devices.csv:" in outcome.out
    )
    assert (
        f"  mount     /usr/src/tensorrt: listed in {host.node}/{LISTS}/tensorrt.csv:1"
        in outcome.out
    )


def test_another_driver_on_windows_is_served_at_the_next_start(host: Host) -> None:
    host.lay_out("wsl2")
    host.start("all")
    stores = host.node / "usr/lib/wsl/drivers"
    new = stores / "nv_dispi.inf_amd64_ffff"
    shutil.copytree(stores / "nv_dispi.inf_amd64_0c5ed7b0e5a4a1b2", new)
    os.utime(new / "libcuda.so.1.1")
    for _ in range(2):
        assert host.start("all") == (0, "")
        assert str(new / "libcuda.so.1.1") in host.sources()
    assert host.runs() == 2
