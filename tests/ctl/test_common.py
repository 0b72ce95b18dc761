# SPDX-License-Identifier: Apache-2.0
"""What stands before a command, and `hook`, as scripts for the field's program have it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from command_line import PROGRAM, gpubind

from gpubind import VERSION

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("words", [["--version"], ["-v"], ["--quiet", "-v"]])
def test_the_version_has_two_names(words: list[str]) -> None:
    outcome = gpubind(*words)
    assert (outcome.status, outcome.out, outcome.err) == (0, f"gpubind {VERSION}\n", "")


def test_a_note_is_told_and_not_when_quiet_is_asked_for(tmp_path: Path) -> None:
    words = ("cdi", "list", "--spec-dir", tmp_path)
    assert gpubind(*words).err == "gpubind: Found 0 CDI devices\n"
    assert gpubind("--debug", *words).err == "gpubind: Found 0 CDI devices\n"
    assert gpubind("--quiet", *words).err == ""


def test_an_error_is_told_all_the_same() -> None:
    outcome = gpubind("--quiet", "cdi", "validate", "/nowhere/x.yaml")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)


def test_a_configuration_before_the_command_is_the_commands(tmp_path: Path) -> None:
    (tmp_path / "cdi").mkdir()
    device = {"name": "x", "containerEdits": {"env": ["A=b"]}}
    spec = {"cdiVersion": "0.5.0", "kind": "a.com/bee", "devices": [device]}
    (tmp_path / "cdi/a.json").write_text(json.dumps(spec))
    file = tmp_path / "config.toml"
    file.write_text(f'[nvidia-container-runtime.modes.cdi]\nspec-dirs = ["{tmp_path}/cdi"]\n')
    outcome = gpubind("--config", file, "cdi", "list")
    assert (outcome.status, outcome.out) == (0, "a.com/bee=x\n")


def test_a_configuration_behind_the_command_counts_more(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("disable-require = true\n")
    outcome = gpubind("--config", "/nowhere/config.toml", "config", "--config", file)
    assert "disable-require = true" in outcome.out


def test_the_packages_own_command_line_of_the_field_works(tmp_path: Path) -> None:
    file = tmp_path / "etc/config.toml"
    outcome = gpubind("--quiet", "config", f"--config-file={file}", "--in-place")
    assert (outcome.status, outcome.err, file.exists()) == (0, "", True)


def hook(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    state = json.dumps({"bundle": str(root.parent), "root": str(root)})
    return subprocess.run(
        [*PROGRAM, "hook", *words], input=state, capture_output=True, text=True, check=False
    )


def test_hook_is_the_cdi_hook(tmp_path: Path) -> None:
    root = tmp_path / "rootfs"
    root.mkdir()
    done = hook(root, "create-symlinks", "--link", "libcuda.so.1::/usr/lib/libcuda.so")
    assert (done.returncode, done.stderr) == (0, "")
    assert os.readlink(root / "usr/lib/libcuda.so") == "libcuda.so.1"


def test_hook_refuses_what_the_cdi_hook_refuses(tmp_path: Path) -> None:
    done = hook(tmp_path, "create-symlinks", "--bogus")
    assert (done.returncode, "[ARG-" in done.stderr) == (2, True)


def test_a_shell_is_told_how_a_line_goes_on() -> None:
    env = {"COMP_WORDS": "gpubind cdi gen", "COMP_CWORD": "2", "_GPUBIND_COMPLETE": "bash_complete"}
    assert gpubind(env=env).out == "plain,generate\n"
