# SPDX-License-Identifier: Apache-2.0
"""Mode wsl: a WSL2 machine, where one node stands for all GPUs and Windows brings the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError, UsageError
from gpubind_cdi import select
from gpubind_cdi.discover import wsl
from gpubind_cdi.discover.found import Missing, together
from gpubind_cdi.driver import Driver
from gpubind_cdi.modes.mode import Described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.gpu import Gpu
    from gpubind_cdi.modes.mode import Host, Options


def sign(host: Host) -> str:
    """Say what speaks for this mode: the kernel's node and Windows's library."""
    if not wsl.is_there(host.root, host.dev_root, host.machine):
        return ""
    return f"there are {wsl.NODE} and {wsl.DXCORE}: this is WSL2"


def describe(host: Host, options: Options) -> Described:
    """Give the driver that Windows lends, and the device `all`.

    Raises UsageError for another device, ToolkitError where there is no node or no driver.
    """
    _check(options)
    store = wsl.store(host.root)
    nodes = wsl.nodes(host.dev_root)
    wanted = not options.device_ids or select.ALL in options.device_ids
    if wanted and not nodes.nodes:
        raise ToolkitError(
            f"no GPU to describe: {'; '.join(map(str, nodes.missing))}",
            identifier="DRV-NO-GPU",
            hint="run 'wsl --update' on Windows; give the root of /dev with --dev-root",
        )
    found = together(
        [
            wsl.dxcore(host.root, host.machine),
            wsl.driver_files(host.root, store.path, host.machine),
            wsl.looked_at(host.root),
        ]
    )
    gpus, cuda, driver, silence = _figures(host)
    return Described(
        common=found,
        devices={(select.ALL,): nodes} if wanted else {},
        missing=silence,
        driver=driver,
        cuda=cuda,
        gpus=gpus,
        notes=(f"driver store {host.root.outer(store.path)}: {store.why}",),
    )


def _check(options: Options) -> None:
    for name in options.device_ids:
        if name not in (select.ALL, select.NONE):
            raise UsageError(
                f"no device {name!r}: {wsl.NODE} is all GPUs at once",
                identifier="USE-DEVICE",
                hint="there is: all",
            )


def _figures(host: Host) -> tuple[Sequence[Gpu], str, Driver | None, tuple[Missing, ...]]:
    """Give what NVML says for the sidecar, or nothing and why: it is not needed for the rest."""
    try:
        version = host.gpus.driver_version()
        gpus, cuda = host.gpus.gpus(), host.gpus.cuda_version()
    except ToolkitError as error:
        return (), "", None, (Missing(what="NVML", reason=error.message, required=False),)
    driver = Driver(
        root=host.root,
        dev_root=host.dev_root,
        system=host.system,
        version=version,
        machine=host.machine,
        folders=(),
    )
    return gpus, cuda, driver, ()
