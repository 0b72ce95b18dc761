# SPDX-License-Identifier: Apache-2.0
"""Every way of attack we know of has a test: the list in hostile_rows.txt, and what it names."""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING

import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIST = "tests/rules/hostile_rows.txt"
# Other rows are of other parts: from C.72 on of specs, of systems.
FLAWS = tuple(f"A.{number}" for number in range(2, 9))
FOUND = (
    *("2018-15664", "2019-5736", "2019-14271", "2019-19921", "2021-30465", "2022-0811"),
    *("2022-23648", "2024-5154", "2024-9341", "2024-9676", "2024-21626", "2024-40635"),
    *("2024-45310", "2025-24965", "2025-31133", "2025-52565", "2025-52881", "2025-54867"),
    *("2026-41579", "2026-88264"),
)
HAZARDS = 20
NUMBERS = tuple(f"C.{number}" for number in (*range(1, 72), *range(86, 92)))


def rows(root: str) -> dict[str, list[str]]:
    """Give each row's tests, or the reason why it has none as `out: …`."""
    found: dict[str, list[str]] = {}
    row = ""
    for line in checkout.text(root, LIST).splitlines():
        if line.startswith(("A.", "C.")):
            row = line if line.startswith("A.10/") else line.split(" ", 1)[0]
            found[row] = []
        elif line.startswith("    "):
            found[row].append(line.strip())
    return found


def faults(root: str) -> Iterator[str]:
    """Give what is wrong with the list: rows that are missing, or tests that are not there."""
    known = rows(root)
    wanted = (*FLAWS, *(f"A.9/{number}" for number in FOUND), *NUMBERS)
    yield from (f"{row} is missing" for row in wanted if row not in known)
    if sum(row.startswith("A.10/") for row in known) < HAZARDS:
        yield f"less than {HAZARDS} rows A.10"
    functions: dict[str, set[str]] = {}
    for row, tests in known.items():
        if not tests:
            yield f"{row} has no test"
        for test in tests:
            name, _, function = test.partition("::")
            if name not in functions:
                functions[name] = _functions(root, f"tests/{name}")
            if not test.startswith("out: ") and function not in functions[name]:
                yield f"{row}: {test} is no test"


def _functions(root: str, name: str) -> set[str]:
    """Give the test functions of a file, none where it is not there."""
    if not os.path.isfile(os.path.join(root, name)):
        return set()
    body = checkout.parsed(root, name).body
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return {function for function in functions if function.startswith("test_")}


def test_every_row_has_its_tests() -> None:
    assert list(faults(checkout.ROOT)) == []


def test_a_row_without_test_and_a_test_without_function_are_seen(tmp_path: Path) -> None:
    text = "\n".join(
        [
            *(f"{row} x\n    a.py::test_it" for row in FLAWS),
            *(f"A.9/{number} x\n    out: a reason" for number in FOUND),
            *(f"A.10/{number}\n    a.py::test_it" for number in range(HAZARDS - 1)),
            *(f"{row} x\n    a.py::test_it" for row in NUMBERS if row not in ("C.38", "C.39")),
            *("C.38 y", "A.10/x y", "    a.py::helper", "    b.py::test_it"),
        ]
    )
    root = checkout.grow(
        tmp_path, {LIST: text, "tests/a.py": "def test_it(): ...\ndef helper(): ...\n"}
    )
    assert set(faults(root)) == {
        "C.39 is missing",
        "C.38 has no test",
        "A.10/x y: a.py::helper is no test",
        "A.10/x y: b.py::test_it is no test",
    }
