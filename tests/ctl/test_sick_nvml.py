# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi generate` with an NVML that fails: the rest is described, the loss named.

Each test is the real command on a driver root whose NVML library is a stub that obeys a script.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import driver_roots
import pytest
import sick_nodes
from driver_roots import LIBRARIES, VERSION
from sick_nodes import STUB, generate, gpu, indexes, mig, needs_stub, told

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Outcome

pytestmark = needs_stub

FOUR = "".join(gpu(index) for index in range(4))
PARTED = gpu(0) + gpu(1, mig=1) + mig(1, 0) + mig(1, 1) + gpu(2)
CALLS = 10  # one more than there are about a GPU without MIG
PARTED_CALLS = CALLS - 1 + 2 * (2 + 7 + 2 * 6)  # about one with two MIG devices in seven places
LEFT_OUT = "gpubind: missing: GPU 1: could not be read: "


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sick_nodes.node(tmp_path_factory.mktemp("sick") / "node", FOUR, 16, 7)


def is_without_gpu_1(outcome: Outcome, reason: str) -> bool:
    found = (outcome.status, indexes(outcome), outcome.err)
    return found == (3, ["0", "2", "3"], f"{LEFT_OUT}{reason}\n")


def test_a_healthy_node_is_quiet(root: Path) -> None:
    outcome = told(root, FOUR)
    assert (outcome.status, outcome.err, indexes(outcome)) == (0, "", ["0", "1", "2", "3"])


@pytest.mark.parametrize("call", range(1, CALLS))
def test_a_gpu_lost_at_any_call_leaves_the_others(root: Path, call: int) -> None:
    assert is_without_gpu_1(told(root, f"{FOUR}from 1 {call} error=15\n"), "GPU is lost")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (4, "Insufficient Permissions"),
        (11, "Interrupt Request Issue"),
        (16, "GPU requires restart"),
        (999, "Unknown"),
    ],
)
def test_whatever_nvml_says_of_a_gpu_is_told(root: Path, error: int, said: str) -> None:
    outcome = told(root, f"{FOUR}from 1 1 error={error}\n")
    assert (outcome.status, indexes(outcome)) == (3, ["0", "2", "3"])
    assert outcome.err.startswith(LEFT_OUT)
    assert said in outcome.err


def test_these_were_all_the_calls_about_a_gpu(root: Path) -> None:
    outcome = told(root, f"{FOUR}from 1 {CALLS} error=15\n")
    assert (outcome.status, outcome.err) == (0, "")


@pytest.mark.parametrize("call", range(1, PARTED_CALLS))
def test_a_gpu_with_mig_devices_lost_at_any_call_leaves_the_others(root: Path, call: int) -> None:
    outcome = told(root, f"{PARTED}from 1 {call} error=15\n")
    assert (outcome.status, indexes(outcome)) == (3, ["0", "2"])
    assert outcome.err == f"{LEFT_OUT}GPU is lost\n"


def test_these_were_all_the_calls_about_a_gpu_with_mig_devices(root: Path) -> None:
    outcome = told(root, f"{PARTED}from 1 {PARTED_CALLS} error=15\n")
    assert (outcome.status, indexes(outcome)) == (0, ["0", "1:0", "1:1", "2"])


@pytest.mark.parametrize("call", range(1, CALLS))
def test_a_library_that_aborts_at_any_call_about_a_gpu_costs_that_gpu(
    root: Path, call: int
) -> None:
    outcome = told(root, f"{FOUR}from 1 {call} abort=1\n")
    assert is_without_gpu_1(outcome, "NVML ended with signal 6 when asked about it")


@pytest.mark.parametrize("call", [1, 4, CALLS - 1])
def test_a_call_about_a_gpu_that_hangs_costs_that_gpu(root: Path, call: int) -> None:
    outcome = told(root, f"{FOUR}from 1 {call} sleep=60\n", limit_s=6.0)
    assert is_without_gpu_1(outcome, "NVML gave no answer within 3 s when asked about it")


@pytest.mark.parametrize("fault", ["error=999", "abort=1"])
def test_a_library_that_fails_when_all_is_told_costs_nothing(root: Path, fault: str) -> None:
    asked = 4 + 4 * (CALLS - 1)  # before the GPUs are counted again
    assert told(root, f"{FOUR}from * {asked} {fault}\n").status == 3
    outcome = told(root, f"{FOUR}from * {asked + 1} {fault}\n")
    assert (outcome.status, outcome.err, len(indexes(outcome))) == (0, "", 4)


