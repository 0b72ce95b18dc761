# SPDX-License-Identifier: Apache-2.0
"""A driver root and its GPUs, as a CDI spec and the sidecar that goes with it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gpubind import paths, plan, words
from gpubind.errors import ToolkitError, UsageError
from gpubind.root import Root
from gpubind_cdi import driver as drivers
from gpubind_cdi import elf, libraries, limit, namer, select, sidecar_writer, validate
from gpubind_cdi.discover import files as plain_files
from gpubind_cdi.discover import nodes, shared
from gpubind_cdi.discover.found import Found, Missing, together
from gpubind_cdi.lookup import library
from gpubind_cdi.model import ContainerEdits, Device, DeviceNode, Hook, Mount, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpubind_cdi.driver import Driver
    from gpubind_cdi.gpu import GpuSource

LINKS_HOOK, CACHE_HOOK = "create-symlinks", "update-ldcache"
PLANNED = (LINKS_HOOK, CACHE_HOOK)
HOOKS = (
    *PLANNED,
    "chmod",
    "disable-device-node-modification",
    "enable-cuda-compat",
    "update-application-profile",
)
HOOK_ENV = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin",)
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
    hooks = _hooks(options)
    libraries.table()  # read here, while NVML's process is still at work
    driver = look(options, root, dev_root, system, gpus.driver_version())
    chosen = select.devices(options.device_ids, gpus.gpus(), gpus.faults())
    devices, lost = _devices(driver, strategies, chosen)
    lost = (*(_unreadable(fault.index, fault.message) for fault in gpus.faults()), *lost)
    if not devices and select.NONE not in options.device_ids:
        raise _no_gpu(driver, lost)
    common = _without(_common(options, driver), hooks)
    devices = {names: _without(found, hooks) for names, found in devices.items()}
    spec, left_out = _spec(options, common, devices)
    absent = [*lost, *common.missing, *(one for found in devices.values() for one in found.missing)]
    absent += _empty(options, gpus)
    return Generated(
        spec=spec,
        sidecar=sidecar_writer.document(driver, gpus.cuda_version(), gpus.gpus(), common, devices),
        missing=tuple(dict.fromkeys(one for one in absent if one.required)),
        explain_missing=tuple(dict.fromkeys(one for one in absent if not one.required)),
        left_out=left_out,
    )


def _spec(
    options: Options, common: Found, devices: Mapping[tuple[str, ...], Found]
) -> tuple[Spec, tuple[str, ...]]:
    """Give the valid spec and what the oldest engine's version cost."""
    full = Spec(
        kind=f"{options.vendor}/{options.device_class}",
        devices=tuple(sorted(_described(options, devices), key=lambda device: device.name)),
        container_edits=_common_edits(options, common),
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


def _hooks(options: Options) -> frozenset[str]:
    """Give the hooks that are wanted."""
    for name in (*options.disable_hooks, *options.enable_hooks):
        if name not in (*HOOKS, "all"):
            raise UsageError(
                f"no hook {name!r}", identifier="USE-HOOK", hint=f"there are: {', '.join(HOOKS)}"
            )
    for name in options.enable_hooks:
        if name not in PLANNED:
            raise UsageError(
                f"the hook {name!r} can't be enabled",
                identifier="USE-HOOK",
                hint=f"these can: {', '.join(PLANNED)}",
            )
    disabled = set(PLANNED if "all" in options.disable_hooks else options.disable_hooks)
    return frozenset(PLANNED) - disabled | set(options.enable_hooks)


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


def _without(found: Found, hooks: frozenset[str]) -> Found:
    """Give what was found without what only a hook that is not wanted would do."""
    if LINKS_HOOK not in hooks:
        found = replace(found, links=())
    return found if CACHE_HOOK in hooks else replace(found, entries=(), folders=())


def _described(options: Options, devices: Mapping[tuple[str, ...], Found]) -> Iterator[Device]:
    for names, found in devices.items():
        edits = _edits(options, found)
        yield from (Device(name=name, container_edits=edits) for name in names)
    if select.NONE in options.device_ids:
        yield Device(name=select.NONE, container_edits=ContainerEdits(env=(NONE_ENV,)))
    elif not options.no_all_device:
        every = _edits(options, together(devices.values()))
        yield Device(name=select.ALL, container_edits=every)


def _common_edits(options: Options, found: Found) -> ContainerEdits:
    env = ["NVIDIA_VISIBLE_DEVICES=void"]
    if found.folders:
        env.insert(0, f"NVIDIA_CTK_LIBCUDA_DIR={':'.join(found.folders)}")
    return replace(_edits(options, found), env=tuple(env))


def _edits(options: Options, found: Found) -> ContainerEdits:
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
        hooks=tuple(_hook(options, found)),
        mounts=tuple(
            Mount(host_path=mount.host, container_path=mount.container, options=mount.options)
            for mount in sorted(found.mounts, key=lambda mount: _depth(mount.container))
        ),
        additional_gids=tuple(sorted(gids)) if options.additional_gids else (),
    )


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path


def _hook(options: Options, found: Found) -> Iterator[Hook]:
    """Give the one hook that makes links and loader entries, if there are any."""
    operations: list[plan.Operation] = [plan.Link(link.target, link.link) for link in found.links]
    if found.folders:
        narrow = [entry.path for entry in found.entries if entry.machine == elf.I386]
        wide = [entry.path for entry in found.entries if entry.machine != elf.I386]
        operations.append(plan.LdCache(found.folders, wide, narrow))
    if operations:
        base = os.path.basename(options.hook_path)
        name = (base, "hook") if base == "nvidia-ctk" else (base,)
        args = (*name, *words.of(operations))
        yield Hook(hook_name="createContainer", path=options.hook_path, args=args, env=HOOK_ENV)


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
