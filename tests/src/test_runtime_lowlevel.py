# SPDX-License-Identifier: Apache-2.0
"""Which low-level runtime is taken, and that it is never ourselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trees

from gpubind import config, runtime
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path


def found(folders: list[str], names: list[str], own: str = "/absent") -> str:
    before = os.environ["PATH"]
    os.environ["PATH"] = ":".join(folders)
    try:
        return runtime.lowlevel(config.Config({config.RUNTIMES: names}, "/c.toml"), own)
    finally:
        os.environ["PATH"] = before


def put(path: Path, text: str = "#!/bin/sh\n") -> str:
    trees.build(path.parent, {f"/{path.name}": text})
    path.chmod(0o755)
    return str(path)


def test_the_first_runtime_that_is_there_is_taken(tmp_path: Path) -> None:
    crun = put(tmp_path / "a/x-crun")
    runc = put(tmp_path / "b/x-runc")
    folders = [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert found(folders, ["x-absent", "x-runc", "x-crun"]) == runc
    assert found(folders, [crun, "x-runc"]) == crun


def test_what_cannot_be_run_is_passed_over(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/a/x-runc/y": "", "/b/x-runc": "not executable", "/c/x-runc": "-> no"})
    last = put(tmp_path / "d/x-runc")
    assert found([f"{tmp_path}/{name}" for name in "abcd"], ["x-runc"]) == last


MARK = "#!/usr/bin/python3 -IS\nfrom gpubind.runtime import main\n"


@pytest.mark.parametrize("text", ["-> own", "-> ../a/own", MARK])
def test_we_never_become_ourselves(tmp_path: Path, text: str) -> None:
    own = put(tmp_path / "a/own", MARK)
    trees.build(tmp_path, {"/a/x-runc": text})
    os.chmod(tmp_path / "a/x-runc", 0o755)
    last = put(tmp_path / "b/x-runc")
    assert found([f"{tmp_path}/a", f"{tmp_path}/b"], ["x-runc"], own) == last


def test_a_program_that_is_us_by_its_inode_only_is_passed_over(tmp_path: Path) -> None:
    own = put(tmp_path / "a/x-runc")
    last = put(tmp_path / "b/x-runc")
    assert found([f"{tmp_path}/a", f"{tmp_path}/b"], ["x-runc"], own) == last


@pytest.mark.parametrize("folder", ["", ".", "relative"])
def test_a_relative_folder_of_the_path_is_not_searched(tmp_path: Path, folder: str) -> None:
    put(tmp_path / "relative/x-runc")
    put(tmp_path / "x-runc")
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(ToolkitError, match="RUNTIME-ABSENT"):
            found([folder], ["x-runc"])
    finally:
        os.chdir(here)


@pytest.mark.parametrize(("names", "told"), [([], "nothing"), (["x-a", "/x-b"], "x-a, /x-b")])
def test_without_any_runtime_the_error_says_what_was_looked_for(
    names: list[str], told: str
) -> None:
    with pytest.raises(ToolkitError) as caught:
        found([], names)
    assert str(caught.value) == (
        f"no low-level runtime found: looked for {told}; install runc, or name one in /c.toml at "
        "nvidia-container-runtime.runtimes [RUNTIME-ABSENT]"
    )
