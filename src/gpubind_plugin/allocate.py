# SPDX-License-Identifier: Apache-2.0
"""The answer to the kubelet's Allocate: pure, from what a container asks for."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError
from gpubind_plugin import config as words
from gpubind_plugin import resources
from gpubind_plugin.device import REPLICA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpubind_plugin.config import Config
    from gpubind_plugin.device import Device
    from gpubind_plugin.facts import Facts

VENDOR = "k8s.device-plugin.nvidia.com"
PLUGIN = "nvidia-device-plugin"
CHANNEL = "/dev/nvidia-caps-imex-channels/channel"
VOLUMES = "/var/run/nvidia-container-devices"
MODES = ("gdrcopy", "gds", "mofed")
RUNS = re.compile(r"[0-9]+|[^0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A host path mounted into the container."""

    container_path: str
    host_path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """A device node given to the container; `permissions` are some of `rwm`."""

    container_path: str
    host_path: str
    permissions: str = "rw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the kubelet has the container get. `cdi_devices` are qualified names."""

    envs: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    devices: tuple[DeviceSpec, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    cdi_devices: tuple[str, ...] = ()


def answer(
    config: Config,
    facts: Facts,
    resource: str,
    offered: Sequence[Device],
    asked: Sequence[str],
    groups: Sequence[str],
    *,
    token: str = "",
) -> Answer:
    """Give what a container gets that was allotted the devices `asked`, ids of `offered`.

    `groups` are the extra CDI classes whose specs are not empty (`gds`, …); `token` makes the
    annotation's key unique, by default anew each time. Raises ToolkitError K8S-REQUEST, in the
    field's words, for ids that are not offered or more replicas than one container may have.
    """
    chosen = _checked(config, resource, offered, asked)
    names = list(dict.fromkeys(_name(config, device) for device in chosen))
    cdi = _cdi(config, names, facts.channels, groups)
    plain = any(way not in words.CDI_STRATEGIES for way in config.device_list_strategy)
    envs = dict(_envs(config))
    mounts: list[Mount] = []
    if config.sharing.strategy == words.MPS and any(one.replicas for one in chosen):
        envs["CUDA_MPS_PIPE_DIRECTORY"] = f"/mps/{resource}/pipe"
        mounts += _mps_mounts(config, resource)
    if plain:
        envs |= _visible(config, names, facts.channels)
        mounts += _volumes(config, names, facts.channels)
    return Answer(
        envs=dict(sorted(envs.items())),
        mounts=tuple(mounts),
        devices=tuple(_specs(facts, chosen)) if plain and config.pass_device_specs else (),
        annotations=_annotations(config, cdi, token),
        cdi_devices=cdi if words.CDI_CRI in config.device_list_strategy else (),
    )


def _checked(
    config: Config, resource: str, offered: Sequence[Device], asked: Sequence[str]
) -> list[Device]:
    """Give the devices asked for, in order of their indices."""
    known = {device.id: device for device in offered}
    for identifier in asked:
        if identifier not in known:
            raise _refused(resource, f"unknown device: {identifier}")
    shares = config.sharing.shares
    shared = sum(1 for identifier in asked if REPLICA in identifier)
    if shared and shares.fail_requests_greater_than_one and len(asked) > 1:
        raise _refused(
            resource,
            f"maximum request size for shared resources is 1; found {len(asked)}",
        )
    return sorted((known[one] for one in asked), key=resources.order)


def _refused(resource: str, message: str) -> ToolkitError:
    return ToolkitError(
        f'invalid allocation request for "{resource}": invalid request: {message}',
        identifier="K8S-REQUEST",
    )


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """Give what names are sorted by so that 10 comes after 9."""
    return tuple((len(run) if run.isdigit() else 0, run) for run in RUNS.findall(text))


def _name(config: Config, device: Device) -> str:
    return device.index if config.device_id_strategy == "index" else device.uuid


def _cdi(
    config: Config, names: Sequence[str], channels: Sequence[int], groups: Sequence[str]
) -> tuple[str, ...]:
    """Give the qualified names: devices, channels, then the groups that are on."""
    if not config.cdi:
        return ()
    on = {"gdrcopy": config.gdrcopy_enabled, "gds": config.gds_enabled}
    on["mofed"] = config.mofed_enabled
    return (
        *(f"{VENDOR}/gpu={name}" for name in names),
        *(f"{VENDOR}/imex-channel={number}" for number in channels),
        *(f"{VENDOR}/{group}=all" for group in MODES if on[group] and group in groups),
    )


def _annotations(config: Config, names: Sequence[str], token: str) -> dict[str, str]:
    if not names or words.CDI_ANNOTATIONS not in config.device_list_strategy:
        return {}
    key = f"{config.cdi_annotation_prefix}{PLUGIN}_{token or uuid.uuid4()}"
    return {key: ",".join(names)}


def _envs(config: Config) -> Iterator[tuple[str, str]]:
    if config.gdrcopy_enabled:
        yield "NVIDIA_GDRCOPY", "enabled"
    if config.gds_enabled:
        yield "NVIDIA_GDS", "enabled"
    if config.mofed_enabled:
        yield "NVIDIA_MOFED", "enabled"


def _mps_mounts(config: Config, resource: str) -> Iterator[Mount]:
    pipe = f"/mps/{resource}/pipe"
    yield Mount(container_path=pipe, host_path=f"{config.mps_root}/{resource}/pipe")
    yield Mount(container_path="/dev/shm", host_path=f"{config.mps_root}/shm")  # noqa: S108 - the container's


def _visible(config: Config, names: Sequence[str], channels: Sequence[int]) -> dict[str, str]:
    """Give the variables by which a runtime's shim learns of the devices."""
    by_volumes = words.VOLUME_MOUNTS in config.device_list_strategy
    visible = {"NVIDIA_VISIBLE_DEVICES": VOLUMES if by_volumes else ",".join(names)}
    if channels and words.ENVVAR in config.device_list_strategy:
        visible["NVIDIA_IMEX_CHANNELS"] = ",".join(map(str, channels))
    return visible


def _volumes(config: Config, names: Sequence[str], channels: Sequence[int]) -> Iterator[Mount]:
    if words.VOLUME_MOUNTS in config.device_list_strategy:
        for name in (*names, *(f"imex/{number}" for number in channels)):
            yield Mount(container_path=f"{VOLUMES}/{name}", host_path="/dev/null")


def _specs(facts: Facts, chosen: Sequence[Device]) -> Iterator[DeviceSpec]:
    """Give the control nodes there are, then the devices' own, then the channels'."""
    root = facts.roots.host_dev.rstrip("/")
    own = sorted({path for device in chosen for path in device.paths}, key=natural)
    for path in (*facts.control, *own, *(f"{CHANNEL}{number}" for number in facts.channels)):
        yield DeviceSpec(container_path=path, host_path=root + path)
