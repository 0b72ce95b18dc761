# SPDX-License-Identifier: Apache-2.0
"""The container's process: who its root is outside, and no import inside."""

from __future__ import annotations

import sys

import pytest
from gpubind_hooks import process

from gpubind.errors import ToolkitError


@pytest.mark.parametrize(
    ("text", "outside"),
    [
        ("         0          0 4294967295\n", 0),
        ("0 100000 65536\n", 100000),
        ("1 200000 1000\n0 1000 1\n", 1000),
        ("1000 1000 1\n", 0),
        ("", 0),
    ],
)
def test_a_namespace_s_root_has_a_number_outside(text: str, outside: int) -> None:
    assert process.mapped(text) == outside


def test_the_guard_refuses_what_is_not_loaded_and_lets_the_rest_be() -> None:
    guard = process.Guard()
    sys.meta_path.insert(0, guard)
    try:
        __import__("sys")
        with pytest.raises(ToolkitError, match=r"^antigravity would .*\[PRESTART-IMPORT\]$"):
            __import__("antigravity")
    finally:
        sys.meta_path.remove(guard)
