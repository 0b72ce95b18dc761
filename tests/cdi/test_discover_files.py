# SPDX-License-Identifier: Apache-2.0
"""Programs, X modules, firmware, configuration and sockets are found where they may be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from discovery import links, look, required
from driver_roots import FIFO, LIBRARIES, SOCKET, VERSION
from gpubind_cdi.discover import files

from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

    from driver_roots import Tree
    from gpubind_cdi.discover.found import Found
    from gpubind_cdi.driver import Driver

V = VERSION


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


def test_firmware_of_a_driver_in_a_folder_of_its_own_is_found_there(tmp_path: Path) -> None:
    outer, own = str(tmp_path), "/opt/driver"
    tree: Tree = {
        "/sys/module/firmware_class/parameters/path": f"{own}/firmware\n",
        f"{own}/firmware/nvidia/{V}/gsp_ga10x.bin": "x",
    }

    def moved(driver: Driver) -> Found:
        with Root(f"{outer}{own}") as root:
            return files.firmware(replace(driver, root=root))

    (mount,) = look(tmp_path, tree, moved).mounts
    assert (mount.host, mount.container) == (
        f"{outer}{own}/firmware/nvidia/{V}/gsp_ga10x.bin",
        f"/firmware/nvidia/{V}/gsp_ga10x.bin",
    )


def test_configuration_of_a_nix_host_has_the_same_place(tmp_path: Path) -> None:
    tree: Tree = {
        "/run/opengl-driver": "-> /nix/store/2b-graphics-drivers",
        "/nix/store/2b-graphics-drivers/share/vulkan/icd.d/nvidia_icd.x86_64.json": "x",
    }
    (mount,) = look(tmp_path, tree, files.configs).mounts
    assert mount.container == "/etc/vulkan/icd.d/nvidia_icd.x86_64.json"


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
