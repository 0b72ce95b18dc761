# SPDX-License-Identifier: Apache-2.0
"""Names of GPUs and MIG devices by strategy, and by what users write."""

from __future__ import annotations

import driver_roots
import pytest
from gpubind_cdi import namer, names

from gpubind.errors import UsageError

GPU = driver_roots.gpu(1)
MIG = driver_roots.mig(0, 3)


def test_each_strategy_gives_one_name_in_the_order_asked_for() -> None:
    strategies = ("type-index", "uuid", "index", "pci")
    slot = "pci-0000:02:00.0"
    assert namer.names(strategies, GPU) == ("gpu1", GPU.uuid, "1", slot)
    assert namer.names(strategies, GPU, MIG) == ("mig1:0", MIG.uuid, "1:0", f"{slot}-gi3-ci0")


def test_every_name_is_one_that_cdi_allows() -> None:
    every = tuple(namer.STRATEGIES)
    known = (*namer.names(every, GPU), *namer.names(every, GPU, MIG))
    assert [name for name in known if names.device_fault(name)] == []


def test_a_strategy_asked_for_twice_counts_once() -> None:
    assert namer.checked(["uuid", "index", "uuid"]) == ("uuid", "index")


@pytest.mark.parametrize("strategies", [["foo"], ["index", "UUID"], [""], []])
def test_an_unknown_strategy_or_none_is_bad_usage(strategies: list[str]) -> None:
    with pytest.raises(UsageError, match="use one or more of index, uuid, type-index"):
        namer.checked(strategies)


@pytest.mark.parametrize(
    "wanted", ["1", "gpu1", "GPU1", GPU.uuid, GPU.uuid.lower(), GPU.pci, f"0000{GPU.pci}"]
)
def test_a_gpu_answers_to_each_of_its_names(wanted: str) -> None:
    assert namer.matches(wanted, GPU)


@pytest.mark.parametrize("wanted", ["", "0", "01", "1:0", "all", "GPU-", GPU.uuid[:-1], MIG.uuid])
def test_a_gpu_answers_to_no_other_name(wanted: str) -> None:
    assert not namer.matches(wanted, GPU)


def test_a_mig_device_answers_to_its_own_names_only() -> None:
    assert all(namer.matches(name, GPU, MIG) for name in ("1:0", "mig1:0", MIG.uuid.upper()))
    assert not any(namer.matches(name, GPU, MIG) for name in ("1", "1:1", GPU.uuid, GPU.pci))