def test_sixteen_gpus_that_hang_take_bounded_time(root: Path) -> None:
    script = "".join(gpu(index) for index in range(16))
    began = time.monotonic()
    outcome = told(root, f"{script}call nvmlDeviceGetUUID * sleep=60\n", limit_s=4.0)
    assert time.monotonic() - began < 30  # in turn they would take 32 s
    assert (outcome.status, outcome.out) == (1, "")
    assert "[DRV-NO-GPU]" in outcome.err
    assert outcome.err.count("gave no answer within") == 16


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("call nvmlInit_v2 * error=4", "run as root [DRV-NO-PERMISSION]"),
        ("call nvmlInit_v2 * error=7", "Insufficient Size (7); does nvidia-smi work? [DRV-NVML]"),
        ("call nvmlInit_v2 * error=9", "run modprobe nvidia [DRV-NOT-LOADED]"),
        ("call nvmlInit_v2 * error=13", "lacks a function (13); is it the driver's own"),
        ("call nvmlInit_v2 * error=18", "[DRV-MISMATCH]"),
        ("call nvmlInit_v2 * error=999", "Unknown Error (999); does nvidia-smi work? [DRV-NVML]"),
        ("call nvmlInit_v2 * abort=1", "ended with signal 6; see dmesg"),
        ("call nvmlInit_v2 * sleep=60", "gave no answer within 0.5 s; a GPU may hang: see dmesg"),
        ("call nvmlDeviceGetCount_v2 * error=999", "[DRV-NVML]"),
        ("call nvmlSystemGetDriverVersion * abort=1", "[DRV-CRASH]"),
        ("counts 0", "the driver serves none [DRV-NO-GPU]"),
        ("counts 100000", "gave what makes no sense"),
    ],
)
def test_a_library_of_which_nothing_is_had_is_one_clear_line_and_no_file(
    root: Path, tmp_path: Path, line: str, said: str
) -> None:
    file = tmp_path / "specs/nvidia.json"
    outcome = told(root, f"{FOUR}{line}\n", "--output", str(file), limit_s=1.0)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert said in outcome.err
    assert not file.exists()


def test_a_kernel_module_of_another_version_is_said_with_both_and_the_remedy(
    tmp_path: Path,
) -> None:
    root = sick_nodes.node(tmp_path, f"{gpu(0)}call nvmlInit_v2 * error=18\n")
    (root / "proc/driver/nvidia/version").write_text(
        driver_roots.KERNEL.replace(VERSION, "535.183.01")
    )
    assert generate(root).err == (
        f"gpubind: NVML ({tmp_path}{STUB}) is of driver 550.54.15, the loaded kernel module is "
        "535.183.01; reboot, or unload and load the nvidia kernel modules [DRV-MISMATCH]\n"
    )


@pytest.mark.parametrize(
    ("content", "identifier"),
    [
        (None, "DRV-NOT-FOUND"),
        (driver_roots.lib("libnvidia-ml.so.1", "aarch64"), "DRV-ARCH"),
        (driver_roots.lib("libnvidia-ml.so.1", "i386"), "DRV-ARCH"),
        (driver_roots.lib("libnvidia-ml.so.1"), "DRV-NVML"),
        (b"", "DRV-ARCH"),
        (b"\x7fELF", "DRV-ARCH"),
    ],
)
def test_a_library_that_is_none_for_this_machine_is_said(
    tmp_path: Path, content: bytes | None, identifier: str
) -> None:
    root = sick_nodes.node(tmp_path, gpu(0))
    library = root / STUB[1:]
    library.unlink()
    if content is not None:
        library.write_bytes(content)
    outcome = generate(root)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert f"[{identifier}]" in outcome.err


@pytest.mark.parametrize("line", ["from 1 3 error=15", "from 1 3 abort=1", "from 1 3 sleep=60"])
def test_strict_makes_a_loss_a_failure_and_leaves_the_file_as_it_was(
    root: Path, tmp_path: Path, line: str
) -> None:
    file = tmp_path / "nvidia.json"
    words = ("--output", str(file), "--state-dir", str(tmp_path / "state"), "--strict")
    assert told(root, FOUR, *words).status == 0
    before = (file.read_bytes(), os.stat(file).st_mtime_ns, os.listdir(tmp_path))
    outcome = told(root, f"{FOUR}{line}\n", *words, limit_s=6.0)
    assert outcome.status == 1
    assert outcome.err.startswith("gpubind: nothing written: GPU 1: could not be read: ")
    assert (file.read_bytes(), os.stat(file).st_mtime_ns, os.listdir(tmp_path)) == before


def test_the_libraries_of_a_sick_node_are_all_described(root: Path) -> None:
    well, sick = told(root, FOUR), told(root, f"{FOUR}from 1 3 abort=1\n")
    edits = [json.loads(one.out)["containerEdits"] for one in (well, sick)]
    assert edits[0] == edits[1]
    assert any(f"{LIBRARIES}/libcuda.so" in mount["hostPath"] for mount in edits[0]["mounts"])
