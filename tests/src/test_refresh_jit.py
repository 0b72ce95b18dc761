# SPDX-License-Identifier: Apache-2.0
"""Looking at the driver for starts: once for all that wait, and what serves when that fails."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import TYPE_CHECKING

import checkout
import jit_places
import pytest
from jit_places import CHANGES, aged, makes, program, runs, serve

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return jit_places.made(tmp_path)


START = """
import sys
sys.path.insert(0, {src!r})
from gpubind import jit
from gpubind.errors import ToolkitError
sys.stdin.readline()
try:
    place = ({root!r}, {root!r} + "/state", None, {program!r}, {limit})
    print(jit.serve([{name!r}], *place)[1])
except ToolkitError as error:
    print(error)
"""


def at_once(place: Path, count: int, limit_s: float = 30, name: str = "0") -> list[str]:
    """Give what so many starts at once say."""
    text = START.format(
        src=f"{checkout.ROOT}/src",
        root=str(place),
        program=f"{place}/generator",
        limit=limit_s,
        name=name,
    )
    words = ["/usr/bin/python3", "-IS", "-c", text]
    with contextlib.ExitStack() as stack:
        starts = [
            stack.enter_context(
                subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(count)
        ]
        for start in starts:
            assert start.stdin is not None
            start.stdin.write("go\n")
            start.stdin.flush()
        return [start.communicate()[0].strip() for start in starts]


def test_thirty_starts_at_once_look_once(place: Path) -> None:
    makes(place, seconds=0.3)
    assert at_once(place, 30) == ["['0']"] * 30
    assert runs(place) == 1


def test_thirty_starts_at_once_look_once_more_for_a_name_that_is_not_there(place: Path) -> None:
    serve(place)
    aged(place)
    makes(place, seconds=0.3)
    said = at_once(place, 30, name="7")
    assert all(line.endswith("[REGISTRY-DEVICE]") for line in said)
    assert runs(place) == 2


def test_thirty_starts_at_once_fail_by_one_generator(place: Path) -> None:
    text = "import sys; open(sys.argv[7] + '/runs', 'a').write('x'); sys.exit('lost [DRV-NO-GPU]')"
    program(place, text)
    said = at_once(place, 30)
    assert all("lost [DRV-NO-GPU]" in line and "[GENERATOR-FAILED]" in line for line in said)
    assert runs(place) == 1


HANGS = """
import os, sys, time
open(sys.argv[7] + "/runs", "a").write("x")
os.write(os.open(sys.argv[7] + "/group", os.O_WRONLY | os.O_CREAT), str(os.getpid()).encode())
os.fork()
time.sleep(600)
"""


def test_a_generator_that_hangs_is_ended_once_for_all_that_wait(place: Path) -> None:
    program(place, HANGS)
    said = at_once(place, 10, limit_s=1)
    assert all("generator took over 1 s" in line and line.endswith("FAILED]") for line in said)
    assert runs(place) == 1
    group = int((place / "group").read_text())
    with pytest.raises(ProcessLookupError):
        _wait_until_gone(group)


def _wait_until_gone(group: int) -> None:
    for _ in range(500):
        os.killpg(group, 0)
        time.sleep(0.01)


def test_a_generator_that_is_not_installed_is_told_with_the_driver(place: Path) -> None:
    os.unlink(place / "generator")
    with pytest.raises(ToolkitError) as caught:
        serve(place)
    assert str(caught.value) == (
        f"the driver in {place} was not looked at yet or has changed, and {place}/generator is "
        "not installed to look at it; install the gpubind package [GENERATOR-ABSENT]"
    )


def test_failures_of_the_two_jobs_are_remembered_apart(place: Path) -> None:
    program(place, "import sys; sys.exit('bad')")
    with pytest.raises(ToolkitError):
        serve(place)
    assert sorted(os.listdir(place / "state")) == ["jit.failed", "jit.lock"]


SILENT = {
    "hangs": "import time; time.sleep(600)",
    "crashes": "raise SystemExit('NVML gone [DRV-CRASH]')",
    "hears nothing": "raise SystemExit('no answer in 30 s [DRV-TIMEOUT]')",
    "is killed": "import os; os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("generator", SILENT)
def test_what_was_found_last_serves_while_the_generator_gives_no_answer(
    place: Path, generator: str
) -> None:
    serve(place)
    CHANGES["one more library"](place)
    program(place, SILENT[generator])
    for _ in range(2):  # the second time from memory
        notes: list[str] = []
        found, devices = serve(place, "0", notes=notes, limit_s=0.5)
        every = (found["containerEdits"], *found["devices"].values())
        known = [node for edits in every for node in edits["deviceNodes"]]
        assert (devices, len(known)) == (["0"], 3)
        assert not any({"major", "minor"} & node.keys() for node in known)
        [note] = notes
        assert note.endswith("; used what was there before that [JIT-KEPT]")


def test_what_was_found_last_serves_without_a_generator(place: Path) -> None:
    serve(place)
    CHANGES["one more library"](place)
    os.unlink(place / "generator")
    notes: list[str] = []
    assert serve(place, "1", notes=notes)[1] == ["1"]
    assert "is not installed" in notes[0]


def test_an_answer_of_the_driver_overrules_what_was_found_last(place: Path) -> None:
    serve(place)
    CHANGES["one more library"](place)
    program(place, "raise SystemExit('none left [DRV-NO-GPU]')")
    with pytest.raises(ToolkitError, match="none left"):
        serve(place)


def test_what_was_found_last_does_not_serve_another_kernel_module(place: Path) -> None:
    serve(place)
    CHANGES["another kernel module"](place)
    os.unlink(place / "generator")
    with pytest.raises(ToolkitError, match="GENERATOR-ABSENT"):
        serve(place)
