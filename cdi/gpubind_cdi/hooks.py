# SPDX-License-Identifier: Apache-2.0
"""Which hooks a spec has, and the one entry that does all of them. Pure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gpubind import elf, plan, words
from gpubind.errors import UsageError
from gpubind.operation import chmod, compat, params, profile
from gpubind_cdi.model import Hook

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from gpubind_cdi.discover.found import Found

LINKS, CACHE = "create-symlinks", "update-ldcache"
USUAL = (LINKS, compat.NAME, CACHE, params.NAME, profile.NAME)
NAMES = (*USUAL, chmod.NAME)
ENV = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin",)
OPENED = ("/dev/dri", "/dev/nvidia-caps")
"""Folders of nodes that a container's users must be able to search."""


def wanted(disabled: Collection[str], enabled: Collection[str]) -> tuple[str, ...]:
    """Give the hooks a spec shall have, in their order; what is enabled wins.

    Raises UsageError for a name nobody knows, and where all hooks would be enabled.
    """
    for name in (*disabled, *enabled):
        if name not in (*NAMES, "all"):
            raise UsageError(
                f"no hook {name!r}", identifier="USE-HOOK", hint=f"there are: {', '.join(NAMES)}"
            )
    if "all" in enabled:
        raise UsageError(
            "not all hooks can be enabled at once",
            identifier="USE-HOOK",
            hint=f"name those you want: {', '.join(NAMES)}",
        )
    usual = () if "all" in disabled else tuple(name for name in USUAL if name not in disabled)
    return tuple(name for name in NAMES if name in usual or name in enabled)


def usual(version: str) -> tuple[plan.Special, ...]:
    """Give what a container with GPUs needs besides links and loader entries.

    `version` is the driver's.
    """
    return compat.CudaCompat(version, ""), profile.ApplicationProfile(), params.MaskParams()


def name(operation: plan.Special) -> str:
    """Give the name of the hook that does an operation."""
    return operation.words()[0]


def own(names: Collection[str], found: Found) -> tuple[plan.Operation, ...]:
    """Give what a device needs besides its links."""
    parents = {os.path.dirname(node.path) for node in found.nodes}
    opened = [place for place in OPENED if place in parents]
    return (chmod.Chmod(0o755, opened),) if chmod.NAME in names and opened else ()


def entry(path: str, found: Found, more: Sequence[plan.Operation]) -> Iterator[Hook]:
    """Give the one hook that does it all, nothing where there is nothing to do.

    An image's own CUDA libraries are looked at before the loader's cache is written.
    """
    operations: list[plan.Operation] = [plan.Link(link.target, link.link) for link in found.links]
    if found.folders:
        operations += [one for one in more if isinstance(one, compat.CudaCompat)]
        narrow = [one.path for one in found.entries if one.machine == elf.I386]
        wide = [one.path for one in found.entries if one.machine != elf.I386]
        operations.append(plan.LdCache(found.folders, wide, narrow))
    operations += [one for one in more if not isinstance(one, compat.CudaCompat)]
    if operations:
        base = os.path.basename(path)
        name = (base, "hook") if base == "nvidia-ctk" else (base,)
        args = (*name, *words.of(operations))
        yield Hook(hook_name="createContainer", path=path, args=args, env=ENV)
