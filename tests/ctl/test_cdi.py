# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi list`, `validate`, `transform root` and `compile`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from command_line import gpubind

from gpubind import registry as known

if TYPE_CHECKING:
    from pathlib import Path

NODE = {"path": "/dev/null"}


def written(path: Path, *, devices: tuple[str, ...] = ("a",), **more: Any) -> Path:
    """Write a small valid spec."""
    document = {
        "cdiVersion": "0.5.0",
        "kind": "example.com/thing",
        "devices": [{"name": name, "containerEdits": {"deviceNodes": [NODE]}} for name in devices],
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def test_the_devices_of_all_folders_are_listed_sorted(tmp_path: Path) -> None:
    written(tmp_path / "etc/b.json", devices=("b", "10", "2"))
    written(tmp_path / "run/a.json", devices=("a",))
    words = ("--spec-dir", tmp_path / "etc", "--spec-dir", tmp_path / "run")
    outcome = gpubind("cdi", "list", *words, "--state-dir", tmp_path)
    assert (outcome.status, outcome.err) == (0, "gpubind: Found 4 CDI devices\n")
    assert outcome.out.split() == [f"example.com/thing={name}" for name in ("10", "2", "a", "b")]


def test_the_table_says_version_edits_and_file_of_each_device(tmp_path: Path) -> None:
    file = written(tmp_path / "a.json", devices=("a", "bb"))
    outcome = gpubind("cdi", "list", "--table", "--spec-dir", tmp_path)
    assert outcome.out.splitlines() == [
        "DEVICE                CDI    EDITS   FILE",
        f"example.com/thing=a   0.5.0  1 node  {file}",
        f"example.com/thing=bb  0.5.0  1 node  {file}",
    ]


def test_the_list_comes_as_json_with_conflicts_and_errors(tmp_path: Path) -> None:
    files = [str(written(tmp_path / f"{name}.json", devices=("same", name))) for name in "ab"]
    (tmp_path / "bad.json").write_text("{}")
    outcome = gpubind("cdi", "list", "--json", "--spec-dir", tmp_path)
    told = json.loads(outcome.out)
    assert told["devices"][0] == {
        "name": "example.com/thing=a",
        "cdiVersion": "0.5.0",
        "file": files[0],
        "edits": {"deviceNodes": 1},
    }
    assert told["conflicts"] == {"example.com/thing=same": files}
    assert [error["path"] for error in told["errors"]] == [f"{tmp_path}/bad.json"]
    assert (outcome.status, outcome.err) == (0, "")


def test_the_fields_variable_names_the_folders(tmp_path: Path) -> None:
    written(tmp_path / "a folder/a.json")
    written(tmp_path / "b/b.json", devices=("b",))
    env = {"NVIDIA_CTK_CDI_SPEC_DIRS": f"{tmp_path}/a folder,{tmp_path}/b"}
    assert len(gpubind("cdi", "list", env=env).out.split()) == 2


def test_the_configured_folders_are_the_default(tmp_path: Path) -> None:
    written(tmp_path / "cdi/a.json")
    (tmp_path / "config.toml").write_text(
        f'[nvidia-container-runtime.modes.cdi]\nspec-dirs = ["{tmp_path}/cdi"]\n'
    )
    outcome = gpubind("cdi", "list", "--config", tmp_path / "config.toml")
    assert outcome.out == "example.com/thing=a\n"


def test_a_bad_spec_and_a_conflict_are_told_and_the_rest_is_listed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path / f"{name}.json", devices=("same", name))
    (tmp_path / "bad.yaml").write_text("kind: [")
    outcome = gpubind("cdi", "list", "--spec-dir", tmp_path)
    assert outcome.status == 0
    assert outcome.out.split() == ["example.com/thing=a", "example.com/thing=b"]
    _, first, second = outcome.err.splitlines()
    assert first.startswith(f"gpubind: {tmp_path}/bad.yaml: not YAML: ")
    assert second == (
        f"gpubind: example.com/thing=same is in {tmp_path}/a.json and in {tmp_path}/b.json: "
        "unusable until one of them goes"
    )


def test_no_folder_means_no_devices(tmp_path: Path) -> None:
    outcome = gpubind("cdi", "list", "--spec-dir", tmp_path / "none")
    found = "gpubind: Found 0 CDI devices\n"
    assert (outcome.status, outcome.out, outcome.err) == (0, "", found)


