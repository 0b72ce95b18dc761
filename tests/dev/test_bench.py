# SPDX-License-Identifier: Apache-2.0
"""`./dev bench`: its rows, its limits, and what it says of a busy machine."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import bench
import bench_scale
import bench_starts
import checkout
import pytest

from gpubind import ldcache

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = (sys.executable, os.path.join(checkout.ROOT, "packaging/bench.py"))
NAMES = {row.measured for row in bench.ROWS} | {row.less for row in bench.ROWS if row.less}
SAME = {"bare": [1.0], **{name: [1.0] for name in NAMES}}


@pytest.mark.parametrize("row", bench.ROWS, ids=lambda row: row.what.strip())
def test_a_passed_limit_is_told(row: bench.Row, capsys: pytest.CaptureFixture[str]) -> None:
    passed = [row.limit + 1.01, 0.0, 99.0] if row.less else [row.limit + 0.01]
    assert bench.table(SAME)
    assert "over" not in capsys.readouterr().out
    assert bench.table(SAME | {row.measured: passed}) is not bool(row.limit)
    told = capsys.readouterr().out.splitlines()
    over = [line.split("  ")[0] for line in told if line.endswith("over")]
    assert over == ([row.what.split("  ")[0]] if row.limit else [])


def test_the_median_counts_for_the_limit_and_the_quickest_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    taken = SAME | {"bare": [2.0, 2.0, 1.0], "gpu": [2.0, 9.0, 4.0], "plain": [1.0, 2.0, 2.0]}
    assert bench.table(taken)
    (line,) = (row for row in capsys.readouterr().out.splitlines() if "one GPU, no hook" in row)
    assert line.split()[5:] == ["4.00", "ms", "2.00", "ms", "2.00", "ms", "1.00", "1.00", "2.5"]


def test_every_row_is_measured_and_every_start_is_in_a_row() -> None:
    host = bench_starts.Host("/none", "/none")
    assert {*NAMES, "bare"} == {*bench.measures(host), *bench_scale.measures("/none")}


def test_a_quiet_machine_gets_no_hint() -> None:
    assert bench.machine(0.3, 2, [6.0, 6.2, 6.1]) == (
        "load 0.3 on 2 processors before; a bare interpreter took 6.10 ms, 6.00 ms at best"
    )


@pytest.mark.parametrize(("load", "bare"), [(1.1, [6.0, 6.2, 6.1]), (0.0, [6.0, 9.0, 9.0])])
def test_a_busy_machine_gets_one(load: float, bare: list[float]) -> None:
    told = bench.machine(load, 2, bare).splitlines()
    assert told[1:] == [
        "The machine is busy: these figures mislead. Measure again when it is idle."
    ]


def test_without_root_it_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    caller = os.geteuid()
    os.seteuid(caller or 65534)
    try:
        assert bench.main([]) == 1
    finally:
        os.seteuid(caller)
    assert capsys.readouterr().err == "the bench starts containers: it needs root and runc\n"


def test_the_large_image_has_3000_libraries_that_the_loader_can_find(tmp_path: Path) -> None:
    image = bench_starts.Image(f"{tmp_path}/large")
    image.build(bench_starts.LIBRARIES)
    image.fresh()
    with open(f"{image.root}/etc/ld.so.cache", "rb") as file:
        names = {entry.name for entry in ldcache.read(file.read())}
    assert len([name for name in names if name.startswith(b"libbench")]) == 3000
    assert b"libc.so.6" in names


@pytest.mark.system
@pytest.mark.root
def test_every_start_gives_what_it_is_measured_for() -> None:
    done = subprocess.run([*PROGRAM, "--rounds", "1"], check=False, capture_output=True, text=True)
    assert done.returncode in (0, 1)  # a limit may be passed on a busy machine
    assert done.stderr == ""
    assert [row.what for row in bench.ROWS if row.what not in done.stdout] == []
    assert [name for name in os.listdir("/dev/shm") if name.startswith("gpubind-")] == []
