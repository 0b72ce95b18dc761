# SPDX-License-Identifier: Apache-2.0
"""Every command that the pages show works as it is shown, in the page's order."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import checkout
import pytest
from command_line import gpubind

if TYPE_CHECKING:
    from pathlib import Path


def commands(page: str) -> list[list[str]]:
    """Give the words of each indented line of a page that starts with `gpubind`."""
    lines = checkout.text(checkout.ROOT, page).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("    gpubind ")]


@pytest.mark.parametrize("page", ["docs/simulate.md", "docs/cdi.md", "docs/config.md"])
def test_the_examples_of_a_page_work(page: str, tmp_path: Path) -> None:
    shown = commands(page)
    assert len(shown) > 3
    for words in shown:
        moved = [word.replace("/tmp/", f"{tmp_path}{os.sep}") for word in words]
        outcome = gpubind(*moved)
        assert (words, outcome.status, outcome.out + outcome.err != "") in [
            (words, 0, True),
            (words, 0, words[:2] != ["cdi", "compile"] and words[0] != "config"),
        ]