def test_a_broken_config_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[nvidia-container-runtime\n")
    outcome = gpubind("cdi", "list", "--config", tmp_path / "config.toml")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert outcome.err.startswith(f"gpubind: {tmp_path}/config.toml: ")


def test_a_valid_spec_is_said_in_one_line(tmp_path: Path) -> None:
    file = written(tmp_path / "a.json")
    outcome = gpubind("cdi", "validate", file)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == f"{file}: valid, CDI 0.5.0, example.com/thing, 1 devices\n"


def test_standard_input_can_be_validated(tmp_path: Path) -> None:
    text = written(tmp_path / "a.json").read_text()
    assert gpubind("cdi", "validate", "-", stdin=text).out.startswith("-: valid, ")


def test_every_fault_of_every_file_is_told(tmp_path: Path) -> None:
    good = written(tmp_path / "good.json")
    names = written(tmp_path / "names.json", devices=("a", "a", "-b"), kind="1/x")
    structure = tmp_path / "structure.yaml"
    structure.write_text("cdiVersion: 0.5.0\nkind: a/b\ndevices: 3\n")
    outcome = gpubind("cdi", "validate", names, good, structure)
    assert outcome.status == 1
    assert outcome.out.startswith(f"{good}: valid, ")
    assert [line.count(f"{names}:1: ") for line in outcome.err.splitlines()[:3]] == [1, 1, 1]
    assert " at kind (rule kind) [DOC-INVALID]\n" in outcome.err
    assert " at devices[1].name (rule device-name) [DOC-INVALID]\n" in outcome.err
    assert " at devices[2].name (rule device-name) [DOC-INVALID]\n" in outcome.err
    assert f"gpubind: {structure}:3: " in outcome.err


def test_structure_and_rules_are_told_together(tmp_path: Path) -> None:
    outcome = gpubind("cdi", "validate", written(tmp_path / "x.json", devices=("a", "a"), hooks=[]))
    assert [line.partition(" at ")[2][:16] for line in outcome.err.splitlines()] == [
        "",
        "devices[1].name ",
    ]


@pytest.mark.parametrize(
    "text", ["", "---\n", "{", "[]", "a: &a [*a]\n", "\0", "kind: a/b\nkind: a/b\n"]
)
def test_what_is_no_spec_is_an_error_without_traceback(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    outcome = gpubind("cdi", "validate", tmp_path / "x.yaml")
    assert (outcome.status, outcome.out, outcome.err.count("Traceback")) == (1, "", 0)
    assert outcome.err.startswith(f"gpubind: {tmp_path}/x.yaml:")


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    outcome = gpubind("cdi", "validate", tmp_path / "x.yaml")
    assert outcome.err == (f"gpubind: {tmp_path}/x.yaml: not a regular file [SYS-REFUSED]\n")


def test_a_file_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    outcome = gpubind("cdi", "validate", tmp_path / "none", written(tmp_path / "a.json"))
    assert (outcome.status, outcome.out.startswith(f"{tmp_path}/a.json: valid, ")) == (1, True)


def test_faults_and_warnings_come_as_json_too(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "cdiVersion: 0.5.0\nkind: aa/bb\ndevices:\n- name: on\n"
        "  containerEdits:\n    env:\n    - A=1\n"
    )
    bad = written(tmp_path / "bad.json", devices=("-",))
    outcome = gpubind("cdi", "validate", "--json", tmp_path / "x.yaml", bad)
    first, second = json.loads(outcome.out)["files"]
    (warning,), (fault,) = first["warnings"], second["faults"]
    assert (outcome.status, outcome.err) == (1, "")
    assert (first["valid"], second["valid"]) == (True, False)
    assert (warning["line"], warning["path"], warning["rule"]) == (
        4,
        "devices[0].name",
        "device-name",
    )
    assert (fault["line"], fault["rule"], fault["id"]) == (1, "device-name", "DOC-INVALID")


def test_warnings_alone_are_status_3(tmp_path: Path) -> None:
    hook = {"hookName": "createContainer", "path": "/x"}
    file = written(tmp_path / "a.json", containerEdits={"hooks": [hook]})
    outcome = gpubind("cdi", "validate", file)
    assert (outcome.status, outcome.out.startswith(f"{file}: valid")) == (3, True)
    assert outcome.err == (
        f"gpubind: warning: {file}:1: the hook has no env: it would run with the container's own "
        "environment at containerEdits.hooks[0].env (rule env) [DOC-INVALID]\n"
    )


def test_paths_move_to_another_root(tmp_path: Path) -> None:
    mounts = [{"hostPath": f"/driver{rest}", "containerPath": rest} for rest in ("/x", "-old/y")]
    mounts[1] = {"hostPath": "/driver-old/y", "containerPath": "/y"}
    file = written(tmp_path / "a.json", containerEdits={"mounts": mounts})
    words = ("cdi", "transform", "root", "--from", "/driver", "--to", "/host/driver")
    outcome = gpubind(*words, "--input", file)
    changed = json.loads(outcome.out)["containerEdits"]["mounts"]
    assert (outcome.status, outcome.err) == (0, "")
    assert [mount["hostPath"] for mount in changed] == ["/host/driver/x", "/driver-old/y"]
    assert gpubind(*words, stdin=file.read_text()).out == outcome.out


def test_paths_in_the_container_move_when_asked(tmp_path: Path) -> None:
    mounts = [{"hostPath": "/a/x", "containerPath": "/a/x"}]
    file = written(tmp_path / "a.json", containerEdits={"mounts": mounts})
    words = ("--from", "/a", "--to", "/", "--relative-to", "container", "--input", file)
    outcome = gpubind("cdi", "transform", "root", *words, "--output", tmp_path / "b.yaml")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    text = (tmp_path / "b.yaml").read_text()
    assert ("hostPath: /a/x" in text, "containerPath: /x" in text) == (True, True)


def test_a_generated_spec_comes_back_byte_for_byte(t4: Path) -> None:
    words = ("cdi", "generate", "--driver-root", t4, "--format")
    for form in ("yaml", "json"):
        for side in ("host", "container"):
            first = gpubind(*words, form).out
            from_ = str(t4) if side == "host" else "/usr/lib"
            there = ("--from", f"{from_}/", "--to", "/run/nvidia/driver")
            back = ("--from", "/run/nvidia/driver", "--to", from_)
            move = ("cdi", "transform", "root", "--relative-to", side)
            moved = gpubind(*move, *there, stdin=first).out
            assert "/run/nvidia/driver/" in moved
            assert gpubind(*move, *back, stdin=moved).out == first


def test_an_empty_root_is_the_whole_host(tmp_path: Path) -> None:
    file = written(tmp_path / "a.json")
    words = ("--from", "", "--to", "/host", "--input", file)
    outcome = gpubind("cdi", "transform", "root", *words)
    node = json.loads(outcome.out)["devices"][0]["containerEdits"]["deviceNodes"][0]
    assert node == {"path": "/dev/null", "hostPath": "/host/dev/null"}


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["--from", "/a"], 2, "Missing option '--to'"),
        (["--from", "/a", "--to", "/b", "--relative-to", "x"], 2, "--relative-to 'x' is nothing"),
        (["--from", "/a", "--to", "/b"], 1, "-: the file is empty [DOC-INVALID]"),
        (["--from", "a", "--to", "/b"], 2, "--from a is not an absolute path"),
        (["--from", "/a", "--to", "../b"], 2, "--to ../b is not an absolute path"),
        (["--from", "/a", "--to", "/b", "--input", "/nowhere"], 1, "/nowhere: No such file"),
    ],
)
def test_a_wrong_transformation_is_one_line(words: list[str], status: int, complaint: str) -> None:
    outcome = gpubind("cdi", "transform", "root", *words)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (status, "", 1)
    assert outcome.err.startswith(f"gpubind: {complaint}")


