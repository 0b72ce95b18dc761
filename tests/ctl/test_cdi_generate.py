# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi generate`: its options and variables, what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import stat
from typing import TYPE_CHECKING, Any

import pytest
from command_line import Outcome, gpubind

if TYPE_CHECKING:
    from pathlib import Path

GENERATE = ("cdi", "generate", "--driver-root")
GPU = "GPU-944e5970-9aa1-5498-a7e2-fc77ad7ca800"


def generate(root: Path, *words: str | os.PathLike[str], **more: Any) -> Outcome:
    env = {"PATH": "/nonexistent", **more.pop("env", {})}  # no engine says a version
    return gpubind(*GENERATE, root, *words, env=env, **more)


def spec(outcome: Outcome) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(outcome.out)
    return loaded


def names(outcome: Outcome) -> list[str]:
    return [device["name"] for device in spec(outcome)["devices"]]


def test_the_spec_goes_to_standard_output(t4: Path) -> None:
    outcome = generate(t4)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("---\ncdiVersion: 0.5.0\nkind: nvidia.com/gpu\n")
    assert generate(t4, "--output", "-").out == outcome.out


def test_what_is_generated_is_valid_in_both_formats(t4: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.yaml", tmp_path / "b.json"]
    for file in files:
        assert generate(t4, "--output", file, "--state-dir", tmp_path / "state").status == 0
    outcome = gpubind("cdi", "validate", *files)
    assert (outcome.status, outcome.out.count(": valid, CDI 0.5.0, nvidia.com/gpu")) == (0, 2)


def test_a_file_is_for_everybody_to_read_and_its_sidecar_lies_in_the_state(
    t4: Path, tmp_path: Path
) -> None:
    file, state = tmp_path / "new/etc/nvidia.yaml", tmp_path / "state"
    shell = ("/bin/sh", "-c", 'umask 077; exec "$@"', "sh")
    outcome = generate(t4, "--output", file, "--state-dir", state, before=shell)
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err == f"gpubind: {file}: CDI 0.5.0, 3 devices of nvidia.com/gpu\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert os.listdir(file.parent) == ["nvidia.yaml"]
    (sidecar,) = (state / "sidecars").iterdir()
    facts = json.loads(sidecar.read_bytes())
    assert facts["driver"] == {"version": "535.183.01", "root": str(t4), "cuda": "12.2"}
    assert facts["spec"] == str(file)


def test_a_name_engines_do_not_read_gets_an_ending(t4: Path, tmp_path: Path) -> None:
    words = ("--output", tmp_path / "nvidia", "--state-dir", tmp_path, "--format", "json")
    assert generate(t4, *words).status == 0
    assert json.loads((tmp_path / "nvidia.json").read_bytes())["kind"] == "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], ["0", GPU, "all"]),
        (["--device-name-strategy", "type-index"], ["all", "gpu0"]),
        (["--device-name-strategy", ",uuid,, index,", "--no-all-device"], ["0", GPU]),
        (["--device-id", "0"], ["0", GPU, "all"]),
        (["--device-id", "none"], ["none"]),
    ],
)
def test_devices_and_their_names_are_chosen(t4: Path, words: list[str], wanted: list[str]) -> None:
    assert names(generate(t4, "--format", "json", *words)) == wanted


def test_mig_devices_are_named_below_their_gpu(a100: Path) -> None:
    words = ("--device-name-strategy", "index", "--device-id", "0:6,1:3,3", "--no-all-device")
    assert names(generate(a100, "--format", "json", *words)) == ["0:6", "1:3", "3"]


@pytest.mark.parametrize(
    ("variable", "value", "key", "wanted"),
    [
        ("NVIDIA_CTK_CDI_GENERATE_VENDOR", "example.com", "kind", "example.com/gpu"),
        ("NVIDIA_CTK_CDI_GENERATE_CLASS", "card", "kind", "nvidia.com/card"),
        ("NVIDIA_CTK_CDI_GENERATE_DEVICE_IDS", "none", "devices", ["none"]),
        ("NVIDIA_CTK_CDI_GENERATE_DEVICE_NAME_STRATEGIES", "uuid,index", "devices", ["0", GPU]),
        ("NVIDIA_CTK_CDI_GENERATE_DEVICE_IDS", "", "devices", ["0", GPU]),
    ],
)
def test_the_fields_variables_count(
    t4: Path, variable: str, value: str, key: str, wanted: object
) -> None:
    env = {
        variable: value,
        "NVIDIA_CTK_CDI_GENERATE_OUTPUT_FORMAT": "json",
        "NVIDIA_CTK_CDI_GENERATE_NO_ALL_DEVICE": "true",
        "NVIDIA_CTK_DRIVER_ROOT": str(t4),
    }
    outcome = gpubind("cdi", "generate", env=env)
    assert (names(outcome) if key == "devices" else spec(outcome)[key]) == wanted


