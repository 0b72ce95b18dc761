# SPDX-License-Identifier: Apache-2.0
"""The kinds of devices besides GPUs: what each mode describes, as what, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import driver_roots
import pytest
from driver_roots import LIBRARIES, VERSION, Char, Known, needs_nodes
from generated_hosts import PLAIN, again, made, names, node_paths, two
from gpubind_cdi.modes import table

from gpubind.errors import ToolkitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpubind_cdi.generate import Generated
    from gpubind_cdi.gpu import Fault, Gpu

pytestmark = needs_nodes

OTHERS: dict[str, Any] = {
    **{f"/dev/nvidia-fs{n}": Char(314, n) for n in (0, 1, 10)},
    "/dev/nvidia-fs2": "a file",
    "/run/udev/data": None,
    "/etc/cufile.json": "{}",
    "/dev/infiniband/uverbs0": Char(231, 192),
    "/dev/infiniband/rdma_cm": Char(10, 58),
    "/dev/infiniband/issm0": Char(231, 64),
    "/dev/gdrdrv": Char(317, 0),
    "/dev/nvidia-nvswitchctl": Char(313, 255),
    "/dev/nvidia-nvswitch0": Char(313, 0),
    "/dev/nvidia-nvlink": Char(319, 0),
    **{f"/dev/nvidia-caps-imex-channels/channel{n}": Char(318, n) for n in (0, 2, 10)},
    "/dev/nvidia-caps-imex-channels/channel": Char(318, 11),
    "/dev/nvidia-caps/nvidia-cap1": Char(311, 1, 0o400),
    "/usr/bin/nvidia-xconfig": "x",
}


class Silent(Known):
    """A source that may not be asked."""

    def driver_version(self) -> str:
        raise AssertionError

    def gpus(self) -> Sequence[Gpu]:
        raise AssertionError

    def faults(self) -> Sequence[Fault]:
        raise AssertionError


def described(folder: Path, mode: str, tree: dict[str, Any], **options: Any) -> Generated:
    return made(folder, tree, Silent(), replace(PLAIN, mode=mode, **options))


def mounts(generated: Generated) -> list[str]:
    return [mount.container_path for mount in generated.spec.container_edits.mounts]


@pytest.mark.parametrize(
    ("mode", "kind", "nodes"),
    [
        ("gds", "nvidia.com/gds", [f"/dev/nvidia-fs{n}" for n in (0, 1, 10)]),
        ("mofed", "nvidia.com/mofed", ["/dev/infiniband/rdma_cm", "/dev/infiniband/uverbs0"]),
        ("gdrcopy", "nvidia.com/gdrcopy", ["/dev/gdrdrv"]),
        (
            "nvswitch",
            "nvidia.com/nvswitch",
            ["/dev/nvidia-nvswitch0", "/dev/nvidia-nvswitchctl"],
        ),
    ],
)
def test_a_group_of_nodes_is_one_device_of_its_own_kind(
    tmp_path: Path, mode: str, kind: str, nodes: list[str]
) -> None:
    found = described(tmp_path, mode, OTHERS)
    assert (found.spec.kind, names(found), node_paths(found, "all")) == (kind, ["all"], nodes)
    assert found.spec.container_edits.env == ("NVIDIA_VISIBLE_DEVICES=void",)
    assert found.spec.container_edits.hooks == ()
    assert mounts(found) == (["/run/udev", "/etc/cufile.json"][::-1] if mode == "gds" else [])
    assert found.missing == ()


@pytest.mark.parametrize(("name", "minor"), [("config", 7), ("monitor", 2)])
def test_what_manages_mig_is_one_node_by_the_number_the_kernel_lists(
    tmp_path: Path, name: str, minor: int
) -> None:
    tree = {
        "/proc/driver/nvidia/version": "",
        "/proc/driver/nvidia-caps/mig-minors": "config 7\nmonitor 2\ngpu0/gi0/access 1\n",
        **{f"/dev/nvidia-caps/nvidia-cap{number}": Char(311, number) for number in (1, 2, 7)},
    }
    found = described(tmp_path, f"mig-{name}", tree)
    assert (found.spec.kind, names(found)) == (f"nvidia.com/mig-{name}", ["all"])
    assert node_paths(found, "all") == [f"/dev/nvidia-caps/nvidia-cap{minor}"]


@pytest.mark.parametrize(
    "tree", [{}, {"/proc/driver/nvidia-caps/mig-minors": "config 7\n"}], ids=["unlisted", "no node"]
)
def test_without_its_node_there_is_nothing_that_manages_mig(
    tmp_path: Path, tree: dict[str, Any]
) -> None:
    with pytest.raises(ToolkitError) as caught:
        described(tmp_path, "mig-config", {"/proc/driver/nvidia/version": "", **tree})
    assert caught.value.identifier == "GEN-NO-NODES"


def test_storage_works_without_its_files(tmp_path: Path) -> None:
    found = described(tmp_path, "gds", {"/dev/nvidia-fs0": Char(314, 0)})
    assert (mounts(found), found.missing) == ([], ())
    assert [one.what.partition(" ")[0] for one in found.explain_missing] == [
        "/run/udev",
        "/etc/cufile.json",
    ]


def test_each_channel_is_a_device_with_its_numbers(tmp_path: Path) -> None:
    found = described(tmp_path, "imex", OTHERS)
    assert found.spec.kind == "nvidia.com/imex-channel"
    assert names(found) == ["0", "10", "2", "all"]
    (node,) = found.spec.devices[1].container_edits.device_nodes
    assert (node.path, node.major, node.minor, node.permissions) == (
        "/dev/nvidia-caps-imex-channels/channel10",
        318,
        10,
        "rwm",
    )
    assert len(node_paths(found, "all")) == 3


@pytest.mark.parametrize(
    ("ids", "want"),
    [
        (("2",), ["2", "all"]),
        (("channel2", "0"), ["0", "2", "all"]),
        (("all",), ["0", "10", "2", "all"]),
        (("none",), ["none"]),
    ],
)
def test_only_the_channels_asked_for_are_described(
    tmp_path: Path, ids: tuple[str, ...], want: list[str]
) -> None:
    assert names(described(tmp_path, "imex", OTHERS, device_ids=ids)) == want


def test_management_has_all_nodes_of_the_driver_and_no_others(tmp_path: Path) -> None:
    found = described(tmp_path, "management", {**two(), **OTHERS})
    assert (found.spec.kind, names(found)) == ("management.nvidia.com/gpu", ["all"])
    assert node_paths(found, "all") == [
        *(f"/dev/nvidia{name}" for name in ("-modeset", "-uvm", "-uvm-tools", "0", "1", "ctl")),
        *(f"/dev/nvidia-caps-imex-channels/channel{n}" for n in (0, 10, 2)),
        "/dev/nvidia-caps/nvidia-cap1",
    ]
    given = mounts(found)
    assert f"{LIBRARIES}/libcuda.so.{VERSION}" in given
    assert "/usr/bin/nvidia-smi" in given
    assert "/usr/bin/nvidia-xconfig" not in given
    (hook,) = found.spec.container_edits.hooks
    assert "update-ldcache" in hook.args
    assert "enable-cuda-compat" in hook.args
    assert "disable-device-node-modification" not in hook.args


def test_management_needs_no_gpu_that_works(tmp_path: Path) -> None:
    tree = {**driver_roots.driver(), "/dev/nvidiactl": Char(195, 255)}
    assert node_paths(described(tmp_path, "management", tree), "all") == ["/dev/nvidiactl"]


@pytest.mark.parametrize(
    ("mode", "looked_for"),
    [
        ("gds", "/dev/nvidia-fs[0-9]*; load the kernel module nvidia-fs"),
        ("mofed", "/dev/infiniband/uverbs[0-9]*; load"),
        ("gdrcopy", "/dev/gdrdrv; load"),
        ("nvswitch", "/dev/nvidia-nvswitch[0-9]*; the driver makes"),
        ("imex", "/dev/nvidia-caps-imex-channels/channel[0-9]*; see nvidia-modprobe"),
        ("management", "/dev/nvidia*; load"),
    ],
)
def test_a_host_without_such_nodes_is_told_so(tmp_path: Path, mode: str, looked_for: str) -> None:
    tree = {"/dev/infiniband/rdma_cm": Char(10, 58), "/dev/nvidia-nvlink": Char(319, 0)}
    with pytest.raises(ToolkitError) as caught:
        described(tmp_path, mode, tree)
    assert str(caught.value).startswith(f"nothing to describe for mode {mode}: no character device")
    assert looked_for in str(caught.value)
    assert (caught.value.identifier, caught.value.status) == ("GEN-NO-NODES", 1)


@pytest.mark.parametrize(
    ("mode", "ids", "message"),
    [
        ("gds", ("0",), "no device '0'; mode gds has only all"),
        ("management", ("GPU-0",), "no device 'GPU-0'; mode management has only all"),
        ("imex", ("7",), "no IMEX channel 7 in "),
        (
            "imex",
            ("1048576",),
            "'1048576' is no IMEX channel; use all, or a number from 0 to 1048575",
        ),
        ("imex", ("-1",), "'-1' is no IMEX channel"),
        ("imex", ("channel01",), "'channel01' is no IMEX channel"),
    ],
)
def test_a_device_that_a_mode_does_not_have_is_bad_usage(
    tmp_path: Path, mode: str, ids: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        described(tmp_path, mode, {**two(), **OTHERS}, device_ids=ids)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "asks"),
    [("nvml", True), ("auto", True), ("bogus", True), ("GDS", False), ("management", False)],
)
def test_only_modes_that_may_ask_for_gpus_start_to(mode: str, *, asks: bool) -> None:
    assert table.asks_gpus(mode) == asks


def test_vendor_and_class_can_be_others(tmp_path: Path) -> None:
    found = described(tmp_path, "gds", OTHERS, vendor="example.com", device_class="disk")
    assert found.spec.kind == "example.com/disk"


def test_specs_of_all_kinds_fit_into_one_folder(tmp_path: Path) -> None:
    kinds = {f"{mode.vendor}/{mode.device_class}" for mode in table.MODES.values()}
    assert len(kinds) == len(table.MODES) - 2  # nvml, wsl and csv are never on one host
    made(tmp_path, {**two(), **OTHERS})
    found = again(tmp_path, options=replace(PLAIN, mode="nvml"))
    assert found.spec.kind == "nvidia.com/gpu"


def test_auto_does_without_the_other_kinds(tmp_path: Path) -> None:
    found = made(tmp_path, two())
    assert (found.mode, found.reason) == ("nvml", "nothing speaks for another mode")
