# SPDX-License-Identifier: Apache-2.0
"""A plan like those of real containers, and how tests perform it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind import plan
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "/usr/lib/gpu"
LINK = plan.Link("libcuda.so.1", f"{FOLDER}/libcuda.so")
CACHE = plan.LdCache([FOLDER], [f"{FOLDER}/libcuda.so.1"], ["/usr/lib32/libcuda.so.1"])
PLAN: list[plan.Operation] = [LINK, plan.Link("libx.so.1", "/usr/lib/gpu/libx.so"), CACHE]
WRITTEN = [
    "link /usr/lib/gpu/libcuda.so -> libcuda.so.1",
    "link /usr/lib/gpu/libx.so -> libx.so.1",
    "write ld.so.cache",
    "write ld.so.conf",
    "write 00-gpubind.conf",
]


def perform(
    root: Path, operations: list[plan.Operation], *, walking: bool = False
) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    with Root(str(root), walking=walking) as opened:
        return plan.perform(opened, operations, notes), notes
