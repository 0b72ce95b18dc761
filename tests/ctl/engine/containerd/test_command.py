# SPDX-License-Identifier: Apache-2.0
"""containerd and CRI-O by the command line: written, shown, left alone, given back."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import trees
from command_line import Outcome, gpubind
from engine_files import cases

if TYPE_CHECKING:
    from pathlib import Path

FILE = cases("containerd")["kubeadm-systemd-cgroup"]


def runtime(tmp_path: Path, verb: str, *words: str, engine: str = "containerd") -> Outcome:
    given = (f"--runtime={engine}", f"--config={tmp_path}/config.toml")
    return gpubind("runtime", verb, *given, f"--state-dir={tmp_path}/state", *words)


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_is_configured_once_and_given_back(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(FILE)
    file.chmod(mode)
    done = runtime(tmp_path, "configure", "--set-as-default")
    assert (done.status, done.out) == (0, "")
    assert f"Wrote updated config to {file}" in done.err
    assert "systemctl restart containerd" in done.err
    before = trees.seen(tmp_path)
    again = runtime(tmp_path, "configure", "--set-as-default")
    assert f"{file} is as wanted; nothing is changed" in again.err
    assert trees.seen(tmp_path) == before
    shown = runtime(tmp_path, "status").out
    assert "runtime nvidia: /usr/bin/gpubind-runtime" in shown
    assert "default runtime: nvidia, formerly runc" in shown
    assert runtime(tmp_path, "unconfigure").status == 0
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (FILE, mode)


def test_a_dry_run_is_a_diff_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(FILE)
    done = runtime(tmp_path, "configure", "--dry-run")
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0] == f"--- {tmp_path}/config.toml"
    assert [line for line in lines[2:] if line.startswith("-")] == []
    assert (tmp_path / "config.toml").read_bytes() == FILE


def test_ten_at_once_all_survive_and_go_again(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(FILE)
    names = [f"--nvidia-runtime-name=n{number}" for number in range(10)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda name: runtime(tmp_path, "configure", name), names))
    assert [one.status for one in done] == [0] * 10
    assert (tmp_path / "config.toml").read_bytes().count(b" begin (") == 10
    with open(tmp_path / "config.toml", "ab") as file:
        file.write(b"# mine\n")
    told = runtime(tmp_path, "unconfigure")
    assert "has changed since; only our keys are removed" in told.err
    assert (tmp_path / "config.toml").read_bytes() == FILE + b"# mine\n"


@pytest.mark.parametrize("engine", ["containerd", "crio"])
def test_a_broken_file_is_told_with_its_line_and_a_caret(tmp_path: Path, engine: str) -> None:
    (tmp_path / "config.toml").write_bytes(b"version = 2\n[a\n")
    done = runtime(tmp_path, "configure", engine=engine)
    assert done.status == 1
    told, line, caret = done.err.splitlines()
    assert told.startswith(f"gpubind: {tmp_path}/config.toml:2:3: Expected ']' at the end")
    assert (line.strip(), caret.strip()) == ("[a", "^")
    assert (tmp_path / "config.toml").read_bytes() == b"version = 2\n[a\n"


@pytest.mark.parametrize("engine", ["containerd", "crio"])
def test_a_fifo_is_refused_at_once(tmp_path: Path, engine: str) -> None:
    os.mkfifo(tmp_path / "config.toml")
    done = runtime(tmp_path, "configure", engine=engine)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert f"{tmp_path}/config.toml" in done.err


def test_an_unknown_layout_is_bad_usage(tmp_path: Path) -> None:
    done = runtime(tmp_path, "configure", "--layout=k4s")
    assert (done.status, done.err.endswith("[USE-LAYOUT]\n")) == (2, True)


def test_crio_s_file_itself_is_given_back(tmp_path: Path) -> None:
    text = cases("crio")["packaged-1-30-crun"]
    (tmp_path / "config.toml").write_bytes(text)
    words = ("--drop-in-config=", "--set-as-default")
    assert runtime(tmp_path, "configure", *words, engine="crio").status == 0
    assert b'default_runtime = "nvidia"' in (tmp_path / "config.toml").read_bytes()
    assert runtime(tmp_path, "unconfigure", "--drop-in-config=", engine="crio").status == 0
    assert (tmp_path / "config.toml").read_bytes() == text
