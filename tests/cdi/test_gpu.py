# SPDX-License-Identifier: Apache-2.0
"""Indices by PCI address: the same GPU has the same index whatever order it is found in."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import driver_roots
import pytest
from driver_roots import Char, needs_nodes
from generated_hosts import PLAIN, made
from gpubind_cdi import files, gpu, inventory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpubind_cdi.gpu import Fault, Gpu

SLOTS = ("0000:07:00.0", "0000:4e:00.0", "0000:bd:00.0", "0001:03:00.0")
CARDS = tuple(replace(driver_roots.gpu(index), pci=slot) for index, slot in enumerate(SLOTS))


def permuted(order: Sequence[int]) -> tuple[Gpu, ...]:
    """Give the cards as a driver that finds them in this order tells of them."""
    return tuple(replace(CARDS[card], index=index) for index, card in enumerate(order))


def source(gpus: tuple[Gpu, ...], faults: tuple[Fault, ...] = ()) -> inventory.Source:
    found = inventory.Inventory(driver=driver_roots.VERSION, cuda="12.4", gpus=gpus, faults=faults)
    return inventory.Source(lambda: found)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_order_of_enumeration_changes_no_index(order: Sequence[int]) -> None:
    assert gpu.numbered(permuted(order)) == (CARDS, ())


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
@pytest.mark.parametrize("lost", [(0,), (2,), (3,), (0, 2), (1, 2, 3)])
def test_lost_gpus_move_no_other_whatever_the_order(
    order: Sequence[int], lost: tuple[int, ...]
) -> None:
    found = permuted(order)
    faults = [gpu.Fault(index=place, message="lost") for place in lost]
    read = [one for one in found if one.index not in lost]
    names = {found[place].uuid for place in lost}
    gone = [card.index for card in CARDS if card.uuid in names]
    numbered, told = gpu.numbered(read, faults, SLOTS[::-1])
    assert numbered == tuple(card for card in CARDS if card.index not in gone)
    assert [fault.index for fault in told] == gone


@pytest.mark.parametrize(
    "present", [(), SLOTS[:3], (*SLOTS, "0002:01:00.0"), (*SLOTS[:3], "0002:01:00.0")]
)
def test_addresses_that_do_not_fit_leave_the_order_of_the_driver(present: Sequence[str]) -> None:
    fault = gpu.Fault(index=1, message="lost")
    others = (CARDS[0], CARDS[2], CARDS[3])
    assert gpu.numbered(others, [fault], present) == (others, (fault,))


def test_a_mig_device_that_cannot_be_read_is_no_lost_gpu() -> None:
    fault = gpu.Fault(index=3, message="bad", mig=1)
    order = (3, 1, 0, 2)  # the driver's GPU 3 is the third by address
    assert gpu.numbered(permuted(order), [fault], SLOTS) == (CARDS, (replace(fault, index=2),))


@pytest.mark.parametrize("lost", range(4))
def test_a_gpu_that_cannot_be_read_keeps_its_index(lost: int) -> None:
    others = tuple(card for card in CARDS if card.index != lost)
    fault = gpu.Fault(index=lost, message="lost")
    assert tuple(source(others[::-1], (fault,)).gpus()) == others


@needs_nodes
def test_a_permuted_enumeration_gives_the_same_spec(tmp_path: Path) -> None:
    tree = {
        **driver_roots.driver(),
        **driver_roots.control(),
        **{f"/dev/nvidia{index}": Char(195, index) for index in range(4)},
    }
    options = replace(PLAIN, device_name_strategies=("index", "uuid", "pci", "type-index"))
    specs = {
        files.text(made(tmp_path / str(number), tree, source(permuted(order)), options))
        .decode()
        .replace(f"{tmp_path}/{number}/", "/")
        for number, order in enumerate([(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
    }
    assert len(specs) == 1
    assert "pci-0001:03:00.0" in specs.pop()