def test_an_option_wins_over_its_variable(t4: Path) -> None:
    env = {"NVIDIA_CTK_DRIVER_ROOT": "/nowhere", "NVIDIA_CTK_CDI_GENERATE_VENDOR": "a.b"}
    outcome = generate(t4, "--format", "json", "--vendor", "c.d", env=env)
    assert spec(outcome)["kind"] == "c.d/gpu"


def test_hooks_name_the_program_given_and_can_be_left_out(t4: Path) -> None:
    path = ("--nvidia-cdi-hook-path", "/opt/x/gpubind-cdi-hook")
    hook = spec(generate(t4, "--format", "json", *path))["containerEdits"]["hooks"][0]
    assert (hook["path"], hook["args"][0]) == (path[1], "gpubind-cdi-hook")
    without = spec(generate(t4, "--format", "json", "--disable-hook", "all"))
    assert "hooks" not in without["containerEdits"]
    kept = spec(
        generate(t4, "--format", "json", "--disable-hook", "all", "--enable-hook", "update-ldcache")
    )
    args = kept["containerEdits"]["hooks"][0]["args"]
    assert ("update-ldcache" in args, "create-symlinks" in args) == (True, False)


@pytest.mark.root
def test_groups_are_there_only_where_every_engine_reads_them(t4: Path) -> None:
    def groups(*words: str) -> object:
        devices = spec(generate(t4, "--format", "json", *words))["devices"]
        return devices[0]["containerEdits"].get("additionalGids")

    flag = ("--feature-flag", "no-additional-gids-for-device-nodes")
    assert groups() is None
    assert groups("--cdi-version-max", "0.6.0") is None
    assert groups("--cdi-version-max", "0.7.0") == [44, 105]
    assert groups("--cdi-version-max", "0.7.0", *flag) is None


def test_sockets_can_be_left_out(t4: Path) -> None:
    flag = ("--feature-flags", "disable-ipc-discoverer,disable-nvsandboxutils")
    socket = "/run/nvidia-persistenced/socket"
    assert (socket in generate(t4).out, socket in generate(t4, *flag).out) == (True, False)


def damaged(node: Path, target: Path) -> Path:
    shutil.copytree(node, target, symlinks=True, copy_function=copy)
    return target


def copy(source: str, target: str) -> None:
    """Copy a file or a device node."""
    status = os.lstat(source)
    if stat.S_ISREG(status.st_mode):
        shutil.copy2(source, target)
    else:
        os.mknod(target, status.st_mode, status.st_rdev)


def test_a_lost_gpu_leaves_the_others_and_status_3(a100: Path, tmp_path: Path) -> None:
    root = damaged(a100, tmp_path / "node")
    (root / "dev/nvidia1").unlink()  # index 3
    outcome = generate(root, "--format", "json", "--device-name-strategy", "index")
    assert outcome.status == 3
    assert "3" not in names(outcome)
    assert {"4", "5", "6", "7", "0:0"} <= set(names(outcome))
    assert outcome.err.startswith("gpubind: missing: GPU 3 (GPU-ad5f5bdc-6bbf-5b81-b791-")


def test_a_node_without_device_nodes_says_why(t4: Path, tmp_path: Path) -> None:
    root = damaged(t4, tmp_path / "node")
    shutil.rmtree(root / "dev")
    bare = generate(root)
    (root / "dev").mkdir()
    (root / "dev/gpubind-note").write_text("device nodes are absent: for a reason\n")
    noted = generate(root)
    assert (bare.status, noted.status) == (1, 1)
    assert (bare.err.count("\n"), noted.err.count("\n")) == (1, 1)
    assert noted.err.endswith("; device nodes are absent: for a reason [DRV-NO-GPU]\n")
    assert "(device nodes are absent: for a" in gpubind("info", "--driver-root", root).out


def test_strict_writes_nothing_where_something_is_missing(a100: Path, tmp_path: Path) -> None:
    root, file = damaged(a100, tmp_path / "node"), tmp_path / "cdi/nvidia.yaml"
    (root / "dev/nvidia1").unlink()
    words = ("--strict", "--output", file, "--state-dir", tmp_path / "state")
    outcome = generate(root, *words)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("gpubind: nothing written: GPU 3 ")
    assert outcome.err.endswith("[GEN-INCOMPLETE]\n")
    assert sorted(os.listdir(tmp_path)) == ["node"]


