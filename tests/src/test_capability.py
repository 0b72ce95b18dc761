# SPDX-License-Identifier: Apache-2.0
"""Only what a container's capabilities let in."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

from gpubind import capability

if TYPE_CHECKING:
    from gpubind.oci.types import Edits, Mount

MOUNTS: list[Mount] = [
    {"containerPath": "always", "capabilities": []},
    {"containerPath": "unmarked"},
    {"containerPath": "compute", "capabilities": ["compute"]},
    {"containerPath": "both", "capabilities": ["video", "graphics"]},
]


@pytest.mark.parametrize(
    ("capabilities", "let_in"),
    [
        ([], ["always", "unmarked"]),
        (["compute"], ["always", "unmarked", "compute"]),
        (["graphics"], ["always", "unmarked", "both"]),
        (["utility"], ["always", "unmarked"]),
        (["compute", "video"], ["always", "unmarked", "compute", "both"]),
    ],
)
def test_an_item_needs_one_of_its_capabilities(capabilities: list[str], let_in: list[str]) -> None:
    found = capability.only(capabilities, MOUNTS)
    assert [mount["containerPath"] for mount in found] == let_in


def test_nodes_and_mounts_are_narrowed_and_all_else_stays() -> None:
    edits: Edits = {
        "env": ["A=b"],
        "deviceNodes": [{"path": "/dev/a", "capabilities": ["video"]}, {"path": "/dev/b"}],
        "mounts": MOUNTS,
        "additionalGids": [5],
    }
    before = copy.deepcopy(edits)
    assert capability.narrow(["utility"], edits) == {
        "env": ["A=b"],
        "deviceNodes": [{"path": "/dev/b"}],
        "mounts": MOUNTS[:2],
        "additionalGids": [5],
    }
    assert edits == before


def test_edits_without_nodes_and_mounts_get_none() -> None:
    assert capability.narrow([], {"env": ["A=b"]}) == {"env": ["A=b"]}
