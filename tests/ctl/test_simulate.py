# SPDX-License-Identifier: Apache-2.0
"""`gpubind simulate` lays out nodes that look like real machines, and touches nothing else."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from command_line import gpubind
from gpubind_cdi.simulated import Simulated
from simulated_nodes import node, tree

from gpubind.root import Root
from gpubind_ctl.simulate import kernel, layout, profile
from gpubind_ctl.simulate.entries import Link, Node

if TYPE_CHECKING:
    from pathlib import Path

ALL = (
    "cos",
    "desktop",
    "dgx-a100-mig",
    "dgx-h100",
    "gb200-nvl4",
    "orin",
    "t4",
    "vgpu-guest",
    "wsl2",
)
with open("/proc/devices", encoding="utf-8") as devices:
    HOST_DEVICES = devices.read()


def text(root: Path, path: str) -> str:
    return (root / path).read_text()


def test_the_list_describes_every_profile() -> None:
    outcome = gpubind("simulate", "--list")
    assert (outcome.status, outcome.err) == (0, "")
    assert [line.split()[0] for line in outcome.out.splitlines()] == list(ALL)


def test_a_node_is_said_in_one_line(tmp_path: Path) -> None:
    outcome = gpubind("simulate", "--profile", "t4", "--root", tmp_path / "node")
    assert outcome.status == 0
    assert outcome.out.startswith(
        f"{tmp_path}/node: simulated node t4, 1 GPU(s), driver 535.183.01"
    )
    assert outcome.out.count("\n") == 1


@pytest.mark.parametrize("name", ALL)
def test_the_inventory_is_one_that_generation_reads(tmp_path: Path, name: str) -> None:
    wanted = profile.load(name)
    with Root(str(node(name, tmp_path))) as root:
        source = Simulated(root)
        assert (source.driver_version(), source.cuda_version()) == (wanted.version, wanted.cuda)
        assert [gpu.uuid for gpu in source.gpus()] == [gpu.uuid for gpu in wanted.gpus]
        assert [len(gpu.mig) for gpu in source.gpus()] == [
            len(gpu.instances) for gpu in wanted.gpus
        ]


@pytest.mark.parametrize("name", ALL)
def test_no_uuid_address_or_node_is_used_twice(name: str) -> None:
    wanted = profile.load(name)
    uuids = [gpu.uuid for gpu in wanted.gpus]
    uuids += [mig.uuid for gpu in wanted.gpus for mig in gpu.instances]
    entries = layout.plan(wanted, "")
    nodes = [(entry.major, entry.minor) for entry in entries if isinstance(entry, Node)]
    for things in (uuids, [gpu.pci for gpu in wanted.gpus], nodes, [one.path for one in entries]):
        assert len(things) == len(set(things))


@pytest.mark.parametrize("name", ALL)
def test_every_link_of_a_node_leads_to_something_in_it(tmp_path: Path, name: str) -> None:
    links = [one.path for one in layout.plan(profile.load(name), "") if isinstance(one, Link)]
    if os.geteuid():  # no device nodes then, which these lead to
        links = [path for path in links if not path.startswith("/dev/")]
    with Root(str(node(name, tmp_path))) as root:
        assert [path for path in links if not root.exists(path)] == []


def test_a_driver_has_the_libraries_of_its_version(tmp_path: Path) -> None:
    libraries = "usr/lib/x86_64-linux-gnu"
    old, new = node("t4", tmp_path) / libraries, node("dgx-h100", tmp_path) / libraries
    assert os.readlink(new / "libcuda.so.1") == "libcuda.so.550.54.15"
    assert os.readlink(new / "libcuda.so") == "libcuda.so.1"
    assert os.readlink(new / "libGLX_indirect.so.0") == "libGLX_nvidia.so.550.54.15"
    assert os.readlink(new / "gbm/nvidia-drm_gbm.so") == "../libnvidia-allocator.so.1"
    assert (new / "vdpau/libvdpau_nvidia.so.550.54.15").is_file()
    assert (new / "libnvidia-gpucomp.so.550.54.15").is_file()
    assert not (old / "libnvidia-gpucomp.so.535.183.01").exists()
    assert (old / "libnvidia-vulkan-producer.so.535.183.01").is_file()
    assert not (new / "libnvidia-vulkan-producer.so.550.54.15").exists()


def test_only_the_desktop_has_32_bit_and_x11_files(tmp_path: Path) -> None:
    paths = {
        "i386": "usr/lib/i386-linux-gnu/libcuda.so.550.54.15",
        "x11": "usr/lib/x86_64-linux-gnu/nvidia/xorg/nvidia_drv.so",
        "glvnd": "usr/lib/x86_64-linux-gnu/libGL.so.1",
    }
    desktop, server = node("desktop", tmp_path), node("dgx-h100", tmp_path)
    assert [(desktop / path).exists() for path in paths.values()] == [True, True, True]
    assert [(server / path).exists() for path in paths.values()] == [False, False, False]
    assert not (desktop / "usr/lib/i386-linux-gnu/libnvoptix.so.1").exists()


@pytest.mark.parametrize(
    ("row", "shipped"),
    [
        ({}, True),
        ({"since": "550"}, True),
        ({"since": "551"}, False),
        ({"until": "550"}, False),
        ({"until": "551"}, True),
    ],
)
def test_a_library_is_shipped_since_one_branch_and_until_another(
    row: dict[str, str], *, shipped: bool
) -> None:
    assert profile._shipped(row, "550.54.15") is shipped


def test_nvidia_smi_says_that_the_node_is_simulated_and_lists_its_gpus(tmp_path: Path) -> None:
    root = node("dgx-a100-mig", tmp_path)
    done = subprocess.run([root / "usr/bin/nvidia-smi"], capture_output=True, check=True, text=True)
    said = done.stdout.splitlines()
    assert said[0].startswith("Simulated node dgx-a100-mig, laid out by gpubind: driver 550.54.15")
    assert (
        said[1] == "GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-57773701-c879-5a34-863c-5daf18286f9e)"
    )
    assert len(said) == 1 + 8 + 11


def test_the_kernel_shows_driver_gpus_and_bus(tmp_path: Path) -> None:
    root = node("dgx-h100", tmp_path)
    assert text(root, "proc/driver/nvidia/version").startswith(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
    )
    assert "ModifyDeviceFiles: 1\n" in text(root, "proc/driver/nvidia/params")
    assert "Bus Location: \t 0000:1b:00.0\n" in text(
        root, "proc/driver/nvidia/gpus/0000:1b:00.0/information"
    )
    device = "sys/bus/pci/devices/0000:df:00.0"
    shown = [text(root, f"{device}/{name}") for name in ("vendor", "device", "class")]
    assert shown == ["0x10de\n", "0x2330\n", "0x030200\n"]
    assert sorted(os.listdir(root / device / "drm")) == ["card8", "renderD135"]


@pytest.mark.parametrize(
    ("name", "line"), [("t4", "195 nvidia-frontend\n"), ("dgx-h100", "195 nvidia\n")]
)
def test_proc_devices_names_the_driver_as_its_version_does(
    tmp_path: Path, name: str, line: str
) -> None:
    assert line in text(node(name, tmp_path), "proc/devices")


def test_mig_devices_have_their_capabilities(tmp_path: Path) -> None:
    root = node("dgx-a100-mig", tmp_path)
    minors = dict(
        line.split() for line in text(root, "proc/driver/nvidia-caps/mig-minors").splitlines()
    )
    # the driver's own numbering: nine per GPU instance, fifteen of them per GPU
    known = {"config": "1", "gpu0/gi0/access": "3", "gpu0/gi1/ci0/access": "13"}
    assert {**known, "gpu1/gi0/access": "138", "gpu31/gi14/ci7/access": "4322"}.items() <= (
        minors.items()
    )
    # index 1 is the GPU with minor 3; its instance 1 is cut into three
    folder = root / "proc/driver/nvidia/capabilities/gpu3/mig/gi1"
    assert sorted(os.listdir(folder)) == ["access", "ci0", "ci1", "ci2"]
    said = f"DeviceFileMinor: {minors['gpu3/gi1/ci2/access']}\n"
    assert (folder / "ci2/access").read_text().startswith(said)


@pytest.mark.root
def test_no_device_of_a_node_leads_to_a_driver(tmp_path: Path) -> None:
    for name in ALL:
        for entry in layout.plan(profile.load(name), HOST_DEVICES):
            if isinstance(entry, Node):
                path = tmp_path / "node"
                os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(entry.major, entry.minor))
                with pytest.raises(OSError, match="No such device or address") as error:
                    os.open(path, os.O_RDWR)
                assert error.value.errno == errno.ENXIO
                path.unlink()


@pytest.mark.root
def test_device_nodes_have_the_numbers_modes_and_groups_of_real_ones(tmp_path: Path) -> None:
    root = node("desktop", tmp_path)
    found = {path: facts[:3] for path, facts in tree(root).items() if facts[0].startswith("c")}
    assert found["dev/nvidia0"] == ("crw-rw-rw-", os.makedev(195, 0), 0)
    assert found["dev/nvidiactl"] == ("crw-rw-rw-", os.makedev(195, 255), 0)
    assert found["dev/nvidia-caps/nvidia-cap1"][0] == "cr--------"
    assert found["dev/dri/renderD128"] == ("crw-rw----", os.makedev(312, 128), 105)
    assert os.readlink(root / "dev/dri/by-path/pci-0000:01:00.0-render") == "../renderD128"


def test_a_host_with_a_real_driver_gets_other_numbers() -> None:
    real = "Character devices:\n  1 mem\n195 nvidia\n\nBlock devices:\n259 blkext\n"
    block = "Character devices:\n  1 mem\n\nBlock devices:\n195 odd\n"
    assert [kernel.gpu_major(devices) for devices in (real, block, "")] == [309, 195, 195]


def test_the_daemons_sockets_are_sockets_that_nobody_listens_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = node("dgx-h100", tmp_path)
    assert stat.S_ISSOCK(os.stat(root / "run/nvidia-persistenced/socket").st_mode)
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect("run/nvidia-fabricmanager/socket")


def test_twice_is_once(tmp_path: Path) -> None:
    root = node("dgx-a100-mig", tmp_path)
    first = tree(root)
    node("dgx-a100-mig", tmp_path)
    assert tree(root) == first


def test_two_nodes_of_a_profile_are_alike_to_the_time_of_their_files(tmp_path: Path) -> None:
    one, two = node("t4", tmp_path / "a"), node("t4", tmp_path / "b")
    library = "usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01"
    assert tree(one) == tree(two)
    assert os.stat(one / library).st_mtime_ns == os.stat(two / library).st_mtime_ns


def test_an_earlier_node_is_replaced_whole(tmp_path: Path) -> None:
    root, other = tmp_path / "node", node("t4", tmp_path)
    for name in ("desktop", "t4"):
        layout.lay_out(profile.load(name), str(root))
    assert tree(root) == tree(other)


def test_an_interrupted_node_can_be_finished(tmp_path: Path) -> None:
    (tmp_path / "gpubind-node.json").write_text('{"format": 1, "profile": "t4"}')
    (tmp_path / "usr").mkdir()
    assert gpubind("simulate", "--profile", "t4", "--root", tmp_path).status == 0


def test_a_links_target_is_not_cleared_with_the_node(tmp_path: Path) -> None:
    root = node("t4", tmp_path)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (root / "link").symlink_to(tmp_path / "precious")
    node("t4", tmp_path)
    assert os.listdir(tmp_path / "precious") == ["file"]
    assert not (root / "link").exists()
