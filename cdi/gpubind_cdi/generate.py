# SPDX-License-Identifier: Apache-2.0
"""A driver root and its GPUs, as a CDI spec and the sidecar that goes with it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gpubind import paths
from gpubind.errors import ToolkitError
from gpubind.root import Root
from gpubind_cdi import driver as drivers
from gpubind_cdi import hooks, libraries, limit, namer, select, sidecar_writer, validate
from gpubind_cdi.discover import files as plain_files
from gpubind_cdi.discover import nodes, shared
from gpubind_cdi.discover.found import Found, Missing, together
from gpubind_cdi.lookup import library
from gpubind_cdi.model import ContainerEdits, Device, DeviceNode, Mount, Spec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from gpubind import plan
    from gpubind_cdi.driver import Driver
    from gpubind_cdi.gpu import GpuSource

NONE_ENV = "NVCT_EMPTY_DEVICE="


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an operator can choose; each field is the command's option of that name.

    `library_search_paths` and `config_search_paths` replace the usual folders, `ipc` mounts the
    daemons' sockets, `mps_pipe` is the pipe folder of the multi-process service,
    `vendor_neutral` adds the dispatching GL and OpenCL libraries, `machine` is that of uname(2).
    """

    vendor: str = "nvidia.com"
    device_class: str = "gpu"
    device_name_strategies: tuple[str, ...] = namer.DEFAULT_STRATEGIES
    library_search_paths: tuple[str, ...] = ()
    config_search_paths: tuple[str, ...] = ()
    hook_path: str = paths.HOOK
    disable_hooks: tuple[str, ...] = ()
    enable_hooks: tuple[str, ...] = ()
    no_all_device: bool = False
    device_ids: tuple[str, ...] = ()
    cdi_version_max: str = ""
    additional_gids: bool = False
    ipc: bool = True
    mps_pipe: str = ""
    vendor_neutral: bool = False
    machine: str = field(default_factory=lambda: os.uname().machine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """A valid spec, its sidecar (not yet tied to a file), and what is not in them.

    `missing` is required and not there, or a GPU that was left out: generation was partial.
    `explain_missing` is what a healthy host may lack; `left_out` what `cdi_version_max` cost.
    """

    spec: Spec
    sidecar: dict[str, Any]
    missing: tuple[Missing, ...] = ()
    explain_missing: tuple[Missing, ...] = ()
    left_out: tuple[str, ...] = ()


def generate(
    options: Options, gpus: GpuSource, root: Root, dev_root: Root, system: Root | None = None
) -> Generated:
    """Give the spec that describes the driver in `root` and the GPUs of the source.

    `system` holds the kernel's /proc and /sys; by default the driver root itself where it has them
    (a simulated node), else the host. Raises UsageError for options that name nothing, ToolkitError
    where there is no driver, no GPU, or they do not fit together, DocumentError where the result
    would break a rule of CDI.
    """
    if system is None:
        if drivers.holds_system(root):
            return generate(options, gpus, root, dev_root, root)
        with Root("/") as host:
            return generate(options, gpus, root, dev_root, host)
    strategies = namer.checked(options.device_name_strategies)
    names = hooks.wanted(options.disable_hooks, options.enable_hooks)
    libraries.table()  # read here, while NVML's process is still at work
    driver = look(options, root, dev_root, system, gpus.driver_version())
    chosen = select.devices(options.device_ids, gpus.gpus(), gpus.faults())
    devices, lost = _devices(driver, strategies, chosen)
    lost = (*(_unreadable(fault.index, fault.message) for fault in gpus.faults()), *lost)
    if not devices and select.NONE not in options.device_ids:
        raise _no_gpu(driver, lost)
    common = _without(_common(options, driver), names)
    devices = {known: _without(found, names) for known, found in devices.items()}
    spec, left_out = _spec(options, common, devices, hooks.shared(names, driver.version))
    absent = [*lost, *common.missing, *(one for found in devices.values() for one in found.missing)]
    absent += _empty(options, gpus)
    return Generated(
        spec=spec,
        sidecar=sidecar_writer.document(driver, gpus, common, devices, names),
        missing=tuple(dict.fromkeys(one for one in absent if one.required)),
        explain_missing=tuple(dict.fromkeys(one for one in absent if not one.required)),
        left_out=left_out,
    )


def _spec(
    options: Options,
    common: Found,
    devices: Mapping[tuple[str, ...], Found],
    more: Sequence[plan.Operation],
) -> tuple[Spec, tuple[str, ...]]:
    """Give the valid spec and what the oldest engine's version cost."""
    full = Spec(
        kind=f"{options.vendor}/{options.device_class}",
        devices=tuple(sorted(_described(options, devices), key=lambda device: device.name)),
        container_edits=_common_edits(options, common, more),
    )
    spec, left_out = limit.fit(full, options.cdi_version_max)
    validate.check(spec, writing=True)
    return spec, left_out


def look(options: Options, root: Root, dev_root: Root, system: Root, reported: str = "") -> Driver:
    """Give the driver in a root; errors as for `driver.version`."""
    folders = library.folders(root, options.library_search_paths)
    return drivers.Driver(
        root=root,
        dev_root=dev_root,
        system=system,
        version=drivers.version(root, system, folders, reported),
        machine=options.machine,
        folders=folders,
    )


def _devices(
    driver: Driver, strategies: Sequence[str], chosen: Sequence[select.Chosen]
) -> tuple[dict[tuple[str, ...], Found], tuple[Missing, ...]]:
    """Give what was found for each device by its names, and the devices that lack a node."""
    minors = drivers.mig_minors(driver.system) if any(one.mig for one in chosen) else {}
    devices: dict[tuple[str, ...], Found] = {}
    lost: list[Missing] = []
    for one in chosen:
        if one.mig is None:
            found = nodes.gpu(driver, one.gpu)
        else:
            found = nodes.mig(driver, one.gpu, one.mig, minors)
        needed = [missing for missing in found.missing if missing.required]
        if needed:
            reason = f"left out: {'; '.join(map(str, needed))}"
            lost.append(Missing(what=str(one), reason=reason, required=True))
        else:
            devices[namer.names(strategies, one.gpu, one.mig)] = found
    return devices, tuple(lost)


def _common(options: Options, driver: Driver) -> Found:
    found = shared.discover(driver, vendor_neutral=options.vendor_neutral)
    search = tuple(library.inner(driver.root, name) for name in options.config_search_paths)
    parts = [
        nodes.control(driver),
        found,
        plain_files.modules(driver, found.folders),
        plain_files.programs(driver),
        plain_files.firmware(driver),
        plain_files.configs(driver, search),
    ]
    if options.ipc:
        parts.append(plain_files.sockets(driver))
    if options.mps_pipe:
        parts.append(plain_files.mps_pipe(driver, options.mps_pipe))
    return together(parts)


def _without(found: Found, names: Collection[str]) -> Found:
    """Give what was found without what only a hook that is not wanted would do."""
    if hooks.LINKS not in names:
        found = replace(found, links=())
    return found if hooks.CACHE in names else replace(found, entries=(), folders=())


def _described(options: Options, devices: Mapping[tuple[str, ...], Found]) -> Iterator[Device]:
    wanted = hooks.wanted(options.disable_hooks, options.enable_hooks)
    for names, found in devices.items():
        edits = _edits(options, found, hooks.own(wanted, found))
        yield from (Device(name=name, container_edits=edits) for name in names)
    if select.NONE in options.device_ids:
        yield Device(name=select.NONE, container_edits=ContainerEdits(env=(NONE_ENV,)))
    elif not options.no_all_device:
        found = together(devices.values())
        every = _edits(options, found, hooks.own(wanted, found))
        yield Device(name=select.ALL, container_edits=every)


def _common_edits(options: Options, found: Found, more: Sequence[plan.Operation]) -> ContainerEdits:
    env = ["NVIDIA_VISIBLE_DEVICES=void"]
    if found.folders:
        env.insert(0, f"NVIDIA_CTK_LIBCUDA_DIR={':'.join(found.folders)}")
    return replace(_edits(options, found, more), env=tuple(env))


def _edits(options: Options, found: Found, more: Sequence[plan.Operation]) -> ContainerEdits:
    gids = {node.gid for node in found.nodes if node.gid and node.mode & 0o006 != 0o006}
    return ContainerEdits(
        device_nodes=tuple(
            DeviceNode(
                path=node.path,
                host_path="" if node.host == node.path else node.host,
                type="c",
                major=node.major,
                minor=node.minor,
                file_mode=node.mode,
                permissions="rwm",
            )
            for node in sorted(found.nodes, key=lambda node: _depth(node.path))
        ),
        hooks=tuple(hooks.entry(options.hook_path, found, more)),
        mounts=tuple(
            Mount(host_path=mount.host, container_path=mount.container, options=mount.options)
            for mount in sorted(found.mounts, key=lambda mount: _depth(mount.container))
        ),
        additional_gids=tuple(sorted(gids)) if options.additional_gids else (),
    )


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path


def _empty(options: Options, gpus: GpuSource) -> list[Missing]:
    """Name the GPUs that no device stands for."""
    return [
        Missing(
            what=f"{select.Chosen(gpu=gpu)}",
            reason="MIG is enabled, and it has no MIG devices",
            required=False,
        )
        for gpu in gpus.gpus()
        if gpu.mig_enabled and not gpu.mig and not options.device_ids
    ]


def _unreadable(index: int, message: str) -> Missing:
    return Missing(what=f"GPU {index}", reason=f"could not be read: {message}", required=True)


def _no_gpu(driver: Driver, lost: Sequence[Missing]) -> ToolkitError:
    reasons = "; ".join(map(str, lost)) or "the driver serves none"
    return ToolkitError(
        f"no GPU to describe in {driver.root.path}: {reasons}", identifier="DRV-NO-GPU"
    )
