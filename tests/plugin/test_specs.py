# SPDX-License-Identifier: Apache-2.0
"""The specs that the plugin's answers name, written from simulated nodes."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import simulated_nodes

from gpubind.errors import ToolkitError
from gpubind_plugin import allocate, looking, resources, specs
from gpubind_plugin.config import Config, Imex

if TYPE_CHECKING:
    from pathlib import Path

CDI = ("cdi-cri",)
OURS = "k8s.device-plugin.nvidia.com"


def config(node: Path, **changes: Any) -> Config:
    plain: dict[str, Any] = {"container_driver_root": str(node), "device_list_strategy": CDI}
    return Config(**plain | changes)


def write(said: Config, folder: Path) -> specs.Written:
    return specs.write(said, looking.look(said), folder=str(folder / "cdi"))


def spec(folder: Path, group: str = "gpu") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"cdi/{OURS}-{group}.json").read_bytes())
    return found


def names(folder: Path, group: str = "gpu") -> list[str]:
    return [device["name"] for device in spec(folder, group)["devices"]]


def listed(folder: Path) -> list[str]:
    place = folder / "cdi"
    return sorted(os.listdir(place)) if place.exists() else []


def strings(value: object) -> list[str]:
    """Give all texts in a document."""
    if isinstance(value, dict):
        return [word for one in value.values() for word in strings(one)]
    if isinstance(value, list):
        return [word for one in value for word in strings(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(
    ("strategy", "mig", "number"),
    [("uuid", "none", 8), ("index", "none", 8), ("uuid", "mixed", 16)],
)
def test_each_device_that_is_offered_has_its_name_and_none_is_all(
    tmp_path: Path, strategy: str, mig: str, number: int
) -> None:
    said = config(
        simulated_nodes.node("dgx-a100-mig", tmp_path),
        device_id_strategy=strategy,
        mig_strategy=mig,
    )
    found = write(said, tmp_path)
    assert (found.groups, found.changed) == (("gpu",), ("gpu",))
    facts = looking.look(said)
    offered = resources.offer(said, facts).resources
    wanted = {
        name.partition("=")[2]
        for resource, devices in offered.items()
        for device in devices
        for name in allocate.answer(said, facts, resource, devices, [device.id], ()).cdi_devices
    }
    known = set(names(tmp_path))
    assert wanted <= known
    assert (len(known), "all" in known) == (number, False)
    assert spec(tmp_path)["kind"] == f"{OURS}/gpu"


def test_a_spec_speaks_of_the_host_s_files_alone(tmp_path: Path) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    write(config(node, driver_root="/run/nvidia/driver"), tmp_path)
    document = spec(tmp_path)
    assert not [word for word in strings(document) if str(node) in word]
    edits = [document["containerEdits"], document["devices"][0]["containerEdits"]]
    hosts = [mount["hostPath"] for one in edits for mount in one.get("mounts", ())]
    hosts += [one["hostPath"] for part in edits for one in part.get("deviceNodes", ())]
    assert hosts
    below = [path.removeprefix("/run/nvidia/driver/") for path in hosts]
    assert [path for path in below if not os.path.lexists(f"{node}/{path}")] == []
    inside = [mount["containerPath"] for one in edits for mount in one.get("mounts", ())]
    assert not [path for path in inside if path.startswith("/run/nvidia/driver")]


def test_dev_may_be_of_another_root_than_the_driver(tmp_path: Path) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    write(config(node, driver_root="/run/nvidia/driver", dev_root="/"), tmp_path)
    document = spec(tmp_path)
    (device,) = document["devices"]
    nodes = device["containerEdits"]["deviceNodes"]
    assert {one.get("hostPath", one["path"]) for one in nodes} >= {"/dev/nvidia0"}
    assert not [word for word in strings(document) if str(node) in word]
    mounts = document["containerEdits"]["mounts"]
    assert all(mount["hostPath"].startswith("/run/nvidia/driver/") for mount in mounts)


def test_a_spec_that_would_not_change_is_left_alone(tmp_path: Path) -> None:
    said = config(simulated_nodes.node("t4", tmp_path))
    write(said, tmp_path)
    file = tmp_path / f"cdi/{OURS}-gpu.json"
    before = file.stat()
    again = write(said, tmp_path)
    assert (again.groups, again.changed) == (("gpu",), ())
    assert file.stat().st_ino == before.st_ino
    assert write(config(tmp_path / "t4", device_id_strategy="index"), tmp_path).changed == ("gpu",)
    assert file.stat().st_ino != before.st_ino


def test_groups_are_written_where_the_hardware_is(tmp_path: Path) -> None:
    node = simulated_nodes.node("dgx-h100", tmp_path)
    every = {"gds_enabled": True, "mofed_enabled": True, "gdrcopy_enabled": True}
    found = write(config(node, **every), tmp_path)
    assert found.groups == ("gpu", "gdrcopy", "gds", "mofed")
    assert names(tmp_path, "gds") == ["all"]
    assert listed(tmp_path) == [f"{OURS}-{name}.json" for name in sorted(found.groups)]


def test_a_group_without_hardware_has_no_file_and_is_no_error(tmp_path: Path) -> None:
    found = write(config(simulated_nodes.node("t4", tmp_path), gds_enabled=True), tmp_path)
    assert found.groups == ("gpu",)
    assert listed(tmp_path) == [f"{OURS}-gpu.json"]


def test_what_is_not_wanted_any_more_is_withdrawn_and_nothing_else(tmp_path: Path) -> None:
    node = simulated_nodes.node("dgx-h100", tmp_path)
    write(config(node, gds_enabled=True), tmp_path)
    (tmp_path / "cdi/other.json").write_text("{}")
    write(config(node), tmp_path)
    assert listed(tmp_path) == [f"{OURS}-gpu.json", "other.json"]
    found = write(config(node, device_list_strategy=("envvar",)), tmp_path)
    assert (found.groups, listed(tmp_path)) == ((), ["other.json"])


def test_without_a_cdi_strategy_the_folder_need_not_be_usable(tmp_path: Path) -> None:
    (tmp_path / "cdi").write_text("no folder")
    node = simulated_nodes.node("t4", tmp_path)
    found = write(config(node, device_list_strategy=("envvar",)), tmp_path)
    assert (found.groups, found.changed) == ((), ())


def test_a_channel_is_a_device_of_its_own_class(tmp_path: Path) -> None:
    node = simulated_nodes.node("gb200-nvl4", tmp_path)
    write(config(node, imex=Imex(channel_ids=(0,))), tmp_path)
    assert names(tmp_path, "imex-channel") == ["0"]


def test_windows_s_gpus_are_the_device_all(tmp_path: Path) -> None:
    write(config(simulated_nodes.node("wsl2", tmp_path)), tmp_path)
    assert names(tmp_path) == ["all"]


@pytest.mark.parametrize(("strategy", "name"), [("uuid", "tegra"), ("index", "0")])
def test_a_tegra_is_one_device_by_the_name_it_is_offered_under(
    tmp_path: Path, strategy: str, name: str
) -> None:
    said = config(simulated_nodes.node("orin", tmp_path), device_id_strategy=strategy)
    write(said, tmp_path)
    assert names(tmp_path) == [name]


def test_a_spec_has_the_gpus_of_the_look_it_goes_with(tmp_path: Path) -> None:
    said = config(simulated_nodes.node("dgx-h100", tmp_path), mig_strategy="mixed")
    facts = looking.look(said)
    fewer = dataclasses.replace(facts.inventory, gpus=facts.inventory.gpus[:3])
    folder = str(tmp_path / "cdi")
    specs.write(said, dataclasses.replace(facts, inventory=fewer), folder=folder)
    assert names(tmp_path) == sorted(gpu.uuid for gpu in fewer.gpus)


def test_a_gpu_without_its_node_is_told_and_the_others_are_written(tmp_path: Path) -> None:
    node = simulated_nodes.node("dgx-h100", tmp_path)
    (node / "dev/nvidia3").unlink()
    found = write(config(node), tmp_path)
    assert len(names(tmp_path)) == 7
    assert "/dev/nvidia3" in "".join(found.warnings)


def test_hooks_can_be_left_out(tmp_path: Path) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    write(config(node, hook_path="/opt/hook"), tmp_path)
    assert {one["path"] for one in spec(tmp_path)["containerEdits"]["hooks"]} == {"/opt/hook"}
    write(config(node, cdi_disable_hooks=("all",)), tmp_path)
    assert "hooks" not in spec(tmp_path)["containerEdits"]


@pytest.mark.parametrize("said", [{"cdi_disable_hooks": ("x",)}, {"cdi_feature_flags": ("x",)}])
def test_unknown_hooks_and_flags_are_refused(tmp_path: Path, said: dict[str, Any]) -> None:
    with pytest.raises(ToolkitError, match="'x'"):
        write(config(simulated_nodes.node("t4", tmp_path), **said), tmp_path)
    assert listed(tmp_path) == []
