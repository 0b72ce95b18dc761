# SPDX-License-Identifier: Apache-2.0
"""NVML's answers become an inventory; each fault of library, driver or GPU has its own message."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import driver_roots
import pytest
from driver_roots import FIFO, LIBRARIES, lib
from gpubind_cdi import asking, gpu, nvml, nvml_process
from nvml_double import Failed, Library, NotSupported, part, read, whole

from gpubind.errors import ToolkitError, UsageError
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

    from driver_roots import Tree

NATIVE = {"x86_64": "x86-64", "aarch64": "aarch64"}[os.uname().machine]
OTHER = "aarch64" if NATIVE == "x86-64" else "x86-64"


def test_a_gpus_facts_are_read() -> None:
    found = read(whole(0))
    assert (found.driver, found.cuda, found.faults) == ("550.54.15", "12.4", ())
    assert found.gpus == (
        gpu.Gpu(
            index=0,
            uuid="GPU-0",
            minor=0,
            pci="0000:01:00.0",
            name="NVIDIA H100",
            brand="Nvidia",
            architecture="9.0",
            memory=80 << 30,
        ),
    )


def test_mig_devices_are_read_with_their_profiles() -> None:
    parts = [part("MIG-a", "NVIDIA H100 MIG 1g.10gb+me"), None, part("MIG-b", "NVIDIA H100")]
    (one,) = read(whole(0, mig=parts)).gpus
    assert one.mig_enabled
    assert [mig.memory for mig in one.mig] == [10 << 30, 10 << 30]
    assert [(mig.index, mig.uuid, mig.gi, mig.ci, mig.profile) for mig in one.mig] == [
        (0, "MIG-a", 1, 2, "1g.10gb+me"),
        (2, "MIG-b", 1, 2, "3g.40gb"),
    ]


def test_a_gpu_that_uses_the_cpus_page_tables_is_coherent() -> None:
    found = read(whole(0, addressing=2), whole(1), whole(2, addressing=0))
    assert [one.coherent for one in found.gpus] == [True, False, False]


def test_what_older_drivers_do_not_know_stays_empty() -> None:
    absent = NotSupported("Function Not Found")
    asked = (
        *("Brand", "CudaComputeCapability", "AddressingMode", "MemoryInfo", "MigMode"),
        "GpuFabricInfo",
    )
    names = [f"nvmlDeviceGet{one}" for one in asked]
    faults: dict[tuple[str, int], Failed] = {(name, 0): absent for name in names}
    faults["nvmlSystemGetCudaDriverVersion", -1] = absent
    found = read(whole(0), faults=faults)
    (one,) = found.gpus
    assert (found.cuda, one.brand, one.architecture, one.memory) == ("", "Unknown", "", 0)


def test_a_tegras_own_gpu_is_on_no_bus_and_comes_first() -> None:
    names = ("nvmlDeviceGetPciInfo", "nvmlDeviceGetMinorNumber")
    own = dict.fromkeys(((name, 1) for name in names), NotSupported("Not Supported"))
    found = read(whole(0), whole(1, name=b"Orin (nvgpu)"), faults={**own})
    assert [(one.pci, one.minor, one.name) for one in found.gpus] == [
        ("0000:01:00.0", 0, "NVIDIA H100"),
        ("", 1, "Orin (nvgpu)"),
    ]
    assert [one.pci for one in gpu.numbered(found.gpus)[0]] == ["", "0000:01:00.0"]


PER_GPU = (
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetMinorNumber",
    "nvmlDeviceGetPciInfo",
    "nvmlDeviceGetName",
    "nvmlDeviceGetBrand",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetAddressingMode",
    "nvmlDeviceGetMigMode",
)


@pytest.mark.parametrize("call", PER_GPU)
def test_a_gpu_lost_at_any_call_leaves_the_others(call: str) -> None:
    found = read(whole(0), whole(1), whole(2), faults={(call, 1): Failed("GPU is lost")})
    assert [one.index for one in found.gpus] == [0, 2]
    assert found.faults == (gpu.Fault(index=1, message="GPU is lost"),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"uuid": "GPU-0"}, "GPU-0 is used twice"),
        ({"minor": 0}, "0 is used twice"),
        ({"minor": -1}, "found -1 (minor)"),
        ({"uuid": ""}, 'expected a UUID like GPU-1b2c, found ""'),
        ({"uuid": b"GPU-\xff\x00"}, "expected a UUID"),
        ({"pci": "nonsense"}, "expected a PCI address like"),
    ],
)
def test_a_gpu_that_makes_no_sense_leaves_the_others(changes: dict[str, Any], message: str) -> None:
    found = read(whole(0), whole(1, **changes))
    assert [one.index for one in found.gpus] == [0]
    assert message in found.faults[0].message


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount", "nvmlSystemGetDriverVersion"])
def test_a_fault_of_the_whole_driver_is_no_inventory(call: str) -> None:
    with pytest.raises(Failed):
        list(nvml.read(Library([whole(0)], {(call, -1): Failed("Driver Not Loaded")})))


def failed(folder: Path, tree: Tree) -> str:
    with Root(driver_roots.grow(folder, tree)) as root, pytest.raises(ToolkitError) as caught:
        nvml_process.source(root).gpus()
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not there"),
        (lib("libnvidia-ml.so.1", OTHER), f"is libnvidia-ml.so.1 for {OTHER}; install the driver"),
        (lib("libother.so.1", NATIVE), f"is libother.so.1 for {NATIVE}; install the driver's"),
        (lib("libnvidia-ml.so.1", NATIVE)[:99], "the file is cut off; install the driver's"),
        (FIFO, "not a regular file; install the driver's"),
    ],
)
def test_a_library_that_cannot_be_used_is_said_before_it_is_loaded(
    tmp_path: Path, content: bytes | str | None, message: str
) -> None:
    if content is None:
        said = failed(tmp_path, {f"{LIBRARIES}/libnvidia-ml.so.1": "-> gone"})
        assert said.startswith(f"no NVIDIA driver in {tmp_path}: no libnvidia-ml.so.1 in ")
        assert said.endswith("[DRV-NOT-FOUND]")
        return
    said = failed(tmp_path, {f"{LIBRARIES}/libnvidia-ml.so.1": content})
    assert message in said
    assert said.endswith("[DRV-ARCH]")


def test_the_first_library_for_this_machine_is_loaded_and_its_fault_told(tmp_path: Path) -> None:
    tree: Tree = {
        "/usr/lib64/libnvidia-ml.so.1": lib("libnvidia-ml.so.1", OTHER),
        f"{LIBRARIES}/libnvidia-ml.so.5.5": lib("libnvidia-ml.so.1", NATIVE),
        f"{LIBRARIES}/libnvidia-ml.so.1": "-> libnvidia-ml.so.5.5",
        "/proc/driver/nvidia/version": driver_roots.KERNEL,
    }
    said = failed(tmp_path, tree)
    place = f"{tmp_path}{LIBRARIES}/libnvidia-ml.so.5.5, kernel module {driver_roots.VERSION}"
    assert said.startswith(f"NVML ({place}): the library lacks a function (13); is it the driver's")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["error", 4, "x"], "no permission to open the driver's device nodes; run as root"),
        (["error", 9, "x"], "nvidia is not loaded; run modprobe nvidia [DRV-NOT-LOADED]"),
        (["error", 18, "x"], "is of driver 550.54, the loaded kernel module is 535.1; reboot, or"),
        (["error", 999, "Unknown Error"], "Unknown Error (999); does nvidia-smi work?"),
        (["driver", {}, 0], "gave what makes no sense"),
        (["driver", {"version": "550.54", "cuda": 1}, 0], "gave what makes no sense"),
    ],
)
def test_what_the_child_tells_is_an_error_with_the_next_step(
    line: list[object], message: str
) -> None:
    answer = asking.Answer()
    answer.take(json.dumps(line).encode())
    found = nvml_process.Driver("/x/libnvidia-ml.so.550.54", "535.1")
    with pytest.raises(ToolkitError) as caught:
        nvml_process.judged(answer, found)
    assert message in str(caught.value)
    assert "/x/libnvidia-ml.so.550.54" in str(caught.value)


@pytest.mark.parametrize("said", ["0", "-1", "601", "nan", "soon", "30s"])
def test_a_time_limit_that_is_none_is_refused(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBIND_NVML_TIMEOUT", said)
    with pytest.raises(UsageError, match=r"GPUBIND_NVML_TIMEOUT is .* \[USE-TIMEOUT\]"):
        nvml_process.limit()


def test_the_time_limit_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBIND_NVML_TIMEOUT", "2.5")
    assert nvml_process.limit() == 2.5
    monkeypatch.delenv("GPUBIND_NVML_TIMEOUT")
    assert nvml_process.limit() == 30.0


@pytest.mark.parametrize(
    ("told", "want"), [({}, ""), ({"recovery": 0}, "none"), ({"recovery": 1}, "reset")]
)
def test_what_the_driver_asks_for_to_recover_a_gpu_is_read(told: dict[str, int], want: str) -> None:
    assert read(whole(0, **told)).gpus[0].recovery == want


def test_a_driver_that_is_too_old_asks_for_nothing() -> None:
    faults = {("nvmlDeviceGetFieldValues", 0): NotSupported("no such function")}
    assert read(whole(0), faults=faults).gpus[0].recovery == ""