def test_a_failed_generation_leaves_the_earlier_spec(t4: Path, tmp_path: Path) -> None:
    file = tmp_path / "nvidia.yaml"
    file.write_text("the earlier one")
    (tmp_path / "empty").mkdir()
    assert generate(tmp_path / "empty", "--output", file).status == 1
    assert generate(t4, "--output", file, "--vendor", "0").status == 2
    assert file.read_text() == "the earlier one"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--mode", "bogus"], "no discovery mode 'bogus'; use one of auto, nvml, "),
        (["--format", "xml"], "no format 'xml'; use yaml or json [USE-FORMAT]"),
        (["--output", "x.json", "--format", "yaml"], "x.json does not fit the format yaml; leave"),
        (["--vendor", ".x"], 'vendor ".x" must start with a letter'),
        (["--class", "g pu"], 'class "g pu" must start with a letter'),
        (["--device-name-strategy", "foo"], "unknown device name strategy 'foo'"),
        (["--device-id", "9"], "no device '9'"),
        (["--disable-hook", "nothing"], "no hook 'nothing'"),
        (["--enable-hook", "all"], "not all hooks can be enabled at once"),
        (["--feature-flag", "foo"], "the feature flag 'foo' is none"),
        (["--shape", "round"], "no shape 'round'; use one of hooks, hook-free, nested [USE-SHAPE]"),
        (
            ["--shape", "nested", "--enable-hook", "chmod"],
            "a nested spec has no hook chmod; leave out --enable-hook or --shape [USE-SHAPE]",
        ),
        (["--cdi-version-max", "9"], "no CDI version '9'"),
        (["--cdi-version-max", "0.4.0"], "CDI 0.4.0 is too old: deviceNodes.hostPath needs 0.5.0"),
        (["--nvidia-ctk-path", "bin/x"], "--nvidia-cdi-hook-path bin/x is not an absolute path"),
        (["--ldconfig-path", "ldconfig"], "--ldconfig-path ldconfig is not an absolute path"),
        (["--no-all-device=maybe"], "Option '--no-all-device' does not take a value"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(
    t4: Path, words: list[str], complaint: str
) -> None:
    outcome = generate(t4, *words)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(f"gpubind: {complaint}")


@pytest.mark.parametrize("mode", ["NVML", "Auto"])
def test_modes_are_known_in_any_case(t4: Path, mode: str) -> None:
    assert generate(t4, "--mode", mode).status == 0


def test_a_root_without_a_driver_says_so(tmp_path: Path) -> None:
    outcome = generate(tmp_path)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert outcome.err.startswith(f"gpubind: no NVIDIA driver in {tmp_path}: ")


def test_a_root_that_is_not_there_says_so(tmp_path: Path) -> None:
    outcome = generate(tmp_path / "none")
    assert outcome.err == f"gpubind: {tmp_path}/none: No such file or directory [SYS-REFUSED]\n"


@pytest.mark.parametrize(
    ("inventory", "place"),
    [
        ("", "the file is empty"),
        ("{", "not JSON"),
        ('{"format": 2, "driver": {"version": "1", "cuda": "1"}, "gpus": []}', "at format"),
        ('{"format": 1, "driver": {"version": 1, "cuda": "1"}, "gpus": []}', "at driver.version"),
    ],
)
def test_a_broken_inventory_names_its_place(
    t4: Path, tmp_path: Path, inventory: str, place: str
) -> None:
    root = damaged(t4, tmp_path / "node")
    (root / "gpubind-node.json").write_text(inventory)
    outcome = generate(root)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert outcome.err.startswith(f"gpubind: {root}/gpubind-node.json: ")
    assert place in outcome.err


def test_a_file_that_cannot_be_written_leaves_nothing(t4: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = generate(t4, "--output", tmp_path / "file/nvidia.yaml", "--state-dir", tmp_path)
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert os.listdir(tmp_path) == ["file"]


def test_a_sidecar_that_cannot_be_written_is_status_3(t4: Path, tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    words = ("--output", tmp_path / "nvidia.yaml", "--state-dir", tmp_path / "state")
    outcome = generate(t4, *words)
    assert (outcome.status, outcome.err.count("\n")) == (3, 1)
    assert outcome.err.endswith("[SPEC-NO-SIDECAR]\n")
    assert (tmp_path / "nvidia.yaml").is_file()
