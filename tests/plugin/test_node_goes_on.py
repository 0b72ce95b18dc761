# SPDX-License-Identifier: Apache-2.0
"""The plugin goes on: other configurations, bad ones, and what fails in itself."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import simulated_nodes
from plugin import plugins
from plugin.plugins import configured

from gpubind.errors import ToolkitError
from gpubind_plugin import seeing, standing
from gpubind_plugin.config import Named, Resources
from gpubind_plugin.counts import Nobody
from gpubind_plugin.logs import Log
from gpubind_plugin.node import Node
from gpubind_plugin.ports import Ports
from gpubind_plugin.standing import Standing

if TYPE_CHECKING:
    from pathlib import Path

    from plugin.kubelet import Kubelet

    from gpubind_plugin.config import Config

GPU = "nvidia.com/gpu"


def test_a_new_configuration_holds_and_what_it_does_not_name_is_left_empty(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    config = configured(node, kubelet)
    renamed = replace(config, resources=Resources(gpus=(Named(name="nvidia.com/t4"),)))
    with plugins.running(config, tmp_path / "cdi") as plugin:
        kubelet.until(lambda it: GPU in it.lists())
        plugin.loaded = lambda: renamed
        plugin.hang_up()
        kubelet.until(lambda it: it.lists().get("nvidia.com/t4"))
        kubelet.until(lambda it: it.lists()[GPU] == {})


def test_a_bad_configuration_leaves_the_old_one_and_says_so_until_a_good_one(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    config = configured(node, kubelet)

    def bad() -> Any:
        raise ToolkitError("config.yaml: line 3: what is this", identifier="K8S-CONFIG")

    with plugins.running(config, tmp_path / "cdi") as plugin:
        kubelet.until(lambda it: GPU in it.lists())
        plugin.loaded = bad
        plugin.hang_up()
        plugin.until(lambda: plugin.reasons() == {standing.CONFIG})
        said = plugin.standing.troubles["configuration"].message
        assert said == (
            "the old configuration holds: config.yaml: line 3: what is this [K8S-CONFIG]"
        )
        kubelet.restart()
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 1)
        plugin.loaded = lambda: config
        plugin.hang_up()
        plugin.until(lambda: not plugin.reasons())


def test_cdi_specs_are_written_before_their_devices_are_announced(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    config = configured(node, kubelet, device_list_strategy=("cdi-cri",))
    with plugins.running(config, tmp_path / "cdi"):
        kubelet.until(lambda it: it.lists())
        spec = json.loads((tmp_path / "cdi/k8s.device-plugin.nvidia.com-gpu.json").read_text())
        given = kubelet.allocate(GPU, 1)
        (name,) = (one.name for one in given.cdi_devices)
        assert name == f"{spec['kind']}={spec['devices'][0]['name']}"
        assert not given.envs


def test_specs_that_cannot_be_written_are_a_reason_of_their_own(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    more = {"device_list_strategy": ("cdi-cri",), "fail_on_init_error": False}
    (tmp_path / "cdi").write_text("a file where the folder should be")
    with plugins.running(configured(node, kubelet, **more), tmp_path / "cdi") as plugin:
        plugin.until(lambda: plugin.reasons() == {standing.SPECS})
        assert kubelet.registered == []
        (tmp_path / "cdi").unlink()
        kubelet.until(lambda it: it.lists())


def test_gpus_whose_mig_modes_do_not_fit_the_strategy_are_a_reason_of_their_own(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    node = simulated_nodes.node("dgx-a100-mig", tmp_path)
    config = configured(node, kubelet, mig_strategy="single", fail_on_init_error=False)
    with plugins.running(config, tmp_path / "cdi") as plugin:
        plugin.until(lambda: plugin.reasons() == {standing.MIG})


def test_a_defect_in_looking_leaves_what_is_served(kubelet: Kubelet, tmp_path: Path) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    broken: list[int] = []

    def see(config: Config) -> seeing.Seen:
        if len(broken) == 1:
            broken.append(2)
            raise ZeroDivisionError("of all things")
        return seeing.see(config, folder=str(tmp_path / "cdi"))

    ports = Ports(see=see, turn_s=plugins.TURN_S, again_s=0.2)
    config = configured(node, kubelet)
    with plugins.running(config, tmp_path / "cdi", ports=ports) as plugin:
        kubelet.until(lambda it: it.lists())
        broken.append(1)
        plugin.until(lambda: plugin.reasons() == {standing.DRIVER})
        assert "INTERNAL-ERROR" in plugin.standing.troubles["driver"].message
        plugin.until(lambda: not plugin.reasons())
        assert len(kubelet.endpoints[GPU].lists) == 1


def test_a_task_that_swallows_its_cancellation_ends_all_the_same(tmp_path: Path) -> None:
    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    async def run() -> bool:
        log = Log(stream=io.StringIO())
        config = configured(tmp_path, None)
        it = Node(config, lambda: config, counts=Nobody(), standing=Standing(log), log=log)
        task = asyncio.create_task(stubborn())
        it._kept["x"] = task
        await asyncio.sleep(0)
        await it._end()
        return task.cancelled()

    assert asyncio.run(run())
