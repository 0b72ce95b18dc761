# SPDX-License-Identifier: Apache-2.0
"""What discovery finds in a driver root: libraries with their links, files, sockets, nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import driver_roots
import pytest
from driver_roots import FIFO, LIBRARIES, SOCKET, VERSION, Char, lib, needs_nodes
from gpubind_cdi.discover import files, nodes, shared
from gpubind_cdi.driver import Driver
from gpubind_cdi.lookup import library

from gpubind.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from driver_roots import Tree
    from gpubind_cdi.discover.found import Found

V = VERSION
CURRENT = f"{LIBRARIES}/nvidia/current"
NARROW = "/usr/lib/i386-linux-gnu"


def look(
    folder: Path, tree: Tree, find: Callable[[Driver], Found], machine: str = "x86_64"
) -> Found:
    with Root(driver_roots.grow(folder, tree)) as root:
        return find(
            Driver(
                root=root,
                dev_root=root,
                system=root,
                version=V,
                machine=machine,
                folders=library.folders(root),
            )
        )


def links(found: Found) -> dict[str, str]:
    return {link.link: link.target for link in found.links}


def required(found: Found) -> list[str]:
    return [str(one) for one in found.missing if one.required]


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


def test_a_program_is_mounted_by_the_name_it_is_found_under(tmp_path: Path) -> None:
    tree: Tree = {
        "/usr/lib/nvidia/current/bin/nvidia-smi": "x",
        "/etc/alternatives/smi": "-> /usr/lib/nvidia/current/bin/nvidia-smi",
        "/usr/bin/nvidia-smi": "-> /etc/alternatives/smi",
        "/usr/bin/nvidia-imex": None,
        "/opt/bin/nvidia-debugdump": "x",
    }
    found = look(tmp_path, tree, files.programs)
    assert [(mount.host, mount.container) for mount in found.mounts] == [
        (f"{tmp_path}/usr/lib/nvidia/current/bin/nvidia-smi", "/usr/bin/nvidia-smi")
    ]
    assert required(found) == []


def test_x_modules_are_found_in_the_drivers_and_the_servers_folders(tmp_path: Path) -> None:
    own = f"{LIBRARIES}/nvidia/xorg"
    tree: Tree = {
        "/usr/lib/xorg/modules/drivers/nvidia_drv.so": "x",
        f"{own}/libglxserver_nvidia.so.{V}": "x",
        f"{own}/libglxserver_nvidia.so.535.1": "x",
    }
    found = look(tmp_path, tree, lambda one: files.modules(one, [LIBRARIES]))
    assert [mount.container for mount in found.mounts] == [
        "/usr/lib/xorg/modules/drivers/nvidia_drv.so",
        f"{own}/libglxserver_nvidia.so.{V}",
    ]
    assert links(found) == {f"{own}/libglxserver_nvidia.so": f"libglxserver_nvidia.so.{V}"}


def test_firmware_comes_from_every_folder_the_kernel_looks_in(tmp_path: Path) -> None:
    tree: Tree = {
        "/proc/sys/kernel/osrelease": "6.1.0-test\n",
        "/sys/module/firmware_class/parameters/path": "/opt/fw\n",
        f"/lib/firmware/6.1.0-test/nvidia/{V}/gsp_tu10x.bin": "x",
        f"/lib/firmware/nvidia/{V}/gsp_ga10x.bin": "x",
        f"/opt/fw/nvidia/{V}/gsp.bin": "x",
        f"/lib/firmware/nvidia/{V}/other.bin": "x",
        "/lib/firmware/nvidia/535.1/gsp.bin": "x",
    }
    found = look(tmp_path, tree, files.firmware)
    assert [mount.container for mount in found.mounts] == [
        f"/opt/fw/nvidia/{V}/gsp.bin",
        f"/lib/firmware/6.1.0-test/nvidia/{V}/gsp_tu10x.bin",
        f"/lib/firmware/nvidia/{V}/gsp_ga10x.bin",
    ]


def test_configuration_has_one_place_in_the_container(tmp_path: Path) -> None:
    tree: Tree = {
        "/usr/share/vulkan/icd.d/nvidia_icd.json": "x",
        "/vulkan/icd.d/nvidia_layers.json": "x",
        "/usr/local/share/glvnd/egl_vendor.d/10_nvidia.json": "x",
        "/usr/share/glvnd/egl_vendor.d/10_nvidia.json": "x",
        "/etc/OpenCL/vendors/nvidia.icd": FIFO,
    }
    found = look(tmp_path, tree, files.configs)
    assert {mount.container: mount.host for mount in found.mounts} == {
        "/etc/vulkan/icd.d/nvidia_icd.json": f"{tmp_path}/usr/share/vulkan/icd.d/nvidia_icd.json",
        "/etc/vulkan/icd.d/nvidia_layers.json": f"{tmp_path}/vulkan/icd.d/nvidia_layers.json",
        "/usr/share/glvnd/egl_vendor.d/10_nvidia.json": (
            f"{tmp_path}/usr/local/share/glvnd/egl_vendor.d/10_nvidia.json"
        ),
    }
    given = look(tmp_path, {}, lambda one: files.configs(one, ["/usr/share"]))
    assert len(given.mounts) == 2


def test_a_socket_must_be_one_and_is_mounted_writable(tmp_path: Path) -> None:
    tree: Tree = {
        "/run/nvidia-persistenced/socket": SOCKET,
        "/run/nvidia-fabricmanager/socket": "a file",
    }
    (mount,) = look(tmp_path, tree, files.sockets).mounts
    assert mount.container == "/run/nvidia-persistenced/socket"
    assert mount.options == ("nosuid", "nodev", "rbind", "rprivate", "noexec")


def test_the_mps_pipe_folder_is_required_when_it_is_asked_for(tmp_path: Path) -> None:
    tree: Tree = {"/tmp/nvidia-mps/control": FIFO}
    found = look(tmp_path, tree, lambda one: files.mps_pipe(one, "/tmp/nvidia-mps"))
    assert [mount.container for mount in found.mounts] == ["/tmp/nvidia-mps"]
    absent = look(tmp_path, {}, lambda one: files.mps_pipe(one, "/tmp/nvidia-mps/control"))
    assert [one.split(" ")[0] for one in required(absent)] == ["/tmp/nvidia-mps/control"]


@needs_nodes
def test_control_nodes_have_their_numbers_and_host_paths(tmp_path: Path) -> None:
    found = look(tmp_path, driver_roots.control(), nodes.control)
    assert [(one.path, one.host, one.major, one.minor, one.mode) for one in found.nodes] == [
        ("/dev/nvidiactl", f"{tmp_path}/dev/nvidiactl", 195, 255, 0o666),
        ("/dev/nvidia-uvm", f"{tmp_path}/dev/nvidia-uvm", 510, 0, 0o666),
        ("/dev/nvidia-uvm-tools", f"{tmp_path}/dev/nvidia-uvm-tools", 510, 1, 0o666),
        ("/dev/nvidia-modeset", f"{tmp_path}/dev/nvidia-modeset", 195, 254, 0o666),
    ]
    assert found.missing == ()


def test_a_node_that_is_none_is_missing_with_what_to_do(tmp_path: Path) -> None:
    tree: Tree = {"/dev/nvidiactl": "a file", "/dev/nvidia-uvm": "-> nowhere"}
    found = look(tmp_path, tree, nodes.control)
    assert required(found) == [
        "/dev/nvidiactl (control node of the driver): not a character device; "
        "load the kernel module nvidia and run nvidia-modprobe",
        "/dev/nvidia-uvm (unified memory): no such file or directory; run nvidia-modprobe -u -c 0",
    ]


@needs_nodes
def test_a_node_behind_a_link_is_described_where_it_is(tmp_path: Path) -> None:
    tree: Tree = {"/dev/nvidia0": "-> /dev/real", "/dev/real": Char(195, 0)}
    (node,) = look(tmp_path, tree, lambda one: nodes.gpu(one, driver_roots.gpu(0))).nodes
    assert (node.path, node.host) == ("/dev/nvidia0", f"{tmp_path}/dev/real")


@needs_nodes
def test_drm_nodes_come_from_the_gpus_own_bus_address(tmp_path: Path) -> None:
    drm = "/sys/bus/pci/devices/0000:01:00.0/drm"
    tree: Tree = {
        "/dev/nvidia0": Char(195, 0),
        **{f"{drm}/{name}": None for name in ("card1", "controlD65", "renderD128", "card", "x1")},
        "/dev/dri/card1": Char(226, 1, 0o660),
        "/dev/dri/card2": Char(226, 2, 0o660),
        "/dev/dri/by-path/pci-0000:01:00.0-card": "-> ../card1",
        "/dev/dri/by-path/pci-0000:01:00.0-render": "-> ../renderD128",
    }
    found = look(tmp_path, tree, lambda one: nodes.gpu(one, driver_roots.gpu(0)))
    assert [one.path for one in found.nodes] == ["/dev/nvidia0", "/dev/dri/card1"]
    assert links(found) == {"/dev/dri/by-path/pci-0000:01:00.0-card": "../card1"}
    assert [one.what for one in found.missing] == ["/dev/dri/renderD128 (DRM render node)"]
    assert required(found) == []


@needs_nodes
@pytest.mark.parametrize("profile", ["1g.10gb", "1g.10gb+gfx"])
def test_a_mig_device_is_its_parent_and_two_capabilities(tmp_path: Path, profile: str) -> None:
    tree: Tree = {
        "/dev/nvidia0": Char(195, 0),
        "/dev/nvidia-caps/nvidia-cap12": Char(508, 12, 0o444),
        "/dev/nvidia-caps/nvidia-cap13": Char(508, 13, 0o444),
        "/sys/bus/pci/devices/0000:01:00.0/drm/card1": None,
        "/dev/dri/card1": Char(226, 1, 0o660),
    }
    minors = {"gpu0/gi3/access": 12, "gpu0/gi3/ci0/access": 13, "gpu0/gi4/access": 21}
    part = driver_roots.mig(0, 3, profile)
    found = look(tmp_path, tree, lambda one: nodes.mig(one, driver_roots.gpu(0), part, minors))
    graphics = ["/dev/dri/card1"] if "gfx" in profile else []
    assert [one.path for one in found.nodes] == [
        "/dev/nvidia0",
        "/dev/nvidia-caps/nvidia-cap12",
        "/dev/nvidia-caps/nvidia-cap13",
        *graphics,
    ]
    other = driver_roots.mig(1, 4)
    lacking = look(tmp_path, {}, lambda one: nodes.mig(one, driver_roots.gpu(0), other, minors))
    assert [one.partition(":")[0] for one in required(lacking)] == [
        "/dev/nvidia-caps/nvidia-cap21 (MIG capability)",
        "gpu0/gi4/ci0/access (MIG capability)",
    ]
