# SPDX-License-Identifier: Apache-2.0
"""Driver roots whose NVML is the stub: it answers, fails, hangs and dies as its script says."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from typing import TYPE_CHECKING

import driver_roots
import pytest
from command_line import gpubind
from driver_roots import LIBRARIES, VERSION, Char
from system import drivers

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Outcome

needs_stub = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/usr/bin/gcc"),
    reason="the NVML stub needs gcc, device nodes need root",
)
HEAD = f"driver {VERSION}\ncuda 12040\n"
STUB = f"{LIBRARIES}/libnvidia-ml.so.{VERSION}"


def uuid(index: int) -> str:
    """Give the UUID of the GPU with this index."""
    return f"GPU-{index:08x}-0000-4000-8000-000000000000"


def gpu(index: int, **changes: str | int) -> str:
    """Give the script's line for a GPU whose minor number is its index."""
    facts = {
        "uuid": uuid(index),
        "minor": index,
        "pci": f"0000:{index + 1:02x}:00.0",
        "name": "NVIDIA_A100",
        "brand": 14,
        "cc": "8.0",
    } | changes
    return f"gpu {' '.join(f'{key}={value}' for key, value in facts.items())}\n"


def mig(index: int, number: int, **changes: str | int) -> str:
    """Give the script's line for the MIG device `number` of the GPU with this index."""
    facts = {
        "uuid": f"MIG-{index:08x}-{number:04x}-4000-8000-000000000000",
        "gi": number + 1,
        "ci": 0,
        "slices": 1,
        "memory": 9728,
    } | changes
    return f"mig {' '.join(f'{key}={value}' for key, value in facts.items())}\n"


@functools.cache
def library() -> bytes:
    """Give the compiled stub."""
    with tempfile.TemporaryDirectory() as folder:
        drivers.nvml_stub(f"{folder}/stub.so", "")
        with open(f"{folder}/stub.so", "rb") as file:
            return file.read()


def node(folder: Path, script: str, gpus: int = 4, migs: int = 0) -> Path:
    """Make a driver root with nodes for so many GPUs and MIG devices each; NVML is the stub."""
    minors = {
        f"gpu{index}/gi{number}{part}/access": 3 + (index * 8 + number) * 2 + bool(part)
        for index in range(gpus)
        for number in range(1, migs + 1)
        for part in ("", "/ci0")
    }
    tree = driver_roots.driver() | driver_roots.control()
    tree |= {f"/dev/nvidia{index}": Char(195, index) for index in range(gpus)}
    tree |= {f"/dev/nvidia-caps/nvidia-cap{minor}": Char(511, minor) for minor in minors.values()}
    lines = "".join(f"{name} {minor}\n" for name, minor in minors.items())
    tree |= {"/proc/driver/nvidia-caps/mig-minors": lines}
    tree |= {STUB: library(), f"{STUB}.script": HEAD + script}
    driver_roots.grow(folder, tree)
    return folder


def generate(root: Path, *words: str, limit_s: float = 30.0) -> Outcome:
    """Run `gpubind cdi generate` on the root, NVML having so many seconds."""
    environment = {"GPUBIND_NVML_TIMEOUT": str(limit_s)}
    return gpubind("cdi", "generate", "--driver-root", root, *words, env=environment)


def told(root: Path, script: str, *words: str, limit_s: float = 30.0) -> Outcome:
    """Generate a spec in JSON with this script, which follows the driver's and CUDA's version."""
    (root / f"{STUB[1:]}.script").write_text(HEAD + script)
    return generate(root, "--format=json", *words, limit_s=limit_s)


def names(outcome: Outcome) -> list[str]:
    """Give the devices of a spec that was printed."""
    return [device["name"] for device in json.loads(outcome.out)["devices"]]


def indexes(outcome: Outcome) -> list[str]:
    """Give those that are named by their index."""
    return [name for name in names(outcome) if not name.startswith(("GPU-", "MIG-", "all"))]
