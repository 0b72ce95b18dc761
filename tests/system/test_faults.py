# SPDX-License-Identifier: Apache-2.0
"""Debian's driver with an NVML that fails: generation says which GPU, or why there is none."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from system import drivers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from system.nodes import Node

pytestmark = pytest.mark.system

DRIVER = f"driver 550.163.01\ncuda 12040\n{drivers.GPUS}"


@pytest.fixture
def generated(
    node_named: Callable[[str], Node], tmp_path: Path
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Generate with this script line added to what NVML is told to do."""
    node = node_named("debian-550")

    def generate(line: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script"
        script.write_text(DRIVER + line + "\n")
        program = f"{node.prefix}/bin/gpubind"
        roots = (f"--driver-root={node.root}", f"--dev-root={node.prefix}/host")
        environment = {"PATH": "/usr/bin:/bin", "NVML_STUB_SCRIPT": str(script)}
        return subprocess.run(
            [program, "cdi", "generate", *roots],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return generate


def test_a_healthy_driver_is_one_line_and_what_it_lacks_is_told_when_asked_for(
    node: Node, tmp_path: Path
) -> None:
    dev = f"{node.prefix}/host" if os.path.isdir(f"{node.prefix}/host") else node.root
    words = [f"{node.prefix}/bin/gpubind", "cdi", "generate", "--strict"]
    words += [f"--driver-root={node.root}", f"--dev-root={dev}"]
    words += [f"--output={tmp_path}/nvidia.yaml", f"--state-dir={tmp_path}/state"]
    quiet, asked = (
        subprocess.run([*words, *more], capture_output=True, text=True, check=False)
        for more in ((), ("--explain-missing",))
    )
    assert (quiet.returncode, quiet.stderr.count("\n")) == (0, 1)
    assert quiet.stderr.startswith(f"gpubind: {tmp_path}/nvidia.yaml: CDI ")
    lines = asked.stderr.splitlines()[1:]
    assert lines
    assert all(line.startswith("gpubind: not there, not required: ") for line in lines)


def test_a_lost_gpu_leaves_the_other(
    generated: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = generated("call nvmlDeviceGetUUID 1 error=15")
    devices = [device["name"] for device in yaml.safe_load(done.stdout)["devices"]]
    assert (done.returncode, devices) == (3, ["0", drivers.UUIDS[0], "all"])
    assert "GPU is lost" in done.stderr


def test_a_gpu_that_ends_nvml_leaves_the_other(
    generated: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = generated("call nvmlDeviceGetName 0 abort=1")
    devices = [device["name"] for device in yaml.safe_load(done.stdout)["devices"]]
    assert (done.returncode, devices) == (3, ["1", drivers.UUIDS[1], "all"])
    assert "GPU 0: could not be read: NVML ended with signal 6" in done.stderr


@pytest.mark.parametrize(
    ("line", "identifier"),
    [
        ("call nvmlInit_v2 * error=9", "[DRV-NOT-LOADED]"),
        ("call nvmlInit_v2 * error=18", "[DRV-MISMATCH]"),
        ("call nvmlInit_v2 * error=4", "[DRV-NO-PERMISSION]"),
        ("call nvmlDeviceGetCount_v2 * error=999", "[DRV-NVML]"),
        ("call nvmlInit_v2 * abort=1", "[DRV-CRASH]"),
    ],
)
def test_a_driver_that_fails_is_one_clear_line(
    generated: Callable[[str], subprocess.CompletedProcess[str]], line: str, identifier: str
) -> None:
    done = generated(line)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert identifier in done.stderr