def test_specs_and_settings_are_compiled_for_container_starts(tmp_path: Path) -> None:
    file, state, toml = written(tmp_path / "cdi/a.json"), tmp_path / "state", tmp_path / "c.toml"
    toml.write_text('[nvidia-container-runtime]\nruntimes = ["crun"]\n')
    words = ("--spec-dir", tmp_path / "cdi", "--state-dir", state, "--config", toml)
    outcome = gpubind("cdi", "compile", *words)
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    registry = json.loads((state / "compiled.json").read_bytes())
    assert registry["devices"] == {"example.com/thing=a": 0}
    assert registry["config"] == {"nvidia-container-runtime.runtimes": ["crun"]}
    assert {str(file), str(toml), str(tmp_path / "cdi")} <= registry["stamps"].keys()
    assert json.loads((state / "config.json").read_bytes())["values"] == registry["config"]


def test_an_unknown_key_that_json_cannot_hold_spoils_no_start(tmp_path: Path) -> None:
    written(tmp_path / "cdi/a.json")
    (tmp_path / "c.toml").write_text("mine = nan\n[[yours]]\nlimit = inf\n")
    state, folder = str(tmp_path / "state"), str(tmp_path / "cdi")
    words = ("--spec-dir", folder, "--state-dir", state, "--config", tmp_path / "c.toml")
    assert gpubind("cdi", "compile", *words).status == 0
    assert known.current([folder], state) is not None


def test_a_bad_spec_is_told_and_stops_no_compilation(tmp_path: Path) -> None:
    written(tmp_path / "cdi/a.json")
    (tmp_path / "cdi/b.json").write_text("{}")
    words = ("--spec-dir", tmp_path / "cdi", "--state-dir", tmp_path / "state")
    outcome = gpubind("cdi", "compile", *words)
    assert (outcome.status, outcome.err.count("\n")) == (0, 1)
    assert outcome.err.startswith(f"gpubind: {tmp_path}/cdi/b.json: ")
    assert (tmp_path / "state/compiled.json").is_file()


def test_a_state_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = gpubind("cdi", "compile", "--state-dir", tmp_path / "file/state")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert outcome.err.endswith("[SYS-REFUSED]\n")
