# SPDX-License-Identifier: Apache-2.0
"""`gpubind runtime configure` by the field's words: every option by each of its names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trees
from command_line import gpubind
from engine_runs import BARE, configure

from gpubind_ctl.engine import ocihook

if TYPE_CHECKING:
    from pathlib import Path

HOOK = {
    "version": "1.0.0",
    "hook": {
        "path": "/usr/bin/gpubind-runtime-hook",
        "args": ["gpubind-runtime-hook", "prestart"],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
    },
    "when": {"always": True, "commands": [".*"]},
    "stages": ["prestart"],
}


def made(place: Path, *words: str) -> Any:
    trees.build(place, {"/daemon.json": "{}"})
    outcome = configure(place, *words)
    assert outcome.status in (0, 3), outcome.err
    return json.loads((place / "daemon.json").read_bytes())


@pytest.mark.parametrize("word", ["--nvidia-set-as-default", "--set-as-default"])
@pytest.mark.parametrize("value", ["", "=true", "=1"])
def test_the_default_runtime_by_each_name(tmp_path: Path, word: str, value: str) -> None:
    assert made(tmp_path, word + value)["default-runtime"] == "nvidia"


@pytest.mark.parametrize("word", ["--set-as-default=false", "--no-set-as-default"])
def test_no_default_runtime_by_each_name(tmp_path: Path, word: str) -> None:
    assert "default-runtime" not in made(tmp_path, word)


@pytest.mark.parametrize("word", ["--nvidia-runtime-path", "--runtime-path"])
def test_the_program_by_each_name(tmp_path: Path, word: str) -> None:
    assert made(tmp_path, word, "/opt/x")["runtimes"] == {"nvidia": {"args": [], "path": "/opt/x"}}


def test_another_name_and_a_program_on_the_path(tmp_path: Path) -> None:
    words = ("--nvidia-runtime-name=gpu", "--nvidia-runtime-path=nvidia-container-runtime")
    assert list(made(tmp_path, *words)["runtimes"]["gpu"].values()) == [
        [],
        "nvidia-container-runtime",
    ]


@pytest.mark.parametrize("word", ["--cdi.enabled", "--cdi.enable", "--enable-cdi"])
def test_cdi_by_each_name(tmp_path: Path, word: str) -> None:
    outcome = configure(tmp_path, word, "--dry-run")
    assert outcome.status in (0, 3), outcome.err  # 3 where this machine's docker has no CDI


def test_words_that_mean_nothing_to_docker_are_taken(tmp_path: Path) -> None:
    words = ("--drop-in-config=", "--config-source=command", "--executable-path=/x")
    assert made(tmp_path, *words, "--config-mode=config")["runtimes"]


def test_a_drop_in_of_the_field_s_word_is_the_engine_s_own(tmp_path: Path) -> None:
    assert made(tmp_path, "--drop-in-config=RUNTIME_SPECIFIC_DEFAULT")["runtimes"]


@pytest.mark.parametrize("mode", ["oci-hook", "hook"])
@pytest.mark.parametrize("engine", ["podman", "crio", "docker"])
def test_a_hook_file_is_printed(mode: str, engine: str) -> None:
    outcome = gpubind("runtime", "configure", f"--runtime={engine}", f"--config-mode={mode}")
    assert (outcome.status, json.loads(outcome.out)) == (0, HOOK)
    assert outcome.out.startswith('{\n  "version"')
    assert outcome.out.endswith("}\n")


def hook(place: Path, verb: str, *words: str) -> tuple[int, str]:
    given = (f"--oci-hook-path={place}/hooks.d/x.json", f"--state-dir={place}/state")
    mode = ("--config-mode=oci-hook",) if verb == "configure" else ()
    outcome = gpubind("runtime", verb, "--runtime=podman", *given, *mode, *words)
    return outcome.status, outcome.err


def test_a_hook_file_is_written_kept_and_given_back(tmp_path: Path) -> None:
    file = tmp_path / "hooks.d/x.json"
    status, told = hook(tmp_path, "configure", "--nvidia-runtime-hook-path=/opt/own-hook")
    assert (status, "hooks_dir names it" in told) == (0, True)
    assert json.loads(file.read_bytes())["hook"]["path"] == "/opt/own-hook"
    again = hook(tmp_path, "configure", "--nvidia-runtime-hook-path=/opt/own-hook")
    assert "nothing is changed" in again[1]
    assert hook(tmp_path, "configure")[0] == 0
    assert json.loads(file.read_bytes()) == HOOK
    assert hook(tmp_path, "unconfigure")[0] == 0
    assert not file.exists()


def test_the_peer_s_hook_file_comes_back(tmp_path: Path) -> None:
    peers = ocihook.document("/usr/bin/nvidia-container-runtime-hook")
    trees.build(tmp_path, {"/hooks.d/x.json": peers})
    assert hook(tmp_path, "configure")[0] == 0
    assert hook(tmp_path, "unconfigure")[0] == 0
    assert (tmp_path / "hooks.d/x.json").read_bytes() == peers


def test_the_peer_s_hook_file_goes_without_a_journal(tmp_path: Path) -> None:
    peers = ocihook.document("/usr/bin/nvidia-container-runtime-hook")
    trees.build(tmp_path, {"/hooks.d/x.json": peers})
    assert hook(tmp_path, "unconfigure")[0] == 0
    assert not (tmp_path / "hooks.d/x.json").exists()


@pytest.mark.parametrize("text", ['{"hook": {"path": "/usr/bin/other"}}', "{", "[]", ""])
def test_somebody_else_s_hook_file_is_refused(tmp_path: Path, text: str) -> None:
    trees.build(tmp_path, {"/hooks.d/x.json": text})
    status, told = hook(tmp_path, "configure")
    assert (status, "starts another hook" in told) == (1, True)
    assert (tmp_path / "hooks.d/x.json").read_text() == text


def test_a_relative_hook_is_bad_usage(tmp_path: Path) -> None:
    status, told = hook(tmp_path, "configure", "--nvidia-runtime-hook-path=hook")
    assert (status, "must be absolute paths" in told) == (2, True)


def test_messages_are_those_of_the_field(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": BARE})
    lines = configure(tmp_path).err.splitlines()
    file = f"{tmp_path}/daemon.json"
    assert lines[0].startswith(f"gpubind: Loading config from {file}")
    assert f"gpubind: Wrote updated config to {file}" in lines
    assert "gpubind: It is recommended that docker daemon be restarted." in lines
