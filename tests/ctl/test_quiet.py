# SPDX-License-Identifier: Apache-2.0
"""On a healthy machine `gpubind cdi generate` says one line; what it left out when it is asked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from command_line import Outcome, gpubind
from simulated_nodes import node

from gpubind_ctl.simulate import profile

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making device nodes needs root")

CHOSEN = {
    "cos": "that is the driver root",
    "orin": "mode csv: the GPU Orin (nvgpu) is integrated",
    "wsl2": "mode wsl: there are /dev/dxg and libdxcore.so",
}
"""What the line says besides where another driver or mode than the usual was chosen."""


def generate(root: Path, folder: Path, *words: str) -> Outcome:
    places = ("--output", folder / "nvidia.json", "--state-dir", folder / "state")
    return gpubind("cdi", "generate", "--driver-root", root, *places, *words)


@pytest.mark.parametrize("name", profile.names())
def test_a_healthy_machine_is_one_line(tmp_path: Path, name: str) -> None:
    outcome = generate(node(name, tmp_path), tmp_path, "--strict")
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (0, "", 1)
    assert outcome.err.startswith(f"gpubind: {tmp_path}/nvidia.json: CDI ")
    assert CHOSEN.get(name, "") in outcome.err
    assert "missing: " not in outcome.err
    assert "warning" not in outcome.err


@pytest.mark.parametrize("name", profile.names())
def test_what_a_healthy_machine_may_lack_is_said_when_it_is_asked_for(
    tmp_path: Path, name: str
) -> None:
    root = node(name, tmp_path)
    quiet = generate(root, tmp_path).err.splitlines()
    outcome = generate(root, tmp_path, "--explain-missing")
    more = [line for line in outcome.err.splitlines() if line not in quiet]
    assert outcome.status == 0
    assert all(line.startswith("gpubind: not there, not required: ") for line in more)
    assert bool(more) == (name != "wsl2")


def test_what_is_required_is_said_without_being_asked(tmp_path: Path) -> None:
    root = node("t4", tmp_path)
    (root / "dev/nvidia-uvm").unlink()
    (root / "usr/lib/x86_64-linux-gnu/libnvidia-ptxjitcompiler.so.535.183.01").unlink()
    (root / "usr/lib/x86_64-linux-gnu/libnvidia-encode.so.535.183.01").unlink()
    outcome = generate(root, tmp_path)
    assert outcome.status == 3
    missing = [line for line in outcome.err.splitlines() if line.startswith("gpubind: missing: ")]
    assert [line.split()[2] for line in missing] == [
        "/dev/nvidia-uvm",
        "libnvidia-ptxjitcompiler.so.535.183.01",
    ]
    assert "encode" not in outcome.err
