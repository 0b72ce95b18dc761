# SPDX-License-Identifier: Apache-2.0
"""Mode csv: which devices a Tegra has, by what NVML says or without it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import driver_roots
import generated_hosts
import pytest
import tegras
from driver_roots import Char, Known, lib, needs_nodes
from generated_hosts import made, node_paths
from gpubind_cdi.modes import table
from gpubind_cdi.modes.mode import Host
from tegras import LIBRARIES, MIXED, NO_NVML, ONE, ORIN, cuda, tree

from gpubind.errors import UsageError
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

    from gpubind_cdi.generate import Generated

pytestmark = needs_nodes
CSV = replace(generated_hosts.PLAIN, mode="csv")


def words(generated: Generated) -> list[str]:
    return [word for hook in generated.spec.container_edits.hooks for word in hook.args]


def absent(generated: Generated) -> list[str]:
    root = generated.sidecar["driver"]["root"]
    return [str(one).replace(root, "") for one in generated.explain_missing]


@pytest.mark.parametrize(("given", "names"), [(("0",), ["0", "all"]), (("all",), ["0", "all"])])
def test_a_device_is_asked_for_by_its_index(
    tmp_path: Path, given: tuple[str, ...], names: list[str]
) -> None:
    generated = made(tmp_path, tree(), NO_NVML, replace(CSV, device_ids=given))
    assert generated_hosts.names(generated) == names


def test_none_is_the_files_without_a_node(tmp_path: Path) -> None:
    generated = made(tmp_path, tree(), NO_NVML, replace(CSV, device_ids=("none",)))
    assert generated_hosts.names(generated) == ["none"]
    assert node_paths(generated, "none") == []
    assert generated.spec.container_edits.device_nodes == ()


def test_none_needs_no_node_to_be_there(tmp_path: Path) -> None:
    files = {name: value for name, value in tree().items() if not name.startswith("/dev/")}
    generated = made(tmp_path, files, NO_NVML, replace(CSV, device_ids=("none",)))
    assert generated_hosts.names(generated) == ["none"]


def test_nvml_is_not_asked_on_a_machine_that_is_no_tegra(tmp_path: Path) -> None:
    with Root(driver_roots.grow(tmp_path, generated_hosts.two())) as root:
        host = Host(root=root, dev_root=root, system=root, gpus=tegras.Untold(), machine="x86_64")
        assert table.resolve("auto", host)[0].name == "nvml"


def test_another_device_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no device '1'"):
        made(tmp_path, tree(), NO_NVML, replace(CSV, device_ids=("1",)))


def test_a_gpu_that_nvml_knows_has_its_uuid_and_figures(tmp_path: Path) -> None:
    generated = made(tmp_path, tree(), ONE, CSV)
    assert generated_hosts.names(generated) == ["0", ORIN.uuid, "all"]
    assert generated.sidecar["driver"] | {"root": ""} == {
        "version": "540.4.0",
        "root": "",
        "cuda": "12.4",
        "compat": "/usr/local/cuda/compat_orin",
    }
    assert [gpu["name"] for gpu in generated.sidecar["gpus"]] == ["Orin (nvgpu)"]


@pytest.mark.parametrize(
    ("name", "given", "folder"),
    [
        ("Orin (nvgpu)", "", "/usr/local/cuda/compat_orin"),
        ("NVIDIA Thor", "", ""),
        ("NVIDIA Thor", "/opt/compat", "/opt/compat"),
    ],
)
def test_newer_cuda_libraries_are_looked_for_where_images_have_them(
    tmp_path: Path, name: str, given: str, folder: str
) -> None:
    known = Known([replace(ORIN, name=name)])
    wanted = replace(CSV, csv_compat_root=given)
    generated = made(
        tmp_path, {**tree(f"lib, {LIBRARIES}/nvidia/libcuda.so.1.1"), **cuda()}, known, wanted
    )
    said = words(generated)
    at = said.index("enable-cuda-compat")
    place = ["--cuda-compat-container-root", folder] if folder else []
    assert said[at + 1 : at + 3 + len(place)] == ["--host-cuda-version", "12.4", *place]


def test_without_nvml_no_cuda_version_is_known_to_compare(tmp_path: Path) -> None:
    files = {**tree(f"lib, {LIBRARIES}/nvidia/libcuda.so.1.1"), **cuda()}
    assert "enable-cuda-compat" not in words(made(tmp_path, files, NO_NVML, CSV))


def test_beside_a_discrete_gpu_each_has_its_nodes(tmp_path: Path) -> None:
    nodes = {
        **driver_roots.control(),
        "/proc/driver/nvidia/version": driver_roots.KERNEL,
        "/dev/nvidia1": Char(195, 1),
        "/sys/bus/pci/devices/0005:01:00.0/drm/card1": None,
        "/dev/dri/card1": Char(226, 1),
    }
    lines = ("dev, /dev/nvidia1", "dev, /dev/nvidiactl", "dev, /dev/nvidia-modeset")
    generated = made(tmp_path, {**tree(*lines), **nodes}, MIXED, CSV)
    assert generated_hosts.names(generated) == [
        "0",
        "1",
        ORIN.uuid,
        tegras.BESIDE.uuid,
        "all",
    ]
    assert node_paths(generated, "0") == [
        *("/dev/nvidia-modeset", "/dev/nvidia0", "/dev/nvidia2", "/dev/nvidiactl", "/dev/nvmap"),
    ]
    assert node_paths(generated, "1") == [
        *("/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia1"),
        *("/dev/nvidiactl", "/dev/nvmap", "/dev/dri/card1"),
    ]


@pytest.mark.parametrize(
    ("source", "options", "why"),
    [
        (MIXED, {"csv_multiple": False}, "disable-multiple-csv-devices is set"),
        (
            Known([tegras.BESIDE, replace(ORIN, index=1)]),
            {},
            "not the first GPU alone is integrated",
        ),
        (
            Known([ORIN, replace(tegras.BESIDE, mig_enabled=True)]),
            {},
            "a GPU has MIG enabled, which is not supported beside an integrated one",
        ),
    ],
)
def test_otherwise_one_device_stands_for_all_and_it_is_said_why(
    tmp_path: Path, source: Known, options: dict[str, Any], why: str
) -> None:
    generated = made(tmp_path, tree(), source, replace(CSV, **options))
    assert generated_hosts.names(generated) == ["0", "all"]
    assert f"a device for each GPU: {why}" in absent(generated)


@pytest.mark.parametrize(
    ("files", "source", "machine", "mode", "why"),
    [
        (tree(), ONE, "aarch64", "csv", "the GPU Orin (nvgpu) is integrated"),
        (tree(), MIXED, "aarch64", "csv", "the GPU Orin (nvgpu) is integrated"),
        (
            {"/dev/nvmap": Char(10, 77)},
            Known([replace(ORIN, name="NVIDIA Thor", pci="0000:01:00.0")]),
            "aarch64",
            "csv",
            "the GPU NVIDIA Thor is integrated",
        ),
        (
            tree(),
            NO_NVML,
            "x86_64",
            "csv",
            "/etc/nv_tegra_release is there, and NVML knows no GPU: no NVML here",
        ),
        (
            {"/sys/devices/soc0/family": "Tegra\n", **tree(), "/etc/nv_tegra_release": None},
            NO_NVML,
            "aarch64",
            "csv",
            "this is a Tegra, and NVML knows no GPU: no NVML here",
        ),
        (
            {**generated_hosts.two(), "/etc/nv_tegra_release": ""},
            generated_hosts.TWO,
            "x86_64",
            "nvml",
            "nothing speaks for another mode",
        ),
        (
            generated_hosts.two(),
            generated_hosts.TWO,
            "aarch64",
            "nvml",
            "nothing speaks for another mode",
        ),
    ],
)
def test_auto_is_this_mode_for_an_integrated_gpu_and_a_tegra_without_nvml(
    tmp_path: Path, files: dict[str, Any], source: Any, machine: str, mode: str, why: str
) -> None:
    with Root(driver_roots.grow(tmp_path, files)) as root:
        host = Host(root=root, dev_root=root, system=root, gpus=source, machine=machine)
        found, reason = table.resolve("auto", host)
    assert (found.name, reason.replace(os.fspath(tmp_path), "")) == (mode, why)


def test_a_node_is_for_every_container_and_a_library_for_who_needs_it(tmp_path: Path) -> None:
    lines = ("lib, /usr/lib/libEGL_nvidia.so.0", "lib, /usr/lib/libnvos.so", "dev, /dev/dri/card0")
    files: dict[str, Any] = {
        "/usr/lib/libEGL_nvidia.so.0": lib("libEGL_nvidia.so.0", "aarch64"),
        "/usr/lib/libnvos.so": lib("libnvos.so", "aarch64"),
        "/dev/dri/card0": Char(226, 0),
    }
    items = made(tmp_path, {**tree(*lines), **files}, NO_NVML, CSV).sidecar["items"]
    assert [items[line.partition(", ")[2]]["capabilities"] for line in lines] == [
        ["graphics", "display"],
        [],
        [],
    ]
    assert {item["required"] for item in items.values()} == {False}
