# SPDX-License-Identifier: Apache-2.0
"""Who says which GPUs a driver root has: a simulated node's inventory, or NVML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind_cdi import inventory, simulated

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.gpu import GpuSource

    from gpubind.root import Root


def of(
    root: Root,
    library_search_paths: Sequence[str] = (),
    dev_root: Root | None = None,
    *,
    now: bool = True,
) -> GpuSource:
    """Give the source of GPUs for a driver root; it answers once, and starts to work `now` or then.

    The root of /dev is a simulated node's too, where the driver has a folder of its own in it.
    """
    for known in (root, dev_root):
        if known is not None and simulated.is_simulated(known):
            return simulated.Simulated(known)
    from gpubind_cdi import nvml_process

    if not now:
        return inventory.Source(lambda: nvml_process.source(root, library_search_paths).inventory())
    try:
        return nvml_process.source(root, library_search_paths)
    except ToolkitError as error:
        return _silent(error)


def _silent(error: ToolkitError) -> GpuSource:
    """Give a source that answers nothing but why: some modes do without NVML."""

    def look() -> inventory.Inventory:
        raise error

    return inventory.Source(look)
