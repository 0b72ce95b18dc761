# SPDX-License-Identifier: Apache-2.0
"""Manual pages and completions are the commands' own words."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import contents
import manual
import pytest

if TYPE_CHECKING:
    from pathlib import Path

PAGES = manual.pages("1.0")


def test_every_command_has_a_page_and_every_group() -> None:
    assert {"gpubind.1", "gpubind-cdi.1", "gpubind-cdi-transform-root.1"} <= PAGES.keys()


def test_a_page_says_what_help_says() -> None:
    page = PAGES["gpubind-cdi-generate.1"]
    assert page.startswith('.\\" SPDX')
    assert '.TH GPUBIND-CDI-GENERATE 1 "" "gpubind 1.0"\n' in page
    assert ".B \\-\\-driver\\-root DIR\n" in page
    assert ".B NVIDIA_CTK_DRIVER_ROOT\n" in page
    assert ".BR gpubind\\-cdi (1)\n" in page


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        (".so /etc/passwd", "\\&.so /etc/passwd"),
        ("a\n'b", "a\n\\&'b"),
        ("C:\\x --y", "C:\\ex \\-\\-y"),
    ],
)
def test_no_text_is_an_order_to_roff(text: str, roff: str) -> None:
    assert manual.quoted(text) == roff


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
@pytest.mark.parametrize("name", [*PAGES, *os.listdir(f"{contents.PACKAGING}/man")])
def test_roff_has_nothing_to_say_about_a_page(name: str) -> None:
    page = PAGES.get(name) or hand(name)
    words = ["groff", "-man", "-Tutf8", "-ww", "-z"]
    done = subprocess.run(words, input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def hand(name: str) -> str:
    """Give a page that was written by hand."""
    with open(f"{contents.PACKAGING}/man/{name}", encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize("shell", manual.COMPLETIONS)
def test_a_shells_script_asks_the_program(shell: str) -> None:
    assert f"_GPUBIND_COMPLETE={shell}_complete" in manual.completion(shell)


def test_bash_completes_with_it(tmp_path: Path) -> None:
    script = tmp_path / "gpubind"
    script.write_text(manual.completion("bash"))
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
