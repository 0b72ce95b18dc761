# SPDX-License-Identifier: Apache-2.0
"""`gpubind explain` where bare names are of the driver as it is now."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from command_line import Outcome, gpubind

from gpubind import config, injection, request
from gpubind.oci import spec as oci

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(t4: Path, tmp_path: Path) -> Path:
    """A folder with settings that name a driver root, and a bundle that asks for GPU 0."""
    (tmp_path / "bundle/rootfs").mkdir(parents=True)
    (tmp_path / "config.toml").write_text(
        f'nvidia-container-cli.root = "{t4}"\n{config.SPEC_DIRS} = ["{tmp_path}/cdi"]\n'
    )
    document = {
        "ociVersion": "1.0.2",
        "process": {"env": ["NVIDIA_VISIBLE_DEVICES=0"]},
        "root": {"path": "rootfs"},
    }
    (tmp_path / "bundle/config.json").write_text(json.dumps(document))
    return tmp_path


def explain(host: Path) -> Outcome:
    words = ("--config", host / "config.toml", "--state-dir", host / "state")
    return gpubind("explain", "--bundle", host / "bundle", *words)


def look(host: Path, root: Path) -> None:
    """Have the driver looked at, as a start would."""
    words = ("--config", host / "config.toml", "--state-dir", host / "state")
    assert gpubind("cdi", "compile", "--jit", "--driver-root", root, *words).status == 0


def test_the_driver_is_explained_as_it_is_now_and_nothing_is_written(host: Path, t4: Path) -> None:
    outcome = explain(host)
    assert (outcome.status, outcome.err) == (0, "")
    assert f"runtime.nvidia.com/gpu=0, driver root {t4}" in outcome.out
    assert "libcuda.so.535.183.01: CUDA driver API" in outcome.out
    assert not (host / "state").exists()


def test_what_a_start_would_use_is_explained_as_such(host: Path, t4: Path) -> None:
    look(host, t4)
    assert f"from {host}/state/jit.json: runtime.nvidia.com/gpu=0" in explain(host).out


def test_after_injection_the_drivers_items_are_found_again(host: Path, t4: Path) -> None:
    look(host, t4)
    before = explain(host).out
    file = os.fspath(host / "bundle/config.json")
    known = config.Config(
        {config.DRIVER_ROOT: str(t4), config.SPEC_DIRS: [f"{host}/cdi"], config.MODE: "jit-cdi"}, ""
    )
    document = oci.load(file)
    wanted = request.of(document, known, file)
    injection.into(file, document, wanted, known, f"{host}/state")
    after = explain(host).out
    assert "was injected for" in after
    assert {line for line in before.splitlines() if line.startswith("  mount")} == {
        line for line in after.splitlines() if line.startswith("  mount")
    }
