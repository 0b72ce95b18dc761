# SPDX-License-Identifier: Apache-2.0
"""Modes mig-config and mig-monitor: the nodes that let a container set up or watch MIG.

Each is one device `all`, with the one node of its capability, whose number the kernel module lists.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gpubind_cdi import driver as drivers
from gpubind_cdi import select
from gpubind_cdi.discover import nodes
from gpubind_cdi.discover.found import Found
from gpubind_cdi.libraries import Use
from gpubind_cdi.modes import groups
from gpubind_cdi.modes.mode import Described, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_cdi.modes.mode import Host, Options

CAPABILITIES = {"config": "sets up MIG devices", "monitor": "watches the MIG devices of all"}
NODE = "/dev/nvidia-caps/nvidia-cap"


def modes() -> Iterator[Mode]:
    """Give the mode of each capability; its class is its name."""
    for capability in CAPABILITIES:
        yield Mode(
            name=f"mig-{capability}",
            device_class=f"mig-{capability}",
            asks_gpus=False,
            describe=partial(describe, capability),
        )


def describe(capability: str, host: Host, options: Options) -> Described:
    """Give the node of a capability as the device `all`.

    Raises ToolkitError where the host has none, UsageError where another device is asked for.
    """
    name = f"mig-{capability}"
    groups.only_all(options, name)
    minor = drivers.mig_minors(host.system).get(capability)
    use = Use(capabilities=("utility",), required=True, why=CAPABILITIES[capability])
    found = Found() if minor is None else nodes.node(host.dev_root, f"{NODE}{minor}", use)
    if not found.nodes:
        hint = "load the kernel module nvidia; 'gpubind system create-device-nodes' makes the node"
        raise groups.none(host, name, f"{NODE}{'*' if minor is None else minor}", hint)
    return Described(common=Found(), devices={(select.ALL,): found})
