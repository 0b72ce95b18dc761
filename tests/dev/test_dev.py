# SPDX-License-Identifier: Apache-2.0
"""The script ./dev: what it says where it can't go on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import checkout
import pytest

if TYPE_CHECKING:
    from pathlib import Path

DEV = os.path.join(checkout.ROOT, "dev")
NOBODY = ("/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def run(*words: str, path: str = os.defpath) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, check=False, capture_output=True, text=True, env={"PATH": path, "LC_ALL": "C.UTF-8"}
    )


def test_without_words_it_tells_what_it_can_do() -> None:
    told = run(DEV)
    verbs = re.findall(r"\./dev (\w+)", told.stdout)
    assert (told.returncode, verbs) == (
        0,
        ["demo", "test", "lint", "fuzz", "engines", "bench", "install", "package", "setup"],
    )


def test_an_unknown_verb_is_bad_usage() -> None:
    told = run(DEV, "tset")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("usage: ")


@pytest.mark.root
def test_a_missing_package_that_only_root_can_install_is_named() -> None:
    functions = checkout.text(checkout.ROOT, "dev").partition("\nverb=")[0]
    told = run(*NOBODY, "/bin/bash", "-c", f"{functions}\npackages no-such-package")
    assert (told.returncode, told.stderr) == (
        1,
        "this needs packages that only root can install: "
        "apt-get install --no-install-recommends no-such-package\n",
    )


def test_lint_fails_when_one_of_its_checkers_fails(tmp_path: Path) -> None:
    tools = tmp_path / ".venv/bin"
    tools.mkdir(parents=True)
    for name in ("ruff", "mypy", "lint-imports", "pytest"):
        (tools / name).symlink_to("/usr/bin/false" if name == "mypy" else "/usr/bin/true")
    shutil.copy(DEV, tmp_path / "dev")
    (tmp_path / "pyproject.toml").touch()
    os.utime(tmp_path / "pyproject.toml", (0, 0))
    (tmp_path / ".venv/stamp").touch()
    told = run(os.fspath(tmp_path / "dev"), "lint")
    assert (told.returncode, told.stderr) == (1, "")
