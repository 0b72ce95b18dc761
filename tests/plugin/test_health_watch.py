# SPDX-License-Identifier: Apache-2.0
"""What a node's driver tells reaches the board, whatever becomes of who listens."""

from __future__ import annotations

import io
import os
import threading
from typing import TYPE_CHECKING

import pytest
import simulated_nodes
from gpubind_cdi import events, script, simulated
from gpubind_cdi.events import Event

from gpubind.errors import ToolkitError
from gpubind.root import Root
from gpubind_ctl.simulate import play
from gpubind_plugin import seeing
from gpubind_plugin.config import Config, Health
from gpubind_plugin.facts import Facts, Roots
from gpubind_plugin.health import watch
from gpubind_plugin.health.watch import Watch
from gpubind_plugin.logs import Log
from gpubind_plugin.resources import Offer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gpubind_cdi.events import GpuEvents

PATIENCE_S = 30.0


class Told:
    """A source that tells what it is given, one list each time, and then what ends it."""

    def __init__(self, *lists: Sequence[Event] | Exception) -> None:
        self.lists = list(lists)
        self.reader, self.writer = os.pipe()
        self.waits = 0
        if lists:
            os.write(self.writer, b".")

    def fileno(self) -> int:
        return self.reader

    def wait(self, timeout_s: float) -> Sequence[Event]:
        assert timeout_s == 0.0
        self.waits += 1
        now = self.lists.pop(0)
        if not self.lists:
            os.read(self.reader, 1)
        if isinstance(now, Exception):
            raise now
        return now

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class Hearer:
    def __init__(self, root: Path, listen: Callable[[Roots], GpuEvents] | None = None) -> None:
        self.changed = threading.Event()
        self.lines = io.StringIO()
        log = Log(stream=self.lines)
        self.watch = Watch(self.changed.set, log, listen=listen or watch.listen)
        self.root = root

    def look(self, config: Config) -> list[str]:
        with Root(str(self.root)) as root:
            found = simulated.Simulated(root).inventory()
        roots = Roots(driver=str(self.root), dev=str(self.root))
        known = Facts(inventory=found, roots=roots)
        self.watch.looked(config, seeing.Seen(facts=known, offer=Offer()))
        return [one.uuid for one in found.gpus]


@pytest.fixture
def hearer(tmp_path: Path) -> Iterator[Callable[..., Hearer]]:
    made: list[Hearer] = []

    def make(
        *acts: dict[str, object], listen: Callable[[Roots], GpuEvents] | None = None
    ) -> Hearer:
        node = simulated_nodes.node("dgx-h100", tmp_path)
        with Root(str(node)) as root:
            uuids = [one.uuid for one in simulated.Simulated(root).gpus()]
            play.begin(root, script.parse({"acts": [*acts]}, uuids))
        made.append(Hearer(node, listen))
        return made[-1]

    yield make
    for one in made:
        one.watch.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "health"]


def test_an_xid_of_a_node_makes_its_gpu_unhealthy(hearer: Callable[..., Hearer]) -> None:
    heard = hearer({"after": 1.5, "xid": 79, "gpu": 3})
    uuids = heard.look(Config())
    assert heard.changed.wait(PATIENCE_S)
    why = "unhealthy: Xid 79: the GPU does not answer on the PCI bus any more"
    assert heard.watch.unhealthy() == {uuids[3]: why}
    assert f"device={uuids[3]} health=unhealthy" in heard.lines.getvalue()


def xid(uuid: str) -> Event:
    return Event(kind=events.XID, time=1.0, uuid=uuid, code=79)


def test_a_storm_is_taken_in_one_turn_and_heard_of_once(hearer: Callable[..., Hearer]) -> None:
    sources: list[Told] = []

    def listen(_: Roots) -> Told:
        sources.append(Told([xid(uuids[0])] * 10_000))
        return sources[-1]

    heard = hearer(listen=listen)
    with Root(str(heard.root)) as root:
        uuids = [one.uuid for one in simulated.Simulated(root).gpus()]
    heard.look(Config())
    assert heard.changed.wait(PATIENCE_S)
    heard.watch.close()
    assert (len(sources), sources[0].waits) == (1, 1)
    assert heard.watch.board.events["xid 79"] == 10_000
    assert heard.lines.getvalue().count("health=unhealthy") == 1


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (ToolkitError("NVML hung", identifier="DRV-EVENTS"), "NVML hung [DRV-EVENTS]"),
        (OSError(12, "no memory"), "no memory [SYS-REFUSED]"),
        (ValueError("a defect"), "a defect"),
    ],
)
def test_a_source_that_ends_is_begun_anew_and_the_gpus_stay_served(
    hearer: Callable[..., Hearer], gone: Exception, said: str
) -> None:
    again = threading.Event()
    starts: list[Told] = []

    def listen(_: Roots) -> Told:
        starts.append(Told(gone) if not starts else Told())
        if len(starts) > 1:
            again.set()
        return starts[-1]

    heard = hearer(listen=listen)
    heard.look(Config())
    assert again.wait(PATIENCE_S)
    assert heard.watch.unhealthy() == {}
    (line,) = [one for one in heard.lines.getvalue().splitlines() if "nobody listens" in one]
    assert "nobody listens to the GPUs for 2 s: " in line
    assert said in line


def test_a_source_that_can_not_begin_is_not_tried_in_a_loop(
    hearer: Callable[..., Hearer],
) -> None:
    tried = threading.Event()

    def listen(_: Roots) -> Told:
        tried.set()
        raise ToolkitError("no library", identifier="DRV-NOT-FOUND")

    heard = hearer(listen=listen)
    heard.look(Config())
    assert tried.wait(PATIENCE_S)
    heard.watch.close()
    assert heard.watch.starts == 1
    assert heard.watch.unhealthy() == {}


def test_other_gpus_are_listened_to_anew(hearer: Callable[..., Hearer]) -> None:
    started = threading.Semaphore(0)

    def listen(_: Roots) -> Told:
        started.release()
        return Told()

    heard = hearer({"look": 3, "unplug": 7}, listen=listen)
    heard.look(Config())
    assert started.acquire(timeout=PATIENCE_S)
    heard.look(Config())
    with Root(str(heard.root)) as root:
        play.advance(root)
    heard.look(Config())
    assert started.acquire(timeout=PATIENCE_S)
    assert not started.acquire(timeout=0.2)


def test_where_nothing_counts_nobody_listens(hearer: Callable[..., Hearer]) -> None:
    heard = hearer()
    heard.look(Config(health=Health(disable_all=True)))
    assert heard.watch.starts == 0


def test_a_policy_file_that_is_wrong_is_said_and_the_table_holds(
    hearer: Callable[..., Hearer], tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("xids: {79: relax}")
    heard = hearer(listen=lambda _: Told())
    uuids = heard.look(Config(health=Health(policy_file=str(file))))
    assert "[XID-POLICY]" in heard.lines.getvalue()
    heard.watch.board.report(xid(uuids[0]))
    assert list(heard.watch.unhealthy()) == [uuids[0]]
