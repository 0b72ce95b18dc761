# SPDX-License-Identifier: Apache-2.0
"""One discovery over a grown driver root, and its result in short, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import driver_roots
from driver_roots import VERSION
from gpubind_cdi.driver import Driver
from gpubind_cdi.lookup import library

from gpubind.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from driver_roots import Tree
    from gpubind_cdi.discover.found import Found


def look(
    folder: Path, tree: Tree, find: Callable[[Driver], Found], machine: str = "x86_64"
) -> Found:
    """Grow the tree and run `find` over it, all three roots being the one."""
    with Root(driver_roots.grow(folder, tree)) as root:
        return find(
            Driver(
                root=root,
                dev_root=root,
                system=root,
                version=VERSION,
                machine=machine,
                folders=library.folders(root),
            )
        )


def links(found: Found) -> dict[str, str]:
    """Give the links found and their targets."""
    return {link.link: link.target for link in found.links}


def required(found: Found) -> list[str]:
    """Give what is missing and required, as it is shown."""
    return [str(one) for one in found.missing if one.required]
