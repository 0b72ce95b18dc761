# SPDX-License-Identifier: Apache-2.0
"""What `./dev bench` says of the device plugin."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import bench_plugin
import install
import pytest
from bench_plugin import EMPTY, Figures, Memory

if TYPE_CHECKING:
    from pathlib import Path

CALLED = {
    EMPTY,
    "Allocate",
    bench_plugin.FIRST,
    *(f"GetPreferredAllocation, {choice}" for choice in ("1 of 768", "8 of 768", "8 of 16")),
}


def test_the_median_and_what_99_of_100_stay_below() -> None:
    assert bench_plugin.shares([0.1] * 50 + [0.3] * 49 + [9.0] * 1) == (0.2, 9.0)
    assert bench_plugin.shares([0.1] * 495 + [0.3] * 496 + [9.0] * 9)[1] == 0.3
    assert bench_plugin.shares([0.5]) == (0.5, 0.5)


def test_a_call_is_told_in_multiples_of_the_empty_one() -> None:
    taken = {EMPTY: [0.001] * 98 + [0.004] * 2, "Allocate": [0.003] * 98 + [0.002] * 2}
    memory = Memory(own=44.04), Memory(own=45.0, helpers=(20.0, 1.5))
    figures = Figures(taken=taken, size=46688, before=memory[0], after=memory[1])
    lines = [line.split() for line in bench_plugin.told(figures)]
    assert "100 calls" in " ".join(lines[0])
    assert lines[3] == ["Allocate", "3.00", "ms", "3.00", "ms", "3.00", "0.75"]
    assert " ".join(lines[-1]).endswith("44.0 MiB at first, 45.0 and 20.0 and 1.5 MiB after")


def test_the_memory_of_a_process_is_told_with_its_helpers() -> None:
    script = "import subprocess as s; s.run(['/bin/cat'])"
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"there\n")
        process.stdin.flush()
        process.stdout.readline()
        found = bench_plugin.memory(process.pid)
        process.stdin.close()
    assert found.own > 1
    assert [one > 0.1 for one in found.helpers] == [True]


def test_each_is_called_as_often_and_told_its_turn() -> None:
    turns: dict[str, list[int]] = {"one": [], "other": []}
    taken = bench_plugin.timed({name: heard.append for name, heard in turns.items()}, 5)
    assert turns == {"one": [0, 1, 2, 3, 4], "other": [0, 1, 2, 3, 4]}
    assert {name: len(values) for name, values in taken.items()} == {"one": 5, "other": 5}


@pytest.mark.system
@pytest.mark.root
def test_an_installed_plugin_is_called_as_a_kubelet_calls_it(tmp_path: Path) -> None:
    home = f"{tmp_path}/h"
    install.install(home)
    figures = bench_plugin.run(home, 2)
    assert set(figures.taken) == CALLED
    assert {len(values) for values in figures.taken.values()} == {2}
    assert figures.before.own > 1
