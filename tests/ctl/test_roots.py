# SPDX-License-Identifier: Apache-2.0
"""Where the driver and /dev are: as given, else where a driver in a container keeps them."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import cdi_checks
import driver_roots
import pytest
from command_line import gpubind
from driver_roots import Char, needs_nodes
from simulated_nodes import node

from gpubind_ctl import roots

if TYPE_CHECKING:
    from pathlib import Path

INNER = "/run/nvidia/driver"


def inner(tree: dict[str, Any]) -> dict[str, Any]:
    return {f"{INNER}{name}": content for name, content in tree.items()}


def test_a_root_with_a_driver_is_taken_as_it_is(tmp_path: Path) -> None:
    tree = {**driver_roots.driver(), **inner(driver_roots.driver())}
    given = driver_roots.grow(tmp_path, tree)
    assert roots.of(given) == roots.Roots(driver=given, dev=given)
    assert roots.of(given, "/dev-root") == roots.Roots(driver=given, dev="/dev-root")


def test_a_root_without_any_driver_too(tmp_path: Path) -> None:
    given = driver_roots.grow(tmp_path, {INNER: None, "/home/kubernetes/bin/nvidia/x": "x"})
    assert roots.of(given) == roots.Roots(driver=given, dev=given)


def test_a_driver_in_a_container_is_found_and_said(tmp_path: Path) -> None:
    given = driver_roots.grow(tmp_path, inner(driver_roots.driver()))
    found = roots.of(given)
    assert (found.driver, found.dev) == (f"{given}{INNER}", given)
    assert found.notes == (
        f"{given} has no driver, {given}{INNER} has: that is the driver root, {given} the dev root",
    )
    assert roots.of(given, "/elsewhere").dev == "/elsewhere"


@needs_nodes
def test_its_own_nodes_count_where_it_has_some(tmp_path: Path) -> None:
    tree = inner({**driver_roots.driver(), "/dev/nvidiactl": Char(195, 255)})
    given = driver_roots.grow(tmp_path, tree)
    assert roots.of(given).dev == f"{given}{INNER}"


def test_a_relative_root_is_where_it_is_seen_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = driver_roots.grow(tmp_path / "root", driver_roots.driver())
    monkeypatch.chdir(tmp_path)
    assert roots.of("./root", "root") == roots.Roots(driver=given, dev=given)
    with pytest.raises(FileNotFoundError):
        roots.of("")


def test_relative_folders_are_compiled_as_the_absolute_ones_they_are(tmp_path: Path) -> None:
    file = cdi_checks.spec(tmp_path / "cdi/a.json")
    folder = os.path.relpath(tmp_path)
    words = ("--spec-dir", f"{folder}/cdi", "--state-dir", f"{folder}/state")
    assert gpubind("cdi", "compile", *words).status == 0
    stamps = json.loads((tmp_path / "state/compiled.json").read_text())["stamps"]
    assert str(file) in stamps
    assert [name for name in stamps if not name.startswith("/")] == []


def test_a_link_out_of_the_root_leads_nowhere(tmp_path: Path) -> None:
    outside = driver_roots.grow(tmp_path / "outside", driver_roots.driver())
    given = driver_roots.grow(tmp_path / "root", {INNER: f"-> {outside}"})
    assert roots.of(given) == roots.Roots(driver=given, dev=given)


@pytest.mark.root
@pytest.mark.parametrize("place", [INNER, "/home/kubernetes/bin/nvidia"])
def test_the_commands_say_where_they_found_it(tmp_path: Path, place: str) -> None:
    root = node("cos", tmp_path)
    if place == INNER:
        (root / INNER[1:]).parent.mkdir(parents=True)
        shutil.move(root / "home/kubernetes/bin/nvidia", root / INNER[1:])
    said = (
        f"gpubind: {root} has no driver, {root}{place} has: "
        f"that is the driver root, {root} the dev root\n"
    )
    outcome = gpubind("cdi", "generate", "--driver-root", root, "--format", "json")
    assert (outcome.status, outcome.err) == (0, said)
    common = json.loads(outcome.out)["containerEdits"]
    mounts = {mount["containerPath"]: mount["hostPath"] for mount in common["mounts"]}
    assert mounts["/lib64/libcuda.so.535.183.01"] == f"{root}{place}/lib64/libcuda.so.535.183.01"
    assert mounts["/bin/nvidia-smi"] == f"{root}{place}/bin/nvidia-smi"
    assert mounts["/etc/vulkan/icd.d/nvidia_icd.json"].startswith(f"{root}{place}/vulkan/")
    nodes = {one["path"]: one["hostPath"] for one in common["deviceNodes"]}
    assert nodes["/dev/nvidiactl"] == f"{root}/dev/nvidiactl"
    outcome = gpubind("info", "--driver-root", root)
    assert (outcome.status, outcome.err) == (0, said)
    assert "simulated node cos" in outcome.out
