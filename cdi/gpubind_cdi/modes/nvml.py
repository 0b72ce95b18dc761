# SPDX-License-Identifier: Apache-2.0
"""Mode nvml: GPUs and MIG devices as NVML knows them, with the driver's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError
from gpubind_cdi import driver as drivers
from gpubind_cdi import hooks, libraries, namer, select
from gpubind_cdi.discover import files as plain_files
from gpubind_cdi.discover import nodes, shared
from gpubind_cdi.discover.found import Found, Missing, together
from gpubind_cdi.lookup import library
from gpubind_cdi.modes.mode import Described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.driver import Driver
    from gpubind_cdi.gpu import Fault, Gpu
    from gpubind_cdi.modes.mode import Host, Options


def describe(host: Host, options: Options) -> Described:
    """Give the driver's files and the chosen GPUs.

    Raises UsageError for options that name nothing, ToolkitError where there is no driver, no GPU,
    or they do not fit together.
    """
    strategies = namer.checked(options.device_name_strategies)
    libraries.table()  # read here, while NVML's process is still at work
    driver = drivers.look(host, options.library_search_paths)
    gpus, faults = host.gpus.gpus(), host.gpus.faults()
    chosen = select.devices(options.device_ids, gpus, faults, options.coherent)
    devices, lost = _devices(driver, strategies, chosen)
    lost = (*map(_unreadable, faults), *lost)
    lost = (*lost, *_empty(options, gpus))
    if not devices and select.NONE not in options.device_ids:
        raise _no_gpu(driver, lost)
    return Described(
        common=common(options, driver),
        devices=devices,
        missing=lost,
        operations=hooks.usual(driver.version),
        env=(f"CUDA_MPS_PIPE_DIRECTORY={options.mps_pipe}",) if options.mps_pipe else (),
        driver=driver,
        cuda=host.gpus.cuda_version(),
        gpus=[gpu for gpu in gpus if options.coherent in (None, gpu.coherent)],
    )


def common(options: Options, driver: Driver) -> Found:
    """Give what every container with a GPU gets: control nodes and the driver's files."""
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


def _empty(options: Options, gpus: Sequence[Gpu]) -> list[Missing]:
    """Name the GPUs that no device stands for."""
    return [
        Missing(
            what=f"{select.Chosen(gpu=gpu)}",
            reason="MIG is enabled, and it has no MIG devices",
            required=False,
        )
        for gpu in gpus
        if gpu.mig_enabled and not gpu.mig and not options.device_ids
    ]


def _unreadable(fault: Fault) -> Missing:
    return Missing(what=fault.what, reason=f"could not be read: {fault.message}", required=True)


def _no_gpu(driver: Driver, lost: Sequence[Missing]) -> ToolkitError:
    reasons = "; ".join(map(str, lost)) or "the driver serves none"
    return ToolkitError(
        f"no GPU to describe in {driver.root.path}: {reasons}", identifier="DRV-NO-GPU"
    )
