# SPDX-License-Identifier: Apache-2.0
"""The CDI specs that the plugin's answers name: of GPUs, IMEX channels, GDS, MOFED and GDRCOPY.

They are described from the roots as this process sees them and written as the host sees them. A
class whose hardware is gone has its file taken away; nothing is written that would not change. They
have no sidecar: that would speak of paths as this process sees them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpubind_cdi import document, features, files, generate, inventory
from gpubind_cdi.modes.mode import Options
from gpubind_cdi.transform import root as roots

from gpubind.errors import ToolkitError
from gpubind_plugin import facts as platforms
from gpubind_plugin import looking, resources
from gpubind_plugin.allocate import MODES, VENDOR

if TYPE_CHECKING:
    from gpubind_cdi.generate import Generated
    from gpubind_cdi.model import Spec
    from gpubind_cdi.modes.mode import Host

    from gpubind_plugin.config import Config
    from gpubind_plugin.facts import Facts, Roots

FOLDER = "/var/run/cdi"
GPU, CHANNEL = "gpu", "imex-channel"
CLASSES = (GPU, CHANNEL, *MODES)
NOTHING = ("GEN-NO-NODES", "DRV-NO-GPU")  # errors that say that there is none of a kind
BY_PLATFORM = {platforms.NVML: "nvml", platforms.WSL: "wsl", platforms.TEGRA: "csv"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was done: the classes whose spec is there, which changed, and what is missing."""

    groups: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def write(config: Config, facts: Facts, *, folder: str = FOLDER) -> Written:
    """Write the spec of each class that is configured and there, and withdraw the others.

    Without a CDI strategy all are withdrawn. Raises ToolkitError where the driver or its files
    can't be described, OSError where a spec can't be written; each file then is whole, as it was
    or new.
    """
    there: list[str] = []
    changed: list[str] = []
    warnings: list[str] = []
    with looking.opened(facts.roots) as host:
        known = replace(host, gpus=inventory.Source(lambda: facts.inventory))  # ask NVML once
        for group in CLASSES:
            found = _described(group, config, facts, known)
            if found is None:
                if os.path.lexists(path(group, folder)):  # else the folder may be read-only
                    files.withdraw(path(group, folder))
                continue
            spec = _for_host(_offered(found.spec, config, facts), facts.roots)
            if files.keep(path(group, folder), document.dump(spec.document(), "json")):
                changed.append(group)
            there.append(group)
            warnings += [f"{group}: {one}" for one in found.missing]
    return Written(groups=tuple(there), changed=tuple(changed), warnings=tuple(warnings))


def path(group: str, folder: str = FOLDER) -> str:
    """Give the file of a class's spec."""
    return f"{folder}/{VENDOR}-{group}.json"


def _described(group: str, config: Config, facts: Facts, host: Host) -> Generated | None:
    """Give a class's spec as this process sees it; None where it is not wanted or not there."""
    wanted = _options(group, config, facts)
    if wanted is None:
        return None
    try:
        return generate.generate(wanted, host.gpus, host.root, host.dev_root, host.system)
    except ToolkitError as error:
        if error.identifier in NOTHING:
            return None
        raise


def _options(group: str, config: Config, facts: Facts) -> Options | None:
    """Give what to generate; None for a class that is not configured."""
    on = {
        GPU: True,
        CHANNEL: bool(facts.channels),
        "gdrcopy": config.gdrcopy_enabled,
        "gds": config.gds_enabled,
        "mofed": config.mofed_enabled,
    }
    if not config.cdi or not on[group]:
        return None
    mode = {GPU: BY_PLATFORM[facts.platform], CHANNEL: "imex"}.get(group, group)
    return Options(
        mode=mode,
        vendor=VENDOR,
        device_class=group,
        device_name_strategies=(config.device_id_strategy,),
        no_all_device=group in (GPU, CHANNEL),
        device_ids=_ids(group, config, facts),
        hook_path=config.hook_path,
        disable_hooks=config.cdi_disable_hooks,
        **features.options((*config.cdi_feature_flags, "disable-multiple-csv-devices")),
    )


def _ids(group: str, config: Config, facts: Facts) -> tuple[str, ...]:
    """Give the devices a class's spec has; none named means all, MIG devices for their GPU."""
    if group == CHANNEL:
        return tuple(map(str, facts.channels))
    whole = group == GPU and facts.platform == platforms.NVML and config.mig_strategy == "none"
    return tuple(gpu.uuid for gpu in facts.inventory.gpus) if whole else ()


def _offered(spec: Spec, config: Config, facts: Facts) -> Spec:
    """Give a spec with the name that the one device of a Tegra is offered under."""
    if facts.platform != platforms.TEGRA or spec.device_class != GPU:
        return spec
    whole = resources.WHOLE[platforms.TEGRA]
    name = whole.index if config.device_id_strategy == "index" else whole.uuid
    return replace(spec, devices=tuple(replace(one, name=name) for one in spec.devices))


def _for_host(spec: Spec, places: Roots) -> Spec:
    """Give a spec with the host's paths in place of ours; /dev may have a root of its own."""
    if places.dev != places.driver or places.host_dev != places.host_driver:
        spec = roots.run(spec, _dev(places.dev), _dev(places.host_dev))
    return roots.run(spec, places.driver, places.host_driver)


def _dev(root: str) -> str:
    return f"{root.rstrip('/')}/dev"
