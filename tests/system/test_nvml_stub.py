# SPDX-License-Identifier: Apache-2.0
"""The NVML stub answers the real nvidia-ml-py as its script says."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from system import drivers

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system

SCRIPT = """\
driver 535.183.01
cuda 12020
gpu uuid=GPU-a minor=3 pci=0001:0a:00.0 name=NVIDIA_A100 brand=14 cc=8.0 mig=1
mig uuid=MIG-a gi=1 ci=0 slices=1 memory=4864
gpu uuid=GPU-b minor=4 pci=0000:0b:00.0 name=Tesla_T4 brand=2 cc=7.5
"""
READER = """\
import ctypes, json, sys, pynvml as n
ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
n.nvmlInit()
told = [n.nvmlSystemGetDriverVersion(), n.nvmlSystemGetCudaDriverVersion_v2()]
for index in range(n.nvmlDeviceGetCount()):
    try:
        gpu = n.nvmlDeviceGetHandleByIndex(index)
        told += [n.nvmlDeviceGetUUID(gpu), n.nvmlDeviceGetName(gpu)]
        told.append(n.nvmlDeviceGetMinorNumber(gpu))
        told += [n.nvmlDeviceGetPciInfo(gpu).busId, n.nvmlDeviceGetCudaComputeCapability(gpu)]
        told.append(n.nvmlDeviceGetMigMode(gpu))
        mig = n.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 0)
        told += [n.nvmlDeviceGetUUID(mig), n.nvmlDeviceGetGpuInstanceId(mig)]
        told.append(n.nvmlDeviceGetAttributes(mig).memorySizeMB)
        n.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 1)
    except n.NVMLError as error:
        told.append(str(error))
print(json.dumps(told))
"""
GPU_A = [
    "GPU-a",
    "NVIDIA A100",
    3,
    "00000001:0A:00.0",
    [8, 0],
    [1, 1],
    "MIG-a",
    1,
    4864,
    "Not Found",
]
GPU_B = ["GPU-b", "Tesla T4", 4, "00000000:0B:00.0", [7, 5], "Not Supported"]


def told(library: Path, script: str) -> subprocess.CompletedProcess[str]:
    drivers.nvml_stub(str(library), script)
    reader = [sys.executable, "-c", READER, str(library)]
    return subprocess.run(reader, capture_output=True, text=True, check=False)


def test_it_tells_what_its_script_says(tmp_path: Path) -> None:
    done = told(tmp_path / "libnvidia-ml.so.535.183.01", SCRIPT)
    assert json.loads(done.stdout) == ["535.183.01", 12020, *GPU_A, *GPU_B]


def test_it_loses_the_gpu_it_is_told_to_lose(tmp_path: Path) -> None:
    done = told(tmp_path / "stub.so", f"{SCRIPT}call nvmlDeviceGetUUID 0 error=15\n")
    assert json.loads(done.stdout) == ["535.183.01", 12020, "GPU is lost", *GPU_B]


def test_it_dies_when_it_is_told_to(tmp_path: Path) -> None:
    assert told(tmp_path / "stub.so", f"{SCRIPT}call nvmlInit_v2 * abort=1\n").returncode == -6


def test_it_refuses_a_script_it_does_not_understand(tmp_path: Path) -> None:
    done = told(tmp_path / "stub.so", f"{SCRIPT}gpu minr=1\n")
    assert (done.returncode, done.stderr) == (97, "NVML stub: unknown key or value: minr\n")
