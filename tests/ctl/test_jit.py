# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi compile --jit`: the driver of a root as container starts find it."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from command_line import Outcome, gpubind
from gpubind_cdi import jit as live
from gpubind_cdi import simulated
from gpubind_cdi.modes.mode import Options

from gpubind import jit
from gpubind.errors import ToolkitError
from gpubind_ctl import roots
from gpubind_ctl.simulate import layout, profile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpubind.root import Root

CONFIG = "nvidia-container-runtime.modes.jit-cdi"


def compiled(place: Path, root: Path, *, before: tuple[str, ...] = ()) -> Outcome:
    words = ("--state-dir", place / "state", "--config", place / "config.toml")
    folder = ("--spec-dir", place / "cdi")
    return gpubind("cdi", "compile", "--jit", "--driver-root", root, *words, *folder, before=before)


def document(place: Path) -> Any:
    return json.loads((place / "state/jit.json").read_text())


def fits(place: Path, root: Path) -> bool:
    return jit.current(str(root), f"{place}/state") is not None


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node of this test's own, with eight partitioned GPUs."""
    root = tmp_path / "node"
    layout.lay_out(profile.load("dgx-a100-mig"), str(root))
    return root


def test_the_driver_is_described_with_all_its_devices(tmp_path: Path, t4: Path) -> None:
    outcome = compiled(tmp_path, t4)
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    found = document(tmp_path)
    [spec] = found["specs"]
    assert (found["root"], spec["kind"]) == (str(t4), "runtime.nvidia.com/gpu")
    assert spec["path"] == f"{tmp_path}/state/jit.json"
    assert {"0", "all"} < spec["devices"].keys()
    assert found["devices"].keys() == {f"{spec['kind']}={name}" for name in spec["devices"]}
    assert spec["driver"]["version"] == "535.183.01"
    mounts = {mount["containerPath"]: mount for mount in spec["containerEdits"]["mounts"]}
    libcuda = mounts["/usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01"]
    assert libcuda["hostPath"].startswith(str(t4))
    assert libcuda["capabilities"] == ["compute", "video"]
    assert "hooks" not in spec["containerEdits"]
    assert any(link["link"].endswith("/libcuda.so.1") for link in spec["links"])
    assert fits(tmp_path, t4)


def test_a_driver_in_a_folder_of_its_own_is_described_for_the_root_starts_know(
    tmp_path: Path,
) -> None:
    root = tmp_path / "node"
    layout.lay_out(profile.load("cos"), str(root))
    assert compiled(tmp_path, root).status == 0
    found = document(tmp_path)
    mounts = [mount["hostPath"] for mount in found["specs"][0]["containerEdits"]["mounts"]]
    assert f"{root}{roots.PLACES[1]}/bin/nvidia-smi" in mounts
    assert found["root"] == str(root)
    assert fits(tmp_path, root)


def test_specs_and_settings_are_compiled_too(tmp_path: Path, t4: Path) -> None:
    compiled(tmp_path, t4)
    names = sorted(os.listdir(tmp_path / "state"))
    assert names == ["compiled.json", "config.json", "jit.json"]


def test_without_the_option_the_driver_is_not_looked_at(tmp_path: Path) -> None:
    words = ("--state-dir", tmp_path / "state", "--driver-root", tmp_path / "absent")
    outcome = gpubind("cdi", "compile", "--spec-dir", tmp_path / "cdi", *words)
    assert (outcome.status, outcome.err) == (0, "")
    assert not (tmp_path / "state/jit.json").exists()


def test_without_a_driver_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = compiled(tmp_path, tmp_path / "empty")
    assert outcome.status == 1
    assert "[DRV-NOT-FOUND]" in outcome.err
    assert not (tmp_path / "state/jit.json").exists()


def test_one_lost_gpu_leaves_the_others(tmp_path: Path, node: Path) -> None:
    file = node / "gpubind-node.json"
    inventory = json.loads(file.read_text())
    lost = inventory["gpus"].pop()
    inventory["faults"] = [{"index": lost["index"], "message": "GPU is lost"}]
    file.write_text(json.dumps(inventory))
    outcome = compiled(tmp_path, node)
    assert outcome.status == 3
    assert f"missing: GPU {lost['index']}: could not be read: GPU is lost" in outcome.err
    devices = document(tmp_path)["devices"]
    assert f"{jit.KIND}={inventory['gpus'][-1]['index']}" in devices
    assert f"{jit.KIND}={lost['index']}" not in devices
    assert fits(tmp_path, node)


@pytest.mark.parametrize(
    ("hook", "left"), [("update-ldcache", ["links"]), ("create-symlinks", ["libraries"])]
)
def test_the_operators_switches_count(tmp_path: Path, t4: Path, hook: str, left: list[str]) -> None:
    (tmp_path / "config.toml").write_text(f'{CONFIG}.nvcdi-disable-hooks = ["{hook}"]')
    assert compiled(tmp_path, t4).status == 0
    [spec] = document(tmp_path)["specs"]
    assert [name for name in ("links", "libraries") if spec[name]] == left


def test_a_feature_flag_that_is_none_is_refused(tmp_path: Path, t4: Path) -> None:
    (tmp_path / "config.toml").write_text(f'{CONFIG}.nvcdi-feature-flags = ["fast"]')
    outcome = compiled(tmp_path, t4)
    assert (outcome.status, "[USE-FEATURE]" in outcome.err) == (2, True)


