# SPDX-License-Identifier: Apache-2.0
"""Every error ID has its section in docs/errors.md, and every section its error."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDENTIFIER = re.compile(r"[A-Z][A-Z0-9]+(-[A-Z0-9]+)+")
PRINTED = re.compile(r"\[([A-Z][A-Z0-9]+(?:-[A-Z0-9]+)+)\]$")  # at the end of a message
SECTION = re.compile(r"^## (\S+)$", re.MULTILINE)
OTHER_WORDS = {"UTF-8"}  # texts that only look like an ID


def used(root: str) -> dict[str, str]:
    """Give the IDs in the code, each with a place.

    These are the texts that are an ID (also in a table), those a message ends with, and what is
    given as `identifier=`, of whatever form.
    """
    places: dict[str, str] = {}
    for name in checkout.python(root, *checkout.CODE, "packaging"):
        for node in ast.walk(checkout.parsed(root, name)):
            for identifier in _identifiers(node):
                places.setdefault(identifier, f"{name}:{getattr(node, 'lineno', 0)}")
    return places


def _identifiers(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        printed = PRINTED.search(node.value)
        if printed:
            yield printed[1]
        elif IDENTIFIER.fullmatch(node.value) and node.value not in OTHER_WORDS:
            yield node.value
    elif isinstance(node, ast.keyword) and node.arg == "identifier":
        for found in ast.walk(node.value):
            if isinstance(found, ast.Constant) and isinstance(found.value, str):
                yield found.value


def differences(root: str) -> Iterator[str]:
    """Give the IDs without section, the sections without error, and IDs of a wrong form."""
    sections = SECTION.findall(checkout.text(root, "docs/errors.md"))
    places = used(root)
    for identifier in sorted(places.keys() - set(sections)):
        yield f"{places[identifier]}: {identifier} is not in docs/errors.md"
    for identifier in sorted(places):
        if not IDENTIFIER.fullmatch(identifier):
            yield f"{places[identifier]}: {identifier} is no ID: capitals with a hyphen"
    for identifier in sorted(set(sections) - places.keys()):
        yield f"docs/errors.md: nothing raises {identifier}"
    if sections != sorted(set(sections)):
        yield "docs/errors.md: sections are not sorted, or one is there twice"


def test_the_page_of_errors_and_the_errors_agree() -> None:
    assert list(differences(checkout.ROOT)) == []


def test_an_error_without_section_and_a_section_without_error_are_seen(tmp_path: Path) -> None:
    code = (
        "def f(*, identifier: str = 'DOC-INVALID'):\n"
        "    raise E('x', identifier='NEW-ONE' if f else 'known')\n"
        "TABLE = {'a': ('TABLE-MADE', 'UTF-8')}\n"
        "tell(f'{x}: gone [NEW-TWO]')\n"
        "TABLE = {'a': 'NEW-THREE'}\n"
    )
    page = "# Errors\n\n## TABLE-MADE\n\n## GONE-ONE\n\n## DOC-INVALID\n"
    root = checkout.grow(tmp_path, {"src/gpubind/a.py": code, "docs/errors.md": page})
    assert list(differences(root)) == [
        "src/gpubind/a.py:2: NEW-ONE is not in docs/errors.md",
        "src/gpubind/a.py:5: NEW-THREE is not in docs/errors.md",
        "src/gpubind/a.py:4: NEW-TWO is not in docs/errors.md",
        "src/gpubind/a.py:2: known is not in docs/errors.md",
        "src/gpubind/a.py:2: known is no ID: capitals with a hyphen",
        "docs/errors.md: nothing raises GONE-ONE",
        "docs/errors.md: sections are not sorted, or one is there twice",
    ]
