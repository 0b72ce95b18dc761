# SPDX-License-Identifier: Apache-2.0
"""What GPUs tell reaches the kubelet: for each replica, and for exactly the right MIG device."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import simulated_nodes
from plugin import plugins
from plugin.plugins import advance, configured, scripted

from gpubind_ctl.simulate import profile
from gpubind_plugin import metrics, seeing, standing
from gpubind_plugin.config import Health, Shared, Shares, Sharing
from gpubind_plugin.health.watch import Watch
from gpubind_plugin.ports import Ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from plugin.kubelet import Kubelet
    from plugin.plugins import Plugin

    from gpubind_plugin.config import Config
    from gpubind_plugin.logs import Log

GPU = "nvidia.com/gpu"
H100 = [gpu.uuid for gpu in profile.load("dgx-h100").gpus]
SHARED = Sharing(time_slicing=Shares(resources=(Shared(name=GPU, replicas=3),)))


def ports(specs: Path, made: list[Watch], **more: Any) -> Ports:
    """Give ports with the real watch, which is put into `made`."""

    def watch(changed: Any, log: Log) -> Watch:
        made.append(Watch(changed, log))
        return made[-1]

    see = functools.partial(seeing.see, folder=str(specs))
    return Ports(**{"see": see, "turn_s": plugins.TURN_S, "health": watch, **more})


def ill(kubelet: Kubelet, resource: str = GPU) -> set[str]:
    """Give the unhealthy devices of a resource."""
    listed = kubelet.lists().get(resource, {})
    return {name for name, health in listed.items() if health == "Unhealthy"}


def often(**act: Any) -> list[dict[str, Any]]:
    """Give an act as often as it takes: what happens before somebody listens is not told."""
    return [{"after": 1000 + number, **act} for number in range(200)]


def repeat(plugin: Plugin, node: Path, holds: Callable[[], object]) -> None:
    """Have the node's acts happen until something holds."""

    def advanced() -> bool:
        if not holds():
            advance(node)
        return bool(holds())

    plugin.until(advanced)


def test_an_xid_reaches_every_replica_of_its_gpu_and_no_other(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    node = scripted(tmp_path, "dgx-h100", *often(xid=79, gpu=1))
    config = replace(configured(node, kubelet), sharing=SHARED)
    made: list[Watch] = []
    counts = metrics.Metrics()
    known = ports(tmp_path / "cdi", made)
    with plugins.running(config, tmp_path / "cdi", ports=known, counts=counts) as plugin:
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 24)
        repeat(plugin, node, lambda: ill(kubelet))
        assert ill(kubelet) == {f"{H100[1]}::{replica}" for replica in range(3)}
        plugin.until(lambda: plugin.reasons() == {standing.PARTIAL})
        assert "79" in plugin.standing.troubles["devices"].message
        assert len(kubelet.endpoints[GPU].lists) == 2
        told = 'gpubind_events_total{code="79",kind="xid"}'
        plugin.until(lambda: told in counts.text().decode())


def test_an_xid_of_a_mig_device_leaves_the_others_of_its_gpu(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    split = next(gpu for gpu in profile.load("dgx-a100-mig").gpus if len(gpu.instances) == 7)
    hit = split.instances[2]
    acts = often(xid=79, gpu=split.uuid, gi=hit.gi, ci=hit.ci)
    node = scripted(tmp_path, "dgx-a100-mig", *acts)
    config = configured(node, kubelet, mig_strategy="mixed")
    resource = f"nvidia.com/mig-{hit.profile}"
    made: list[Watch] = []
    with plugins.running(config, tmp_path / "cdi", ports=ports(tmp_path / "cdi", made)) as plugin:
        kubelet.until(lambda it: len(it.lists().get(resource, {})) == 7)
        repeat(plugin, node, lambda: ill(kubelet, resource))
        assert ill(kubelet, resource) == {hit.uuid}
        assert ill(kubelet) == set()


def test_an_xid_that_is_switched_off_changes_nothing(kubelet: Kubelet, tmp_path: Path) -> None:
    both = zip(often(xid=79, gpu=1), often(xid=48, gpu=2), strict=True)
    node = scripted(tmp_path, "dgx-h100", *(act for pair in both for act in pair))
    config = configured(node, kubelet, health=Health(disabled=frozenset({79})))
    made: list[Watch] = []
    with plugins.running(config, tmp_path / "cdi", ports=ports(tmp_path / "cdi", made)) as plugin:
        kubelet.until(lambda it: it.lists())
        repeat(plugin, node, lambda: ill(kubelet))
        assert made[0].events()["xid 79"]
        assert ill(kubelet) == {H100[2]}


def test_a_resource_that_is_not_ready_waits_and_says_why(kubelet: Kubelet, tmp_path: Path) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    waiting = ["the MPS daemon does not answer"]

    def ready(config: Config, resource: str) -> str:
        del config
        assert resource == GPU
        return waiting[0]

    known = Ports(
        see=functools.partial(seeing.see, folder=str(tmp_path / "cdi")),
        turn_s=plugins.TURN_S,
        ready=ready,
    )
    with plugins.running(configured(node, kubelet), tmp_path / "cdi", ports=known) as plugin:
        plugin.until(lambda: plugin.reasons() == {standing.WAITING})
        assert plugin.standing.troubles[GPU].message == waiting[0]
        assert kubelet.registered == []
        waiting[0] = ""
        kubelet.until(lambda it: it.lists())
        plugin.until(lambda: not plugin.reasons())
