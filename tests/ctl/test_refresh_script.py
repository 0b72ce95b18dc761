# SPDX-License-Identifier: Apache-2.0
"""The resident refresh, as a process, follows a node through all that its script has happen."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from command_line import PROGRAM, gpubind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 20.0


class Watched:
    """A scripted node and the service that keeps its spec true."""

    def __init__(self, place: Path, *acts: dict[str, object], more: tuple[str, ...] = ()) -> None:
        self.root = place / "node"
        self.output = place / "cdi/nvidia.yaml"
        script = place / "script.json"
        script.write_text(json.dumps({"acts": acts}))
        words = ("simulate", "--profile=dgx-a100-mig", f"--root={self.root}", f"--script={script}")
        assert gpubind(*words).status == 0
        places = (f"--driver-root={self.root}", f"--output={self.output}", f"--state-dir={place}/s")
        service = ("cdi", "refresh", "--watch", "--interval=0.2", *places, *more)
        self.process = subprocess.Popen(
            (*PROGRAM, *service), stderr=subprocess.PIPE, text=True, env={}
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stderr is not None
        self.lines += iter(self.process.stderr.readline, "")

    def play(self) -> None:
        """Have all of the script happen that is due."""
        done = gpubind("simulate", f"--root={self.root}", "--advance")
        assert done.status == 0, done.err

    def until(self, seen: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not seen():
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)

    def text(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def end(self) -> None:
        self.process.terminate()
        self.reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        assert self.process.wait() == 0


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(*acts: dict[str, object], more: tuple[str, ...] = ()) -> Watched:
        made.append(Watched(tmp_path, *acts, more=more))
        return made[-1]

    yield make
    for one in made:
        one.end()


ACTS: dict[str, tuple[dict[str, object], Callable[[str], bool]]] = {
    "partition": (
        {"partition": 0, "mig": [{"profile": "7g.80gb", "gi": 0}]},
        lambda text: 0 < text.count("name: MIG-") < 6,
    ),
    "unplug": ({"unplug": 7}, lambda text: "/dev/nvidia5\n" not in text),
    "upgrade": (
        {"driver": "550.163.01", "cuda": "12.4"},
        lambda text: "libcuda.so.550.163.01" in text and "550.54.15" not in text,
    ),
    "unload": ({"gone": "module"}, lambda text: text == ""),
    "uninstall": ({"gone": "driver"}, lambda text: text == ""),
}


@pytest.mark.parametrize("name", ACTS)
def test_it_follows(watched: Callable[..., Watched], name: str) -> None:
    act, seen = ACTS[name]
    node = watched({"after": 1000, **act})
    node.until(lambda: len(node.lines) == 1)
    assert not seen(node.text())
    node.play()
    node.until(lambda: seen(node.text()))


def test_libraries_that_do_not_fit_the_module_leave_the_last_good_spec(
    watched: Callable[..., Watched],
) -> None:
    node = watched({"after": 1000, "libraries": "550.163.01"})
    node.until(lambda: len(node.lines) == 1)
    before = node.text()
    node.play()
    node.until(lambda: len(node.lines) == 2)
    assert f"{node.output} is kept as it was: " in node.lines[1]
    assert node.lines[1].endswith(" [DRV-MISMATCH]\n")
    assert (node.text(), before != "") == (before, True)


def test_it_hears_of_a_partition_from_the_driver(watched: Callable[..., Watched]) -> None:
    act, seen = ACTS["partition"]
    node = watched({"after": 1000, **act}, more=("--gpu-events", "--interval=1000"))
    node.until(lambda: len(node.lines) == 1)
    time.sleep(1)  # the process that listens begins after the first look
    node.play()
    node.until(lambda: seen(node.text()))
    assert "(mig of GPU GPU-" in node.lines[1]
