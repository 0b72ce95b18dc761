# SPDX-License-Identifier: Apache-2.0
"""An event reaches exactly the devices it happened to, and is heard of once."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from gpubind_cdi import events, xids
from gpubind_cdi.events import Event
from gpubind_cdi.gpu import Fault, Gpu, Mig
from gpubind_cdi.inventory import Inventory

from gpubind_plugin.config import Health
from gpubind_plugin.health.board import Board
from gpubind_plugin.health.state import Level


def gpu(number: int, *parts: tuple[int, int], recovery: str = "") -> Gpu:
    return Gpu(
        index=number,
        uuid=f"GPU-{number}",
        minor=number,
        pci=f"0000:0{number}:00.0",
        name="NVIDIA H100",
        brand="Nvidia",
        architecture="9.0",
        recovery=recovery,
        mig_enabled=bool(parts),
        mig=tuple(
            Mig(index=at, uuid=f"MIG-{number}{gi}{ci}", gi=gi, ci=ci, profile="1g.10gb")
            for at, (gi, ci) in enumerate(parts)
        ),
    )


def found(*gpus: Gpu, driver: str = "550.54.15", faults: tuple[Fault, ...] = ()) -> Inventory:
    return Inventory(driver=driver, cuda="12.4", gpus=gpus, faults=faults)


SPLIT = found(gpu(0, (1, 0), (1, 1), (2, 0)), gpu(1), gpu(2, (1, 0)))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Heard:
    def __init__(self, inventory: Inventory = SPLIT, *, parts: bool = True) -> None:
        self.times = 0
        self.clock = Clock()
        self.board = Board(self.hear, self.clock)
        self.board.looked(inventory, parts=parts)

    def hear(self) -> None:
        self.board.snapshot()  # no lock is held
        self.times += 1

    def ill(self) -> list[str]:
        return sorted(self.board.unhealthy())


def xid(code: int, uuid: str, gi: int | None = None, ci: int | None = None) -> Event:
    return Event(kind=events.XID, time=1.0, uuid=uuid, code=code, gi=gi, ci=ci)


@pytest.mark.parametrize(
    ("event", "ill"),
    [
        (xid(79, "GPU-1"), ["GPU-1"]),
        (xid(79, "GPU-0"), ["GPU-0", "MIG-010", "MIG-011", "MIG-020"]),
        (xid(95, "GPU-0", 1, 0), ["MIG-010"]),
        (xid(95, "GPU-0", 1, 1), ["MIG-011"]),
        (xid(95, "GPU-0", 2), ["MIG-020"]),
        (xid(95, "GPU-0", 1), ["MIG-010", "MIG-011"]),
        (xid(95, "GPU-0", 9, 9), []),
        (xid(95, "GPU-1", 1, 0), ["GPU-1"]),
        (xid(79, "GPU-9"), []),
        (xid(13, "GPU-1"), []),
        (xid(92, "GPU-1"), []),
        (Event(kind=events.MIG, time=1.0, uuid="GPU-0"), []),
        (Event(kind=events.UNWATCHED, time=1.0, uuid="GPU-0", message="too old"), []),
        (Event(kind=events.ECC, time=1.0, uuid="GPU-0"), []),
    ],
)
def test_an_event_reaches_what_it_happened_to(event: Event, ill: list[str]) -> None:
    heard = Heard()
    heard.board.report(event)
    assert heard.ill() == ill


def test_an_event_of_nobody_knows_which_gpu_reaches_all() -> None:
    heard = Heard()
    heard.board.report(xid(79, ""))
    assert heard.ill() == sorted(heard.board.snapshot())


def test_without_mig_devices_an_instances_event_is_its_gpus() -> None:
    heard = Heard(parts=False)
    heard.board.report(xid(95, "GPU-0", 1, 0))
    assert heard.ill() == ["GPU-0"]


def test_an_event_storm_is_one_change() -> None:
    heard = Heard()
    for number in range(10_000):
        heard.clock.now += 0.001
        heard.board.report(xid(79 if number % 2 else 119, "GPU-1"))
    assert (heard.times, heard.ill()) == (1, ["GPU-1"])
    assert heard.board.events == {"xid 79": 5000, "xid 119": 5000}
    assert heard.board.snapshot()["GPU-1"].since == pytest.approx(1000.001)


def test_events_of_many_threads_are_all_heard() -> None:
    heard = Heard()

    def storm() -> None:
        for _ in range(500):
            heard.board.report(xid(79, "GPU-1"))

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (heard.times, heard.board.events["xid 79"]) == (1, 2000)


def test_a_gpu_that_can_not_be_read_leaves_the_others() -> None:
    heard = Heard()
    left = found(SPLIT.gpus[0], SPLIT.gpus[2], faults=(Fault(index=1, message="GPU is lost"),))
    heard.board.looked(left)
    assert heard.board.unhealthy() == {"GPU-1": "unhealthy: it can't be read: GPU is lost"}
    heard.board.looked(SPLIT)
    assert (heard.ill(), heard.times) == ([], 2)


def test_a_lost_gpus_mig_devices_are_lost_with_it() -> None:
    heard = Heard()
    heard.board.looked(found(SPLIT.gpus[1], SPLIT.gpus[2]))
    assert heard.ill() == ["GPU-0", "MIG-010", "MIG-011", "MIG-020"]


def test_a_device_recovers_by_looks() -> None:
    heard = Heard()
    heard.board.report(xid(54, "GPU-1"))
    levels = []
    for _ in range(3):
        heard.clock.now += 60
        heard.board.looked(SPLIT)
        levels.append(heard.board.snapshot()["GPU-1"].level)
    assert levels == [Level.RECOVERING, Level.RECOVERING, Level.HEALTHY]
    assert heard.times == 3  # unhealthy, recovering, healthy


def test_looks_that_change_nothing_are_not_heard_of() -> None:
    heard = Heard()
    for _ in range(10):
        heard.board.looked(SPLIT)
    assert heard.times == 0


def test_mig_devices_that_are_gone_are_forgotten() -> None:
    heard = Heard()
    heard.board.report(xid(95, "GPU-0", 1, 0))
    heard.board.looked(found(gpu(0, (5, 0)), gpu(1)))
    assert "MIG-010" not in heard.board.snapshot()
    assert heard.board.snapshot()["MIG-050"].level is Level.HEALTHY


def test_another_driver_begins_anew() -> None:
    heard = Heard()
    heard.board.report(xid(79, "GPU-1"))
    heard.board.looked(replace(SPLIT, driver="570.124.06"))
    assert heard.ill() == []


def test_another_driver_that_finds_fewer_gpus_begins_anew_with_those() -> None:
    heard = Heard()
    heard.board.looked(found(gpu(1), driver="570.124.06"))
    assert (list(heard.board.snapshot()), heard.ill()) == (["GPU-1"], [])


def test_a_gpu_the_driver_wants_reset_is_ill_without_any_event() -> None:
    heard = Heard(found(gpu(0, recovery="reset"), gpu(1, recovery="none")))
    assert heard.board.unhealthy() == {"GPU-0": "unhealthy: the driver asks for: reset"}
    for _ in range(3):
        heard.clock.now += 60
        heard.board.looked(found(gpu(0, recovery="none"), gpu(1)))
    assert heard.ill() == []


@pytest.mark.parametrize(
    ("health", "ill"),
    [
        (Health(), [79, 109]),
        (Health(disable_all=True), []),
        (Health(disabled=frozenset({79})), [109]),
        (Health(enabled=frozenset({13})), [13, 79, 109]),
        (Health(enable_all=True), [13, 79, 92, 94, 109]),
        (Health(disable_all=True, enabled=frozenset({79})), [79]),
        (Health(disabled=frozenset({79, 109}), enabled=frozenset({79})), [79]),
    ],
)
def test_the_fields_variables_say_which_xids_count(health: Health, ill: list[int]) -> None:
    counted = []
    for code in (13, 79, 92, 94, 109):
        heard = Heard()
        heard.board.govern(health, xids.Policy())
        heard.board.report(xid(code, "GPU-1"))
        counted += [code] if heard.ill() else []
    assert counted == ill


def test_new_rules_forget_what_was() -> None:
    heard = Heard()
    heard.board.report(xid(79, "GPU-1"))
    heard.board.govern(Health(), xids.Policy(actions={79: xids.Action.IGNORE}))
    heard.board.report(xid(79, "GPU-1"))
    assert heard.ill() == []
