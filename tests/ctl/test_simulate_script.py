# SPDX-License-Identifier: Apache-2.0
"""`gpubind simulate --script`: faults and changes of a simulated node, each at its time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from command_line import PROGRAM, Outcome, gpubind
from gpubind_cdi import listening
from simulated_nodes import node, tree

from gpubind.root import Root
from gpubind_ctl.simulate import profile

if TYPE_CHECKING:
    from pathlib import Path

    from gpubind_cdi.events import Event

needs_nodes = pytest.mark.skipif(os.geteuid() != 0, reason="making device nodes needs root")
KEPT = {"gpubind-node.json", "gpubind-script.json", "gpubind-played.json", "gpubind-looks"}
NEW = "550.163.01"


def laid_out(folder: Path, *acts: dict[str, Any], name: str = "dgx-a100-mig") -> Path:
    """Lay out a node with a script."""
    (folder / "script.json").write_text(json.dumps({"format": 1, "acts": acts}))
    words = ("--profile", name, "--root", folder / "node", "--script", folder / "script.json")
    outcome = gpubind("simulate", *words)
    assert (outcome.status, outcome.err) == (0, "")
    return folder / "node"


def advance(root: Path) -> str:
    outcome = gpubind("simulate", "--root", root, "--advance")
    assert (outcome.status, outcome.err) == (0, "")
    return outcome.out


def generate(root: Path, limit_s: float = 30.0) -> Outcome:
    environment = {"GPUBIND_NVML_TIMEOUT": str(limit_s)}
    return gpubind("cdi", "generate", "--driver-root", root, "--format=json", env=environment)


def indexes(outcome: Outcome) -> list[str]:
    names = [device["name"] for device in json.loads(outcome.out)["devices"]]
    return [name for name in names if not name.startswith(("GPU-", "MIG-", "all"))]


@needs_nodes
@pytest.mark.parametrize(
    ("ill", "said"),
    [
        ("lost", "GPU is lost"),
        ("hang", "NVML gave no answer within 3 s when asked about it"),
        ("abort", "NVML ended with signal 6 when asked about it"),
    ],
)
def test_a_gpu_that_is_ill_from_a_look_on_is_left_out_until_it_is_back(
    tmp_path: Path, ill: str, said: str
) -> None:
    root = laid_out(tmp_path, {"look": 2, ill: 4}, {"look": 3, "back": 4})
    outcomes = [generate(root, 6.0) for _ in range(3)]
    assert [outcome.status for outcome in outcomes] == [0, 3, 0]
    assert outcomes[1].err == f"gpubind: missing: GPU 4: could not be read: {said}\n"
    assert indexes(outcomes[0]) == indexes(outcomes[2])
    assert {*indexes(outcomes[0])} - {*indexes(outcomes[1])} == {"4"}


@needs_nodes
def test_a_time_comes_by_itself(tmp_path: Path) -> None:
    root = laid_out(tmp_path, {"after": 0, "lost": 4}, {"after": 2, "back": 4})
    assert generate(root).status == 3
    time.sleep(2)
    assert generate(root).status == 0


@needs_nodes
def test_a_gpu_that_is_unplugged_goes_with_its_files_and_comes_again_with_them(
    tmp_path: Path,
) -> None:
    root = laid_out(tmp_path, {"after": 10, "unplug": 7}, {"after": 20, "plug": 7}, name="dgx-h100")
    before, whole = tree(root), generate(root)
    assert ', look 1: {"after": 10.0, "unplug": "GPU-' in advance(root)
    assert not {"dev/nvidia7", "sys/bus/pci/devices/0000:db:00.0"} & {*tree(root)}
    assert indexes(generate(root)) == indexes(whole)[:-1]
    advance(root)
    after = tree(root)
    assert {path for path in before if before[path] != after.get(path)} <= KEPT
    assert before.keys() == after.keys()
    assert generate(root).out == whole.out


@needs_nodes
def test_a_gpu_can_be_partitioned_anew(tmp_path: Path) -> None:
    parts = [{"profile": "1g.10gb", "gi": gi} for gi in (7, 8)]
    root = laid_out(
        tmp_path,
        {"after": 1, "partition": 0, "mig": parts},
        {"after": 2, "partition": 0, "mig": False},
    )
    assert "0:6" in indexes(generate(root))
    advance(root)
    assert [name for name in indexes(generate(root)) if name.startswith("0")] == ["0:0", "0:1"]
    advance(root)
    assert [name for name in indexes(generate(root)) if name.startswith("0")] == ["0"]
    assert not (root / "proc/driver/nvidia/capabilities/gpu2/mig/gi7").exists()


@needs_nodes
def test_a_driver_is_upgraded_first_its_libraries_then_its_module(tmp_path: Path) -> None:
    root = laid_out(tmp_path, {"after": 1, "libraries": NEW}, {"after": 2, "driver": NEW})
    advance(root)
    outcome = generate(root)
    assert outcome.status == 1
    assert outcome.err.endswith(
        f"libnvidia-ml.so.{NEW}) is of driver {NEW}, the loaded kernel module is 550.54.15; "
        "reboot, or unload and load the nvidia kernel modules [DRV-MISMATCH]\n"
    )
    advance(root)
    outcome = generate(root)
    assert outcome.status == 0
    assert f"/libcuda.so.{NEW}" in outcome.out
    assert "550.54.15" not in outcome.out


@needs_nodes
def test_a_driver_goes_first_its_module_then_all_of_it(tmp_path: Path) -> None:
    root = laid_out(
        tmp_path,
        {"after": 1, "gone": "module"},
        {"after": 2, "gone": "driver"},
        {"after": 3, "driver": NEW},
    )
    said = []
    for _ in range(3):
        advance(root)
        said.append(generate(root).err.rpartition(" ")[2])
    assert said == ["[DRV-NOT-LOADED]\n", "[DRV-NOT-FOUND]\n", ""]


@pytest.mark.parametrize("name", profile.names())
def test_every_machine_is_the_same_after_its_driver_went_and_came(
    tmp_path: Path, name: str
) -> None:
    version = profile.load(name).version
    root = laid_out(
        tmp_path, {"after": 1, "gone": "driver"}, {"after": 2, "driver": version}, name=name
    )
    before = tree(root)
    advance(root)
    assert not [path for path in tree(root) if "nvidia" in path and path.startswith("dev")]
    advance(root)
    after = tree(root)
    assert before.keys() == after.keys()
    assert {path for path in before if before[path] != after[path]} <= KEPT


def test_a_script_is_played_in_its_time(tmp_path: Path) -> None:
    root = laid_out(tmp_path, {"after": 0.2, "unplug": 7}, {"after": 0.5, "plug": 7})
    began = time.monotonic()
    outcome = gpubind("simulate", "--root", root, "--play")
    assert time.monotonic() - began >= 0.5
    assert (outcome.status, outcome.err) == (0, "")
    assert ['"unplug"' in line for line in outcome.out.splitlines()] == [True, False]


def test_an_act_at_no_time_is_done_at_once(tmp_path: Path) -> None:
    root = laid_out(tmp_path, {"after": 0, "unplug": 7})
    assert len(json.loads((root / "gpubind-node.json").read_bytes())["gpus"]) == 7


def test_watchers_are_told_of_xids_and_of_new_partitions(tmp_path: Path) -> None:
    first, fourth = profile.load("dgx-a100-mig").gpus[0], profile.load("dgx-a100-mig").gpus[3]
    root = laid_out(
        tmp_path,
        {"after": 0, "xid": 13, "gpu": 1},
        {"after": 100, "xid": 79, "gpu": 3},
        {"after": 200, "xid": 31, "gpu": 0, "gi": 7, "ci": 0},
        {"after": 300, "partition": 3, "mig": []},
    )
    with Root(str(root)) as opened, contextlib.closing(listening.to(opened)) as source:
        assert source.wait(0.5) == []
        found: list[Event] = []
        for _ in range(3):
            advance(root)
            found += source.wait(20)
    told = [(one.kind, one.uuid, one.gi, one.ci, one.code) for one in found]
    assert told == [
        ("xid", fourth.uuid, None, None, 79),
        ("xid", first.uuid, 7, 0, 31),
        ("mig", fourth.uuid, None, None, 0),
    ]


def test_a_node_without_a_script_tells_nothing(tmp_path: Path) -> None:
    root = node("t4", tmp_path)
    with Root(str(root)) as opened, contextlib.closing(listening.to(opened)) as source:
        assert source.wait(0.3) == []


def test_a_script_is_read_while_it_is_played(tmp_path: Path) -> None:
    acts = [{"after": 0.1 * turn, verb: 7} for turn in range(10) for verb in ("unplug", "plug")]
    root = laid_out(tmp_path, *acts)
    with subprocess.Popen([*PROGRAM, "simulate", "--root", root, "--play"], text=True) as player:
        seen = set()
        while player.poll() is None:
            outcome = gpubind("info", "--driver-root", root, "--json")
            assert outcome.status == 0
            seen.add(len(json.loads(outcome.out)["gpus"]))
    assert player.returncode == 0
    assert seen <= {7, 8}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"acts": [{"after": 1, "lost": 9}]}', "expected a GPU, 0 to 0 or its UUID, found 9"),
        ('{"acts": [{"after": 1, "lsot": 0}]}', 'unknown field "lsot"'),
        ('{"acts": [', "not JSON"),
        ("", "the file is empty"),
    ],
)
def test_a_script_that_is_wrong_is_refused_before_anything_is_written(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "script.json"
    file.write_text(text)
    words = ("--profile", "t4", "--root", tmp_path / "node", "--script", file)
    outcome = gpubind("simulate", *words)
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert outcome.err.startswith("gpubind: ")
    assert message in outcome.err
    assert str(file) in outcome.err
    assert not (tmp_path / "node").exists()


@pytest.mark.parametrize("word", ["--play", "--advance"])
def test_a_node_without_a_script_cannot_be_played(tmp_path: Path, word: str) -> None:
    root = node("t4", tmp_path)
    (tmp_path / "empty").mkdir()
    for folder in (root, tmp_path / "empty"):
        outcome = gpubind("simulate", "--root", folder, word)
        assert (outcome.status, outcome.err.count("\n")) == (2, 1)
        assert "[SIM-SCRIPT]" in outcome.err


@pytest.mark.parametrize(
    "words",
    [
        ("--play",),
        ("--play", "--advance", "--root", "x"),
        ("--play", "--profile", "t4", "--root", "x"),
    ],
)
def test_playing_takes_a_root_and_nothing_else(words: tuple[str, ...]) -> None:
    assert gpubind("simulate", *words).status == 2
