# SPDX-License-Identifier: Apache-2.0
"""GPUs of a simulated node: read from the inventory in its root instead of NVML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind.errors import DocumentError
from gpubind_cdi import document, inventory

if TYPE_CHECKING:
    from gpubind.root import Root

FILE = "/gpubind-node.json"


class Simulated(inventory.Source):
    """The GPUs of a simulated node.

    The first question reads the inventory; it raises DocumentError with the place of what is
    wrong in it, or OSError where it can't be read.
    """

    __slots__ = ()

    def __init__(self, root: Root) -> None:
        super().__init__(lambda: read(root))


def is_simulated(root: Root) -> bool:
    """Tell whether the root belongs to a simulated node."""
    return root.exists(FILE)


def read(root: Root) -> inventory.Inventory:
    """Give the inventory in a simulated node's root; errors as for `Simulated`."""
    name = root.outer(FILE)
    try:
        return inventory.parse(document.load(root.read(FILE), name))
    except DocumentError as error:
        raise error.of(name) from None
