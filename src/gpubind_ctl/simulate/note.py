# SPDX-License-Identifier: Apache-2.0
"""Why a simulated node has no proper device nodes: a file in its /dev, where it was laid out so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpubind.root import Root

FILE = "/dev/gpubind-note"


def read(root: Root) -> str:
    """Give the note in a driver root, empty where there is none."""
    try:
        return root.read(FILE, 4096).decode(errors="replace").strip()
    except OSError:
        return ""
