# SPDX-License-Identifier: Apache-2.0
"""What cannot be described is named, and the rest described; what leads elsewhere is not."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import driver_roots
import pytest
from driver_roots import LIBRARIES, VERSION, Known, needs_nodes
from generated_hosts import PARTS, PLAIN, TWO, again, made, names, parts, two
from gpubind_cdi import files
from gpubind_cdi.generate import generate
from gpubind_cdi.gpu import Fault

from gpubind.errors import ToolkitError, UsageError
from gpubind.root import Root

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpubind_cdi.generate import Generated
    from gpubind_cdi.gpu import GpuSource

pytestmark = needs_nodes


def missing(generated: Generated) -> list[str]:
    return [str(one) for one in generated.missing]


def test_a_gpu_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    gpus = Known([driver_roots.gpu(0)], [Fault(index=1, message="GPU is lost")])
    found = made(tmp_path, two(), gpus)
    assert "0" in names(found)
    assert missing(found) == ["GPU 1: could not be read: GPU is lost"]
    with pytest.raises(UsageError, match=r"GPU 1 could not be read: GPU is lost"):
        again(tmp_path, gpus, replace(PLAIN, device_ids=("1",)))


@pytest.mark.parametrize("node", [None, "a file", "-> gone"])
def test_a_gpu_without_its_node_is_left_out_and_named(tmp_path: Path, node: str | None) -> None:
    found = made(tmp_path, {**two(), "/dev/nvidia1": node})
    assert names(found) == ["0", TWO.known[0].uuid, "all"]
    (line,) = missing(found)
    assert line.startswith(f"GPU 1 ({TWO.known[1].uuid}): left out: /dev/nvidia1 (GPU): ")
    assert line.endswith("; run nvidia-modprobe -c 1")


def test_a_mig_device_without_its_capability_is_left_out_and_named(tmp_path: Path) -> None:
    tree = parts()
    del tree["/dev/nvidia-caps/nvidia-cap22"]
    found = made(tmp_path, tree, PARTS, replace(PLAIN, device_name_strategies=("index",)))
    assert names(found) == ["0:0", "2", "all"]
    assert missing(found)[0].startswith("MIG device 0:1 (MIG-1")


@pytest.mark.parametrize("gone", ["/dev/nvidiactl", f"{LIBRARIES}/libcuda.so.{VERSION}"])
def test_what_is_required_and_gone_is_named_and_the_rest_described(
    tmp_path: Path, gone: str
) -> None:
    tree = two()
    del tree[gone]
    found = made(tmp_path, tree)
    assert len(found.missing) == 1
    assert os.path.basename(gone) in missing(found)[0]
    assert len(found.spec.container_edits.mounts) >= 6


def test_what_a_healthy_host_may_lack_is_not_missing(tmp_path: Path) -> None:
    found = made(tmp_path, two())
    assert found.missing == ()
    assert "nvidia-imex (memory export between nodes): not found" in [
        str(one) for one in found.explain_missing
    ]


@pytest.mark.parametrize(
    ("gpus", "gone", "message"),
    [
        (Known(), (), "the driver serves none [DRV-NO-GPU]"),
        (Known(lost=[Fault(index=0, message="lost")]), (), "GPU 0: could not be read: lost"),
        (TWO, ("/dev/nvidia0", "/dev/nvidia1"), "GPU 1 ("),
        (
            Known([driver_roots.gpu(0, mig_enabled=True)]),
            (),
            "GPU 0 (GPU-00000000-0000-4000-8000-000000000000): MIG is enabled, and it has no MIG",
        ),
        (replace(TWO, version="535.1"), (), "kernel module is 550.54.15, NVML says 535.1"),
        (replace(TWO, version="../.."), (), "[DRV-VERSION]"),
    ],
)
def test_without_any_gpu_or_a_fitting_driver_there_is_no_spec(
    tmp_path: Path, gpus: GpuSource, gone: Sequence[str], message: str
) -> None:
    tree = {name: content for name, content in two().items() if name not in gone}
    with pytest.raises(ToolkitError) as caught:
        made(tmp_path, tree, gpus)
    assert message in str(caught.value)


def test_the_device_none_needs_no_gpu(tmp_path: Path) -> None:
    found = made(tmp_path, two(), Known(), replace(PLAIN, device_ids=("none",)))
    assert found.spec.devices[0].container_edits.env == ("NVCT_EMPTY_DEVICE=",)


def test_device_nodes_may_come_from_another_root(tmp_path: Path) -> None:
    driver_root = driver_roots.grow(tmp_path / "driver", driver_roots.driver())
    tree = {name: content for name, content in two().items() if name.startswith("/dev/")}
    dev_root = driver_roots.grow(tmp_path / "host", tree)
    with Root(driver_root) as root, Root(dev_root) as devices:
        found = generate(PLAIN, TWO, root, devices)
    edits = found.spec.container_edits
    assert {node.host_path.removesuffix(node.path) for node in edits.device_nodes} == {dev_root}
    assert all(mount.host_path.startswith(f"{driver_root}/") for mount in edits.mounts)


def test_a_hostile_root_leads_nowhere_else(tmp_path: Path) -> None:
    outside = driver_roots.grow(tmp_path / "outside", {"/secret": "x", **two()})
    up = "../" * 30
    tree = {
        **two(),
        "/usr/bin/nvidia-smi": f"-> {outside}/secret",
        f"{LIBRARIES}/libnvidia-cfg.so.{VERSION}": f"-> {up}{outside}/secret",
        f"{LIBRARIES}/libnvidia-fbc.so.{VERSION}": driver_roots.FIFO,
        f"{LIBRARIES}/libnvidia-ngx.so.{VERSION}": f"-> libnvidia-ngx.so.{VERSION}",
        "/lib/firmware": None,
        f"/lib/firmware/nvidia/{VERSION}": f"-> {outside}",
        "/etc/vulkan": f"-> {outside}",
        "/etc/ld.so.cache": b"glibc-ld.so.cache1.1" + b"\xff" * 4096,
        "/dev/dri/card0": f"-> {outside}/dev/nvidia0",
        "/sys/module/firmware_class/parameters/path": "../../../outside",
    }
    del tree[f"/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin"]
    found = made(tmp_path / "root", tree)
    assert "outside" not in files.text(found).decode()
    assert found.missing == ()
