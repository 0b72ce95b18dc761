# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi check` on generated specs: what has changed on the host since is found."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from cdi_checks import PATH, ROOT, check, found
from command_line import gpubind
from simulated_nodes import node

if TYPE_CHECKING:
    from pathlib import Path


def generated(node: Path, place: Path) -> Path:
    """Write the spec of a node and a program for its hooks."""
    file = place / "cdi/nvidia.yaml"
    words = ("--driver-root", node, "--output", file, "--state-dir", place / "state")
    made = gpubind("cdi", "generate", *words, "--nvidia-cdi-hook-path", "/bin/sh", env=PATH)
    assert made.status == 0, made.err
    return file


def test_a_spec_just_generated_is_true(t4: Path, tmp_path: Path) -> None:
    assert found(generated(t4, tmp_path).parent) == []


def test_another_driver_than_the_described_one_is_found(tmp_path: Path) -> None:
    node = tmp_path / "node"
    assert gpubind("simulate", "--profile", "t4", "--root", node).status == 0
    file = generated(node, tmp_path)
    loaded = node / "proc/driver/nvidia/version"
    loaded.write_text(loaded.read_text().replace("535.183.01", "550.54.14"))
    (one,) = [line for line in check(file.parent).out.splitlines() if "CDI-STALE" in line]
    assert one.startswith(f"{file}: it describes driver 535.183.01, and 550.54.14 is running; ")


CHANGES = {
    "a library replaced": "usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01",
    "a file more among the libraries": "usr/lib/x86_64-linux-gnu/libnvidia-new.so.1",
    "a node of another kind": "dev/nvidia-fs0",
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_what_a_spec_was_made_of_is_found(tmp_path: Path, what: str) -> None:
    root = node("t4", tmp_path)
    file = generated(root, tmp_path)
    assert found(file.parent) == []
    (root / CHANGES[what]).touch()
    (one,) = check(file.parent).out.splitlines()
    assert one.startswith(f"{file}: {root}/")
    assert one.endswith(
        " has changed since it was made; run 'gpubind cdi refresh', or 'gpubind cdi generate' "
        "again [CDI-STALE]"
    )


@pytest.mark.parametrize("made", ["5", '{"signs": [1]}', '{"signs": {"names": 3}}'])
def test_damaged_signs_are_a_finding_and_make_a_refresh_look(
    t4: Path, tmp_path: Path, made: str
) -> None:
    file = generated(t4, tmp_path)
    (sidecar,) = (tmp_path / "state/sidecars").iterdir()
    facts = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(facts | {"made": json.loads(made)}))
    assert found(file.parent) == [("CDI-STALE", sidecar.name, "")]
    words = ("--driver-root", t4, "--output", file, "--state-dir", tmp_path / "state")
    done = gpubind("cdi", "refresh", *words, "--nvidia-cdi-hook-path", "/bin/sh", env=PATH)
    assert (done.status, done.err) == (0, "")
    assert found(file.parent) == []


def test_a_spec_changed_by_hand_is_found(t4: Path, tmp_path: Path) -> None:
    file = generated(t4, tmp_path)
    file.write_text(file.read_text() + "\n")
    assert found(file.parent) == [("CDI-STALE", "nvidia.yaml", "")]


def test_a_spec_that_is_gone_and_a_damaged_sidecar_are_found(t4: Path, tmp_path: Path) -> None:
    file = generated(t4, tmp_path)
    file.unlink()
    assert found(file.parent) == [("CDI-STALE", "nvidia.yaml", "")]
    (sidecar,) = (tmp_path / "state/sidecars").iterdir()
    sidecar.write_text("{")
    assert found(file.parent) == [("CDI-STALE", sidecar.name, "")]


@ROOT
def test_a_lost_gpu_is_one_finding_for_all_its_names(tmp_path: Path) -> None:
    node = tmp_path / "node"
    assert gpubind("simulate", "--profile", "dgx-h100", "--root", node).status == 0
    file = generated(node, tmp_path)
    lost = node / "dev/nvidia3"
    assert stat.S_ISCHR(lost.stat().st_mode)
    lost.unlink()
    (one,) = found(file.parent)
    identifier, _, devices = one
    assert identifier == "CDI-NODE"
    assert devices.split()[0] == "3"
    assert {devices.split()[1][:4], devices.split()[2]} == {"GPU-", "all"}
