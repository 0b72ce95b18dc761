# SPDX-License-Identifier: Apache-2.0
"""The plugin follows the node: what is scripted to happen there reaches the kubelet."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import simulated_nodes
from plugin import plugins
from plugin.plugins import advance, configured, scripted

from gpubind.errors import ToolkitError
from gpubind_ctl.simulate import profile
from gpubind_plugin import standing

if TYPE_CHECKING:
    from pathlib import Path

    from plugin.kubelet import Kubelet


GPU = "nvidia.com/gpu"
H100 = [gpu.uuid for gpu in profile.load("dgx-h100").gpus]
A100 = [gpu.uuid for gpu in profile.load("dgx-a100-mig").gpus]
HEALTHY, UNHEALTHY = "Healthy", "Unhealthy"


def well(uuids: list[str], *ill: int) -> dict[str, str]:
    """Give the list of these GPUs, those at the places `ill` unhealthy."""
    return {uuid: UNHEALTHY if place in ill else HEALTHY for place, uuid in enumerate(uuids)}


def test_all_gpus_are_announced_with_their_numa_nodes(kubelet: Kubelet, tmp_path: Path) -> None:
    node = simulated_nodes.node("dgx-h100", tmp_path)
    with plugins.running(configured(node, kubelet), tmp_path / "cdi"):
        kubelet.until(lambda it: it.lists() == {GPU: well(H100)})
        endpoint = kubelet.endpoints[GPU]
        assert endpoint.request.endpoint == "nvidia-gpu.sock"
        assert endpoint.options.get_preferred_allocation_available
        assert not endpoint.options.pre_start_required
        assert [endpoint.numa[uuid] for uuid in H100] == [[0]] * 4 + [[1]] * 4


def test_a_gpu_that_is_unplugged_goes_and_comes_back(kubelet: Kubelet, tmp_path: Path) -> None:
    node = scripted(tmp_path, "dgx-h100", {"after": 100, "unplug": 3}, {"after": 200, "plug": 3})
    with plugins.running(configured(node, kubelet), tmp_path / "cdi"):
        kubelet.until(lambda it: it.lists() == {GPU: well(H100)})
        advance(node)
        kubelet.until(lambda it: it.lists() == {GPU: well(H100[:3] + H100[4:])})
        advance(node)
        kubelet.until(lambda it: it.lists() == {GPU: well(H100)})
        assert kubelet.registered == [GPU]
        assert len(kubelet.endpoints[GPU].lists) == 3


def test_the_last_gpu_may_go_and_come_back(kubelet: Kubelet, tmp_path: Path) -> None:
    node = scripted(tmp_path, "t4", {"after": 100, "unplug": 0}, {"after": 200, "plug": 0})
    with plugins.running(configured(node, kubelet), tmp_path / "cdi") as plugin:
        kubelet.until(lambda it: it.lists() and it.lists()[GPU])
        advance(node)
        kubelet.until(lambda it: it.lists() == {GPU: {}})
        plugin.until(lambda: plugin.reasons() == {standing.NO_DEVICES})
        advance(node)
        kubelet.until(lambda it: it.lists()[GPU])
        plugin.until(lambda: not plugin.reasons())
        assert kubelet.registered == [GPU]


def test_a_lost_gpu_is_unhealthy_and_well_when_it_is_back(kubelet: Kubelet, tmp_path: Path) -> None:
    node = scripted(tmp_path, "dgx-h100", {"after": 100, "lost": 2}, {"after": 200, "back": 2})
    with plugins.running(configured(node, kubelet), tmp_path / "cdi", again_s=0.2) as plugin:
        kubelet.until(lambda it: it.lists() == {GPU: well(H100)})
        advance(node)
        kubelet.until(lambda it: it.lists() == {GPU: well(H100, 2)})
        plugin.until(lambda: plugin.reasons() == {standing.PARTIAL})
        trouble = plugin.standing.troubles["devices"]
        assert "GPU is lost" in trouble.message
        advance(node)
        kubelet.until(lambda it: it.lists() == {GPU: well(H100)})
        plugin.until(lambda: not plugin.reasons())
        assert len(kubelet.endpoints[GPU].lists) == 3


@pytest.mark.parametrize("ill", ["hang", "abort"])
def test_a_gpu_that_nvml_hangs_or_dies_on_leaves_the_others_served(
    kubelet: Kubelet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ill: str
) -> None:
    monkeypatch.setenv("GPUBIND_NVML_TIMEOUT", "5")
    node = scripted(tmp_path, "dgx-h100", {"after": 100, ill: 0})
    with plugins.running(configured(node, kubelet), tmp_path / "cdi", again_s=0.2):
        kubelet.until(lambda it: it.lists() == {GPU: well(H100)})
        advance(node)
        kubelet.until(lambda it: it.lists() == {GPU: well(H100, 0)})
        given = kubelet.allocate(GPU, 7)
        assert sorted(given.envs["NVIDIA_VISIBLE_DEVICES"].split(",")) == sorted(H100[1:])


def test_a_gpu_that_is_lost_from_the_start_is_left_out(kubelet: Kubelet, tmp_path: Path) -> None:
    node = scripted(tmp_path, "dgx-h100", {"after": 0, "lost": 0})
    with plugins.running(configured(node, kubelet), tmp_path / "cdi") as plugin:
        kubelet.until(lambda it: it.lists() == {GPU: well(H100[1:])})
        plugin.until(lambda: plugin.reasons() == {standing.PARTIAL})


def test_another_partition_is_another_resource_and_the_old_one_is_left_empty(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    parts = [{"profile": "2g.20gb", "gi": gi} for gi in (3, 4)]
    node = scripted(tmp_path, "dgx-a100-mig", {"after": 100, "partition": 0, "mig": parts})
    config = configured(node, kubelet, mig_strategy="mixed")
    small, large = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-2g.20gb"
    with plugins.running(config, tmp_path / "cdi"):
        kubelet.until(lambda it: {GPU, small} <= it.lists().keys())
        whole = kubelet.lists()[GPU]
        assert len(kubelet.lists()[small]) == 7
        advance(node)
        kubelet.until(lambda it: len(it.lists().get(large, {})) == 2)
        kubelet.until(lambda it: it.lists()[small] == {})
        assert kubelet.lists()[GPU] == whole
        given = kubelet.allocate(large, 1)
        assert given.envs["NVIDIA_VISIBLE_DEVICES"] in kubelet.lists()[large]
        kubelet.restart()
        kubelet.until(lambda it: {GPU, large} <= it.lists().keys())
        assert small not in kubelet.registered


def test_a_driver_that_is_upgraded_in_parts_is_ill_until_it_is_whole(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    version = "550.163.01"
    node = scripted(
        tmp_path,
        "dgx-h100",
        {"after": 100, "libraries": version},
        {"after": 200, "driver": version},
    )
    with plugins.running(configured(node, kubelet), tmp_path / "cdi") as plugin:
        kubelet.until(lambda it: it.lists() == {GPU: well(H100)})
        advance(node)
        kubelet.until(lambda it: it.lists() == {GPU: dict.fromkeys(H100, UNHEALTHY)})
        assert standing.DRIVER in plugin.reasons()
        advance(node)
        kubelet.until(lambda it: it.lists() == {GPU: well(H100)})
        plugin.until(lambda: not plugin.reasons())
        assert kubelet.registered == [GPU]


@pytest.mark.parametrize("what", ["module", "driver"])
def test_a_driver_that_is_unloaded_takes_its_devices_with_it(
    kubelet: Kubelet, tmp_path: Path, what: str
) -> None:
    version = profile.load("t4").version
    acts: list[dict[str, Any]] = [{"after": 100, "gone": what}, {"after": 200, "driver": version}]
    node = scripted(tmp_path, "t4", *acts)
    with plugins.running(configured(node, kubelet), tmp_path / "cdi") as plugin:
        kubelet.until(lambda it: it.lists() and it.lists()[GPU])
        before = kubelet.lists()
        advance(node)
        kubelet.until(lambda it: it.lists() == {GPU: {}})
        assert standing.NO_DRIVER in plugin.reasons()
        advance(node)
        kubelet.until(lambda it: it.lists() == before)
        plugin.until(lambda: not plugin.reasons())


def test_a_late_driver_is_waited_for_where_that_is_configured(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    folder = tmp_path / "t4"
    folder.mkdir()
    config = configured(folder, kubelet, fail_on_init_error=False)
    with plugins.running(config, tmp_path / "cdi") as plugin:
        plugin.until(lambda: plugin.reasons() == {standing.NO_DRIVER})
        shutil.rmtree(folder)
        simulated_nodes.node("t4", tmp_path)
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 1)
        plugin.until(lambda: not plugin.reasons())
    assert plugin.said.getvalue().count("DRV-NOT-FOUND") == 1


def test_without_a_driver_the_plugin_ends_unless_configured_otherwise(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    with (
        pytest.raises(ToolkitError, match="DRV-NOT-FOUND"),
        plugins.running(configured(tmp_path, kubelet), tmp_path / "cdi") as plugin,
    ):
        plugin.thread.join(60)


def test_a_node_without_gpus_waits_and_says_so_once(kubelet: Kubelet, tmp_path: Path) -> None:
    node = scripted(tmp_path, "t4", {"after": 0, "unplug": 0}, {"after": 100, "plug": 0})
    with plugins.running(configured(node, kubelet), tmp_path / "cdi", again_s=0.1) as plugin:
        plugin.until(lambda: plugin.reasons() == {standing.NO_DEVICES})
        looks = (node / "gpubind-looks").stat().st_size
        plugin.until(lambda: (node / "gpubind-looks").stat().st_size > looks + 2)
        assert plugin.said.getvalue().count("no devices found") == 1
        assert kubelet.registered == []
        advance(node)
        kubelet.until(lambda it: it.lists())
