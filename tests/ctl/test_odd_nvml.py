# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi generate` with an NVML whose answers are odd: garbage, double, changing, very many.

As in test_sick_nvml.py each test is the real command, and NVML is a stub that obeys a script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sick_nodes
from sick_nodes import gpu, indexes, mig, names, needs_stub, told, uuid

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = needs_stub

FOUR = "".join(gpu(index) for index in range(4))
LEFT_OUT = "gpubind: missing: GPU 1: could not be read: "


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sick_nodes.node(tmp_path_factory.mktemp("sick") / "node", FOUR, 16, 7)


def test_a_gpu_whose_node_would_be_the_control_node_is_left_out(root: Path) -> None:
    outcome = told(root, gpu(0) + gpu(1, minor=255))
    assert (outcome.status, indexes(outcome)) == (3, ["0"])
    assert "/dev/nvidia255 (GPU): no such file or directory; run nvidia-modprobe" in outcome.err


def test_an_order_of_its_own_gives_the_same_spec(root: Path) -> None:
    lines = FOUR.splitlines(keepends=True)
    assert told(root, "".join(reversed(lines))).out == told(root, FOUR).out


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (gpu(1, uuid=uuid(0)), f"{uuid(0)} is used twice"),
        (gpu(1, minor=0), "0 is used twice"),
        (gpu(1, pci="0000:01:00.0"), "0000:01:00.0 is used twice"),
        (gpu(1, uuid=""), 'expected a UUID like GPU-1b2c, found ""'),
        (gpu(1, uuid="GPU-%ff%fe"), "expected a UUID like GPU-1b2c, found"),
        (gpu(1, uuid="GPU-../../etc"), "expected a UUID like GPU-1b2c, found"),
        (gpu(1, uuid="all"), "expected a UUID like GPU-1b2c, found"),
        (gpu(1, minor=4294967295), "expected a number from 0"),
    ],
)
def test_a_gpu_that_makes_no_sense_is_named_and_left_out(root: Path, bad: str, reason: str) -> None:
    outcome = told(root, gpu(0) + bad + gpu(2))
    assert (outcome.status, indexes(outcome)) == (3, ["0", "2"])
    assert outcome.err.startswith(f"{LEFT_OUT}{reason}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("name", ["", "%ff%fe", "a%0ab", "%1b[31m"])
def test_a_gpu_whose_name_is_garbage_works_all_the_same(root: Path, name: str) -> None:
    outcome = told(root, gpu(0, name=name))
    assert (outcome.status, outcome.err, indexes(outcome)) == (0, "", ["0"])


@pytest.mark.parametrize("bad", ["uuid=all", "uuid=MIG-%ff", "gi=4294967295"])
def test_a_mig_device_that_makes_no_sense_costs_itself_alone(root: Path, bad: str) -> None:
    odd = mig(0, 1).rstrip("\n") + f" {bad}\n"
    outcome = told(root, gpu(0, mig=1) + mig(0, 0) + odd + mig(0, 2) + gpu(1))
    assert (outcome.status, indexes(outcome)) == (3, ["0:0", "0:2", "1"])
    assert outcome.err.startswith("gpubind: missing: MIG device 0:1: could not be read: expected a")
    assert outcome.err.count("\n") == 1
    assert told(root, gpu(0, mig=1) + mig(0, 0) + odd, "--strict").status == 1


def test_mig_devices_of_two_gpus_with_one_uuid_are_named(root: Path) -> None:
    parts = gpu(0, mig=1) + mig(0, 0) + gpu(1, mig=1) + mig(0, 0)
    outcome = told(root, parts)
    assert (outcome.status, indexes(outcome)) == (3, ["0:0"])
    assert "is used twice" in outcome.err


def test_a_gpu_that_goes_while_it_is_asked_is_not_there_at_the_next_look(root: Path) -> None:
    outcome = told(root, f"{FOUR}counts 4 3\n")
    assert (outcome.status, indexes(outcome)) == (3, ["0", "1", "2"])
    assert "GPU 3: could not be read: it came or went while NVML was asked" in outcome.err


def test_a_gpu_that_comes_while_it_is_asked_is_named(root: Path) -> None:
    outcome = told(root, f"{FOUR}counts 3 4\n")
    assert (outcome.status, indexes(outcome)) == (3, ["0", "1", "2"])
    assert "GPU 3: could not be read: it came or went while NVML was asked" in outcome.err


def test_mig_devices_made_meanwhile_are_all_told_of(root: Path) -> None:
    parts = gpu(0, mig=1) + mig(0, 0) + mig(0, 1, since=15)
    outcome = told(root, parts)
    assert (outcome.status, indexes(outcome)) == (0, ["0:0", "0:1"])


def test_mig_devices_that_never_rest_are_a_fault_of_their_gpu(root: Path) -> None:
    restless = "".join(mig(0, number, since=call) for number, call in enumerate((0, 25, 50, 70)))
    outcome = told(root, gpu(0, mig=1) + restless + gpu(1))
    assert (outcome.status, indexes(outcome)) == (3, ["1"])
    assert "GPU 0: could not be read: its MIG devices changed each time" in outcome.err


def test_sixteen_gpus_in_seven_mig_devices_each(root: Path) -> None:
    script = "".join(
        gpu(index, mig=1) + "".join(mig(index, number) for number in range(7))
        for index in range(16)
    )
    outcome = told(root, script)
    assert (outcome.status, outcome.err) == (0, "")
    assert len(indexes(outcome)) == 16 * 7
    assert len(set(names(outcome))) == 2 * 16 * 7 + 1


@pytest.mark.parametrize("count", range(1, 17))
def test_any_number_of_gpus(root: Path, count: int) -> None:
    outcome = told(root, "".join(gpu(index) for index in range(count)))
    assert (outcome.status, outcome.err, len(indexes(outcome))) == (0, "", count)
