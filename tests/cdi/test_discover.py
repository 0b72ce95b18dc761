# SPDX-License-Identifier: Apache-2.0
"""The driver's libraries are found with their links and their entries for the loader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import driver_roots
import pytest
from discovery import links, look, required
from driver_roots import FIFO, LIBRARIES, VERSION, Char, lib
from gpubind_cdi.discover import shared

if TYPE_CHECKING:
    from pathlib import Path

    from driver_roots import Tree

V = VERSION
CURRENT = f"{LIBRARIES}/nvidia/current"
NARROW = "/usr/lib/i386-linux-gnu"


def test_a_healthy_driver_lacks_nothing(tmp_path: Path) -> None:
    found = look(tmp_path, driver_roots.driver(), shared.discover)
    assert required(found) == []
    assert found.folders == (LIBRARIES,)
    assert links(found) == {
        f"{LIBRARIES}/libcuda.so.1": f"libcuda.so.{V}",
        f"{LIBRARIES}/libcuda.so": "libcuda.so.1",
        f"{LIBRARIES}/libnvidia-ml.so.1": f"libnvidia-ml.so.{V}",
        f"{LIBRARIES}/libnvidia-ptxjitcompiler.so.1": f"libnvidia-ptxjitcompiler.so.{V}",
    }


def test_a_library_is_mounted_where_its_file_really_is(tmp_path: Path) -> None:
    tree: dict[str, bytes | str | Char | None] = {
        **driver_roots.driver(at=CURRENT),
        "/etc/alternatives/cuda": f"-> {CURRENT}/libcuda.so.1",
        f"{LIBRARIES}/libcuda.so.1": "-> /etc/alternatives/cuda",
        f"{CURRENT}/libnvidia-allocator.so.{V}": lib("libnvidia-allocator.so.1"),
    }
    found = look(tmp_path, tree, shared.discover)
    assert (found.mounts[0].host, found.mounts[0].container) == (
        f"{tmp_path}{CURRENT}/libcuda.so.{V}",
        f"{CURRENT}/libcuda.so.{V}",
    )
    assert found.folders == (CURRENT,)
    assert found.entries[0].path == f"{CURRENT}/libcuda.so.1"
    gbm = {link: target for link, target in links(found).items() if "gbm" in link}
    assert gbm == {
        f"{CURRENT}/gbm/nvidia-drm_gbm.so": "../libnvidia-allocator.so.1",
        f"{LIBRARIES}/gbm/nvidia-drm_gbm.so": "../nvidia/current/libnvidia-allocator.so.1",
    }


def test_a_driver_in_a_nix_store_is_found_by_its_links(tmp_path: Path) -> None:
    driver, links_to = "/nix/store/1a-nvidia-x11/lib", "/nix/store/2b-graphics-drivers"
    tree: dict[str, bytes | str | Char | None] = {
        **driver_roots.driver(at=driver),
        "/run/opengl-driver": f"-> {links_to}",
        f"{links_to}/lib/libcuda.so.1": f"-> {driver}/libcuda.so.1",
        f"{links_to}/lib/libcuda.so.{V}": f"-> {driver}/libcuda.so.{V}",
        f"{links_to}/lib/libnvidia-ml.so.1": f"-> {driver}/libnvidia-ml.so.1",
    }
    found = look(tmp_path, tree, shared.discover)
    assert required(found) == []
    assert {mount.container.rpartition("/")[0] for mount in found.mounts} == {driver}
    assert (found.folders, found.entries[0].path) == ((driver,), f"{driver}/libcuda.so.1")


def test_32_bit_libraries_belong_to_compat32_alone(tmp_path: Path) -> None:
    tree: Tree = {
        **driver_roots.driver(),
        f"{NARROW}/libcuda.so.{V}": lib("libcuda.so.1", "i386"),
    }
    found = look(tmp_path, tree, shared.discover)
    uses = {mount.container: mount.use for mount in found.mounts}
    assert uses[f"{LIBRARIES}/libcuda.so.{V}"].capabilities == ("compute", "video")
    assert uses[f"{NARROW}/libcuda.so.{V}"].capabilities == ("compat32",)
    assert not uses[f"{NARROW}/libcuda.so.{V}"].required
    assert [(one.path, one.machine) for one in found.entries if one.machine == "i386"] == [
        (f"{NARROW}/libcuda.so.1", "i386")
    ]
    assert found.folders == (LIBRARIES, NARROW)


def test_libraries_of_another_machine_are_left_out_and_then_missing(tmp_path: Path) -> None:
    found = look(tmp_path, driver_roots.driver(), shared.discover, machine="aarch64")
    assert found.mounts == ()
    assert required(found) == [
        f"libcuda.so.{V} (CUDA driver API): not found for aarch64 in {tmp_path}",
        f"libnvidia-ml.so.{V} (NVML, the management API): not found for aarch64 in {tmp_path}",
        f"libnvidia-ptxjitcompiler.so.{V} (compiles PTX for the GPU at run time): "
        f"not found for aarch64 in {tmp_path}",
    ]


def test_a_damaged_required_library_is_named_with_its_fault(tmp_path: Path) -> None:
    tree: Tree = {
        **driver_roots.driver(),
        f"{LIBRARIES}/libcuda.so.{V}": lib("libcuda.so.1")[:200],
        f"{LIBRARIES}/libnvidia-ml.so.{V}": FIFO,
    }
    found = look(tmp_path, tree, shared.discover)
    assert required(found) == [
        f"libcuda.so.{V} (CUDA driver API): the file is cut off",
        f"libnvidia-ml.so.{V} (NVML, the management API): not a regular file",
    ]


def test_another_versions_libraries_are_not_mounted(tmp_path: Path) -> None:
    old = {
        name: content
        for name, content in driver_roots.driver("535.1").items()
        if name.endswith("535.1")
    }
    found = look(tmp_path, {**old, **driver_roots.driver()}, shared.discover)
    assert all(mount.container.endswith(V) for mount in found.mounts)


def test_a_library_the_table_does_not_know_is_for_everyone(tmp_path: Path) -> None:
    tree: Tree = {f"{LIBRARIES}/libnvidia-new.so.{V}": lib(f"libnvidia-new.so.{V}")}
    found = look(tmp_path, tree, shared.discover)
    (mount,) = found.mounts
    assert (mount.use.capabilities, mount.use.required) == ((), False)
    assert found.links == ()
    assert found.entries[0].path == f"{LIBRARIES}/libnvidia-new.so.{V}"


def test_libraries_of_other_versioning_are_found_by_pattern(tmp_path: Path) -> None:
    gbm = "libnvidia-egl-gbm.so"
    tree: Tree = {
        f"{LIBRARIES}/{gbm}.1.1.1": lib(f"{gbm}.1"),
        f"{LIBRARIES}/{gbm}.1": f"-> {gbm}.1.1.1",
        f"{LIBRARIES}/libnvidia-egl-other.so.1.2": lib("libnvidia-egl-other.so.1"),
        f"{LIBRARIES}/libEGL.so.1": lib("libEGL.so.1"),
    }
    found = look(tmp_path, tree, shared.discover)
    assert [mount.container for mount in found.mounts] == [f"{LIBRARIES}/{gbm}.1.1.1"]
    more = look(tmp_path, {}, lambda one: shared.discover(one, vendor_neutral=True))
    assert f"{LIBRARIES}/libEGL.so.1" in [mount.container for mount in more.mounts]


def test_developers_links_are_made_where_the_host_has_them(tmp_path: Path) -> None:
    tree: Tree = {
        f"{LIBRARIES}/libnvidia-cfg.so.{V}": lib("libnvidia-cfg.so.1"),
        f"{LIBRARIES}/libnvidia-cfg.so": "-> libnvidia-cfg.so.1",
        f"{LIBRARIES}/libnvcuvid.so.{V}": lib("libnvcuvid.so.1"),
        f"{LIBRARIES}/libnvcuvid.so": "no link",
    }
    found = links(look(tmp_path, tree, shared.discover))
    assert found == {
        f"{LIBRARIES}/libnvidia-cfg.so.1": f"libnvidia-cfg.so.{V}",
        f"{LIBRARIES}/libnvidia-cfg.so": "libnvidia-cfg.so.1",
        f"{LIBRARIES}/libnvcuvid.so.1": f"libnvcuvid.so.{V}",
    }


def test_the_vdpau_driver_is_mounted_but_not_entered_in_the_cache(tmp_path: Path) -> None:
    vdpau = f"{LIBRARIES}/vdpau/libvdpau_nvidia.so"
    tree: Tree = {**driver_roots.driver(), f"{vdpau}.{V}": lib("libvdpau_nvidia.so.1")}
    found = look(tmp_path, tree, shared.discover)
    assert f"{vdpau}.{V}" in [mount.container for mount in found.mounts]
    assert links(found)[f"{vdpau}.1"] == f"libvdpau_nvidia.so.{V}"
    assert not any("vdpau" in entry.path for entry in found.entries)
    assert found.folders == (LIBRARIES,)


@pytest.mark.parametrize(
    ("library_name", "link", "target"),
    [
        ("libGLX_nvidia.so", "libGLX_indirect.so.0", f"libGLX_nvidia.so.{V}"),
        ("libnvidia-opticalflow.so", "libnvidia-opticalflow.so", "libnvidia-opticalflow.so.1"),
        ("libnvidia-allocator.so", "gbm/nvidia-drm_gbm.so", "../libnvidia-allocator.so.1"),
        (
            "libnvidia-vulkan-producer.so",
            "libnvidia-vulkan-producer.so",
            f"libnvidia-vulkan-producer.so.{V}",
        ),
    ],
)
def test_links_that_programs_expect_are_made(
    tmp_path: Path, library_name: str, link: str, target: str
) -> None:
    tree: Tree = {f"{LIBRARIES}/{library_name}.{V}": lib(f"{library_name}.0")}
    assert links(look(tmp_path, tree, shared.discover))[f"{LIBRARIES}/{link}"] == target
