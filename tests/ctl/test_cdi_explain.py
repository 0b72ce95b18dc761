# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi explain`: who gives a device, who was ignored and why, and what engines see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from command_line import Outcome, gpubind

if TYPE_CHECKING:
    from pathlib import Path

PATH = {"PATH": "/nonexistent"}  # no engines


def spec(path: Path, *names: str, version: str = "0.5.0", **common: Any) -> Path:
    document = {
        "cdiVersion": version,
        "kind": "nvidia.com/gpu",
        "devices": [{"name": name, "containerEdits": {"env": [f"N={name}"]}} for name in names],
        "containerEdits": common,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def explain(name: str, *words: object, env: dict[str, str] = PATH) -> Outcome:
    return gpubind("cdi", "explain", name, *(str(word) for word in words), env=env)


def told(name: str, *words: object) -> dict[str, Any]:
    outcome = explain(name, "--json", *words)
    facts: dict[str, Any] = json.loads(outcome.out)
    assert outcome.err == ""
    return {**facts, "status": outcome.status}


def folders(tmp_path: Path) -> list[str]:
    return [f"--spec-dir={tmp_path}/etc", f"--spec-dir={tmp_path}/run"]


def test_the_file_and_the_edits_of_a_device_are_told(tmp_path: Path) -> None:
    mount = {"hostPath": "/a", "containerPath": "/b"}
    node = {"path": "/dev/x", "type": "c", "major": 1, "minor": 3}
    hook = {"hookName": "createContainer", "path": "/h", "args": ["h", "x"], "env": ["A=1"]}
    file = spec(tmp_path / "etc/x.json", "0", mounts=[mount], deviceNodes=[node], hooks=[hook])
    outcome = explain("nvidia.com/gpu=0", *folders(tmp_path))
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        f"nvidia.com/gpu=0: given by {file}, CDI 0.5.0",
        f"  ignored   {tmp_path}/run: there is no such folder",
        "  deviceNodes: /dev/x 1:3 (host: /dev/x)",
        "  hooks: createContainer /h x",
        "  mounts: /b (host: /a)",
        "  env: N=0",
    ]


def test_a_bare_name_is_of_the_configured_kind(tmp_path: Path) -> None:
    spec(tmp_path / "etc/x.json", "0")
    assert told("0", *folders(tmp_path))["name"] == "nvidia.com/gpu=0"


def test_all_that_was_ignored_is_told_with_the_reason(tmp_path: Path) -> None:
    hidden = spec(tmp_path / "etc/hidden.json", "0")
    file = spec(tmp_path / "run/x.json", "0")
    (tmp_path / "run/bad.yaml").write_text("kind: [")
    (tmp_path / "run/note.txt").touch()
    (tmp_path / "run/sub").mkdir()
    spec(tmp_path / "run/open.json", "0").chmod(0o666)
    facts = told("0", *folders(tmp_path))
    assert (facts["status"], facts["file"]) == (0, str(file))
    ignored = {one["file"]: one["why"] for one in facts["ignored"]}
    assert ignored.pop(f"{tmp_path}/run/bad.yaml").startswith("not YAML: ")
    assert ignored == {
        str(hidden): "hidden by a folder that comes later",
        f"{tmp_path}/run/note.txt": "not named *.json or *.yaml",
        f"{tmp_path}/run/sub": "a folder: what is inside is not read",
        f"{tmp_path}/run/open.json": "refused: others may write to it (mode 0666), run chmod go-w",
    }


def test_a_device_in_conflict_is_given_by_none(tmp_path: Path) -> None:
    files = [str(spec(tmp_path / f"run/{name}.json", "0", name)) for name in "ab"]
    facts = told("0", *folders(tmp_path))
    why = {one["file"]: one["why"] for one in facts["ignored"] if one["file"] in files}
    assert (facts["status"], facts["file"], facts["edits"]) == (1, None, None)
    assert why == dict.fromkeys(files, "in conflict: another file gives it too")


def test_similar_names_are_told_where_there_is_none(tmp_path: Path) -> None:
    spec(tmp_path / "run/x.json", "0", "gpu-with-a-name", "all")
    outcome = explain("gpu-with-name", *folders(tmp_path))
    assert outcome.status == 1
    assert outcome.out.startswith(
        "nvidia.com/gpu=gpu-with-name: no file gives it; similar: nvidia.com/gpu=gpu-with-a-name"
    )


def seen(name: str, engine: str, *words: object) -> tuple[int, str, str]:
    facts = told(name, "--engine", engine, *words)
    (one,) = facts["engines"]
    return facts["status"], one["file"] or "", one["why"]


def test_an_engine_ignores_a_spec_that_is_too_new_and_takes_the_one_behind_it(
    tmp_path: Path,
) -> None:
    old = spec(tmp_path / "etc/old.json", "0")
    new = spec(tmp_path / "run/new.json", "0", "1", version="1.0.0")
    places = folders(tmp_path)
    assert seen("0", "podman@4.3.1", *places) == (0, str(old), "")
    assert seen("1", "podman@4.3.1", *places) == (
        1,
        "",
        f"{new} is CDI 1.0.0, it reads 0.5.0 at most",
    )
    assert told("0", *places)["file"] == str(new)


def test_an_engine_without_cdi_finds_nothing(tmp_path: Path) -> None:
    spec(tmp_path / "etc/x.json", "0")
    found = seen("0", "podman@3.4", *folders(tmp_path))
    assert found == (1, "", "it reads no CDI specs")


def test_an_engine_looks_where_it_is_told_to_not_where_we_do(tmp_path: Path) -> None:
    file = spec(tmp_path / "cdi/x.json", "0")
    (tmp_path / "config.toml").write_text(
        f'[nvidia-container-runtime.modes.cdi]\nspec-dirs = ["{tmp_path}/cdi"]\n'
    )
    facts = told("0", "--engine", "podman@4.3", "--config", tmp_path / "config.toml")
    assert (facts["file"], facts["status"]) == (str(file), 1)
    assert facts["engines"][0]["why"] == "no file it reads gives it"


def test_the_engines_that_are_installed_are_told(tmp_path: Path) -> None:
    spec(tmp_path / "etc/x.json", "0")
    podman = tmp_path / "bin/podman"
    podman.parent.mkdir()
    podman.write_text("#!/bin/sh\necho podman version 4.3.1\n")
    podman.chmod(0o755)
    outcome = explain("0", *folders(tmp_path), env={"PATH": str(podman.parent)})
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("  engine")]
    assert line == (
        f"  engine    podman 4.3.1, CDI up to 0.5.0 (measured), {tmp_path}/etc, {tmp_path}/run: "
        f"finds it in {tmp_path}/etc/x.json"
    )


@pytest.mark.parametrize("engine", ["lxd", "podman@x", "podman@4", "@4.3"])
def test_an_engine_or_release_that_is_none_is_bad_usage(engine: str) -> None:
    outcome = explain("0", "--engine", engine)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.endswith("[USE-ENGINE]\n")
