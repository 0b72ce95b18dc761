# SPDX-License-Identifier: Apache-2.0
"""The driver's version, from whoever knows it best, and what the kernel says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import driver_roots
import pytest
from driver_roots import KERNEL, LIBRARIES, VERSION
from gpubind_cdi import driver
from gpubind_cdi.lookup import library

from gpubind.errors import ToolkitError
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

    from driver_roots import Tree

OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build  (root@x)\n"
)
OLD = f"{LIBRARIES}/libcuda.so.535.183.01"
NEW = f"{LIBRARIES}/libcuda.so.550.54.15"
LINK = f"{LIBRARIES}/libcuda.so.1"
MODULE = "/proc/driver/nvidia/version"


def version(folder: Path, tree: Tree, reported: str = "") -> str:
    with Root(driver_roots.grow(folder, tree)) as root:
        return driver.version(root, root, library.folders(root), reported)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (KERNEL, VERSION),
        (OPEN, VERSION),
        (KERNEL.replace("\n", "\r\n"), VERSION),
        ("", ""),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module\n", ""),
        ("GCC version:  12.2.0\n", ""),
        (f"NVRM version: {'9.' * 100_000}\n", ""),
        ("NVRM version: \u0661\u0662.\u0663\n", ""),
        ("\0" * 1000, ""),
    ],
)
def test_the_kernel_module_says_its_version(tmp_path: Path, text: str, want: str) -> None:
    with Root(driver_roots.grow(tmp_path, {MODULE: text})) as root:
        assert driver.kernel_version(root) == want


def test_no_kernel_module_has_no_version(tmp_path: Path) -> None:
    with Root(str(tmp_path)) as root:
        assert driver.kernel_version(root) == ""
        assert not driver.holds_system(root)


@pytest.mark.parametrize(
    ("tree", "reported", "want"),
    [
        ({NEW: ""}, VERSION, VERSION),
        ({NEW: "", OLD: ""}, "535.183.01", "535.183.01"),
        ({NEW: "", OLD: "", MODULE: KERNEL}, "", VERSION),
        ({NEW: "", OLD: "", MODULE: KERNEL.replace(VERSION, "535.183.01")}, "", "535.183.01"),
        ({NEW: "", OLD: "", LINK: "-> libcuda.so.535.183.01"}, "", "535.183.01"),
        ({NEW: "", OLD: "", LINK: "-> gone"}, "", VERSION),
        ({f"{LIBRARIES}/libcuda.so.99.1": "", NEW: ""}, "", VERSION),
        ({f"{LIBRARIES}/libnvidia-ml.so.{VERSION}": ""}, "", VERSION),
    ],
)
def test_the_version_is_the_reported_one_then_the_modules_then_the_libraries(
    tmp_path: Path, tree: Tree, reported: str, want: str
) -> None:
    assert version(tmp_path, tree, reported) == want


@pytest.mark.parametrize(
    ("tree", "reported", "message"),
    [
        ({}, "", "no NVIDIA driver in ROOT"),
        ({LINK: ""}, VERSION, "no NVIDIA driver in ROOT"),
        ({f"{LIBRARIES}/libcuda.so.5.x": ""}, "", "no NVIDIA driver in ROOT"),
        ({NEW: ""}, "../../etc", "'../../etc' is no driver version [DRV-VERSION]"),
        (
            {OLD: ""},
            VERSION,
            "the driver is 550.54.15, the libraries in ROOT are 535.183.01; reboot",
        ),
        ({OLD: "", MODULE: KERNEL}, "", "the driver is 550.54.15, the libraries in ROOT are 535"),
        (
            {OLD: "", MODULE: KERNEL},
            "535.183.01",
            "the kernel module is 550.54.15, NVML says 535.183.01; reboot",
        ),
    ],
)
def test_a_driver_that_does_not_fit_is_an_error_with_both_versions(
    tmp_path: Path, tree: Tree, reported: str, message: str
) -> None:
    with pytest.raises(ToolkitError) as caught:
        version(tmp_path, tree, reported)
    assert message.replace("ROOT", str(tmp_path)) in str(caught.value)


def test_mig_minors_are_read_line_by_line(tmp_path: Path) -> None:
    text = (
        "config 1\nmonitor 2\ngpu0/gi1/access 12\r\n gpu0/gi1/ci0/access\t13\n"
        "broken\ngpu1/gi0/access x\ngpu1/gi1/access 4 5\ngpu2/gi0/access -1\n"
        "gpu3/gi0/access \u0663\ngpu4/gi0/access 99999999999999999999\n"
    ) + "gpu9/gi0/access 7\n" * 100_000
    with Root(driver_roots.grow(tmp_path, {driver.MIG_MINORS: text})) as root:
        assert driver.mig_minors(root) == {
            "config": 1,
            "monitor": 2,
            "gpu0/gi1/access": 12,
            "gpu0/gi1/ci0/access": 13,
            "gpu9/gi0/access": 7,
        }
        assert driver.mig_minors(Root(f"{tmp_path}/proc")) == {}
