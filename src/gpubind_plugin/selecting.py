# SPDX-License-Identifier: Apache-2.0
"""Which GPUs and MIG devices a selector of the configuration means."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubind_cdi.gpu import Gpu, Mig

    from gpubind_plugin.config import Resources, Selector

COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}


def matches(pattern: str, text: str) -> bool:
    """Tell whether all of `text` fits a pattern, in which only `*` is special: it is any text."""
    wanted = ".*".join(map(re.escape, pattern.split("*")))
    return re.fullmatch(wanted, text, re.DOTALL) is not None


def fits(selector: Selector, gpu: Gpu, mig: Mig | None = None, *, profile: bool = False) -> bool:
    """Tell whether a selector means a GPU, or its MIG device `mig`.

    Its pattern is that of the GPU's product name; with `profile` that of the MIG device's profile.
    """
    uuids = [gpu.uuid] if mig is None else [mig.uuid, gpu.uuid]
    name = mig.profile if profile and mig is not None else gpu.name
    memory = gpu.memory if mig is None else mig.memory
    return (
        matches(selector.pattern, name)
        and matches(selector.pci, gpu.pci)
        and any(matches(selector.uuid.lower(), uuid.lower()) for uuid in uuids)
        and all(memory and COMPARISONS[sign](memory, size) for sign, size in selector.memory)
    )


def wanted(resources: Resources, gpu: Gpu, mig: Mig | None = None) -> bool:
    """Tell whether a device is offered at all, by the filters."""
    if resources.include and not any(_named(one, gpu, mig) for one in resources.include):
        return False
    return not any(_named(one, gpu, mig) for one in resources.exclude)


def _named(selector: Selector, gpu: Gpu, mig: Mig | None) -> bool:
    """Tell whether a filter means a device: its pattern may be that of product name or profile."""
    if mig is not None and fits(selector, gpu, mig, profile=True):
        return True
    return fits(selector, gpu, mig)
