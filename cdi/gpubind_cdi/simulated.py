# SPDX-License-Identifier: Apache-2.0
"""GPUs of a simulated node: read from the inventory in its root instead of NVML.

A node with a script is asked as NVML is, by processes that hang and die where the script says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpubind.errors import DocumentError
from gpubind_cdi import document, inventory

if TYPE_CHECKING:
    from gpubind.root import Root

FILE = "/gpubind-node.json"
SCRIPT = "/gpubind-script.json"
ROOT_FD = 3
PROGRAM = "from gpubind_cdi import simulated_process as it; it.answer({only})"


class Simulated(inventory.Source):
    """The GPUs of a simulated node.

    The first question reads the inventory; it raises DocumentError with the place of what is
    wrong in it, OSError where it can't be read, and what NVML's source does where its script or
    its inventory says that NVML fails.
    """

    __slots__ = ()

    def __init__(self, root: Root) -> None:
        super().__init__(lambda: _seen(root))


def _seen(root: Root) -> inventory.Inventory:
    from gpubind_cdi import driver

    found = played(root) if root.exists(SCRIPT) else read(root)
    return replace(found, present=driver.addresses(root))


def is_simulated(root: Root) -> bool:
    """Tell whether the root belongs to a simulated node."""
    return root.exists(FILE)


def read(root: Root) -> inventory.Inventory:
    """Give the inventory in a simulated node's root; errors as for `Simulated`."""
    try:
        return inventory.parse(loaded(root))
    except DocumentError as error:
        raise error.of(root.outer(FILE)) from None


def loaded(root: Root) -> Any:
    """Give the inventory as it is written."""
    return document.load(root.read(FILE), root.outer(FILE))


def played(root: Root) -> inventory.Inventory:
    """Give what the processes say that play the node's script; errors as for `Simulated`."""
    from gpubind_cdi import asking, child, nvml_process

    limit = nvml_process.limit()

    def start(only: int | None) -> child.Child:
        return child.start(PROGRAM.format(only=only), root.fd, ROOT_FD, limit)

    answer = asking.ask(start(None), start, limit)
    found = nvml_process.judged(answer, nvml_process.driver_in(root))
    return replace(found, profile=loaded(root)["profile"])