def upgraded(root: Path) -> None:
    layout.lay_out(profile.load("dgx-h100"), str(root))


MIG = "proc/driver/nvidia/capabilities/gpu2/mig"
CHANGES: dict[str, Callable[[Path], object]] = {
    "another driver": upgraded,
    "a kernel module that was unloaded": lambda root: shutil.rmtree(root / "proc/driver/nvidia"),
    "a GPU that fell off the bus": lambda root: shutil.rmtree(
        next((root / "proc/driver/nvidia/gpus").iterdir())
    ),
    "a node that is gone": lambda root: os.unlink(root / "dev/nvidia0"),
    "a node of a partition that is gone": lambda root: os.unlink(
        max((root / "dev/nvidia-caps").iterdir())
    ),
    "a GPU instance that was destroyed": lambda root: shutil.rmtree(
        next(one for one in (root / MIG).iterdir())
    ),
    "a GPU instance that was made": lambda root: os.makedirs(root / MIG / "gi14/ci0"),
    "a compute instance that was made": lambda root: os.mkdir(
        next(one for one in (root / MIG).iterdir()) / "ci7"
    ),
    "a render node that came": lambda root: (root / "dev/dri/renderD200").touch(),
    "a capability's node that came": lambda root: (root / "dev/nvidia-caps/nvidia-cap9").touch(),
    "a daemon that has ended": lambda root: os.unlink(root / "run/nvidia-persistenced/socket"),
    "a library that was added": lambda root: (
        root / "usr/lib/x86_64-linux-gnu/libnvidia-new.so.1"
    ).write_text(""),
    "a program that was removed": lambda root: os.unlink(root / "usr/bin/nvidia-smi"),
    "a GPU's other name": lambda root: (root / "gpubind-node.json").write_text("{}"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_of_the_driver_is_seen(tmp_path: Path, node: Path, change: str) -> None:
    assert compiled(tmp_path, node).status == 0
    assert fits(tmp_path, node)
    CHANGES[change](node)
    assert not fits(tmp_path, node)


@pytest.mark.parametrize("name", ["nvidia-uvm", "nvidia-modeset", "nvidia3"])
def test_a_node_that_was_missing_and_came_is_a_change(
    tmp_path: Path, node: Path, name: str
) -> None:
    os.rename(node / f"dev/{name}", tmp_path / name)
    compiled(tmp_path, node)
    assert fits(tmp_path, node)
    os.rename(tmp_path / name, node / f"dev/{name}")
    assert not fits(tmp_path, node)


def test_other_settings_are_a_change(tmp_path: Path, t4: Path) -> None:
    compiled(tmp_path, t4)
    (tmp_path / "config.toml").write_text("")
    assert not fits(tmp_path, t4)


UNRELATED = ("etc/motd", "dev/sda", "proc/1", "usr/share/doc", "run/other.sock")


@pytest.mark.parametrize("name", UNRELATED)
def test_what_is_not_the_drivers_is_no_change(tmp_path: Path, node: Path, name: str) -> None:
    compiled(tmp_path, node)
    (node / name).parent.mkdir(parents=True, exist_ok=True)
    (node / name).write_text("")
    assert fits(tmp_path, node)


def described(root: Path, restless: int) -> tuple[int, Any]:
    """Give how often a node was looked at of which a GPU goes in each of the first looks."""
    looks: list[int] = []

    def source(opened: Root) -> simulated.Simulated:
        looks.append(1)
        if len(looks) <= restless:
            shutil.rmtree(next((root / "proc/driver/nvidia/gpus").iterdir()))
        return simulated.Simulated(opened)

    found = live.document(Options(), str(root), source)
    return len(looks), found


def settled(root: Path) -> Path:
    """Give a node, older than the clock's tick, so that one look is enough."""
    import time

    time.sleep(0.05)
    return root


@pytest.mark.parametrize(("restless", "looks"), [(0, 1), (1, 2), (2, 3)])
def test_a_driver_that_changes_meanwhile_is_looked_at_again(
    node: Path, restless: int, looks: int
) -> None:
    count, found = described(settled(node), restless)
    folder = str(node / "proc/driver/nvidia/gpus")
    assert (count, found["signs"]["names"][folder]) == (looks, sorted(os.listdir(folder)))


def test_a_driver_that_never_rests_is_told(node: Path) -> None:
    with pytest.raises(ToolkitError, match=r"each of 4 times it was looked at; .*DRV-CHANGING"):
        described(settled(node), 4)


def test_a_file_of_the_moment_has_the_driver_looked_at_again(node: Path) -> None:
    looks: list[int] = []

    def source(opened: Root) -> simulated.Simulated:
        looks.append(1)
        if len(looks) == 1:
            os.chmod(node / "usr/bin/nvidia-smi", 0o755)
        return simulated.Simulated(opened)

    live.document(Options(), str(settled(node)), source)
    assert len(looks) == 2


def test_files_of_the_future_are_looked_at_twice(node: Path) -> None:
    looks: list[int] = []

    def source(opened: Root) -> simulated.Simulated:
        looks.append(1)
        return simulated.Simulated(opened)

    live.document(Options(), str(settled(node)), source, clock=lambda: 0)
    assert len(looks) == 2
