# SPDX-License-Identifier: Apache-2.0
"""Free GPUs and replicas are taken as the field takes them, checked by going through all ways."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from gpubind_cdi.gpu import Link
from gpubind_cdi.inventory import Inventory
from hypothesis import given, settings
from hypothesis import strategies as st
from plugin import divided

from gpubind.errors import ToolkitError
from gpubind_plugin import aligned, facts, preferred
from gpubind_plugin.config import Config
from gpubind_plugin.device import Device, bare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Score = Callable[[str, str], int]

POLICIES = ("distributed", "packed", "spread")
FEW = settings(max_examples=60, deadline=None)


@st.composite
def nodes(draw: st.DrawFn) -> tuple[list[str], Score]:
    count = draw(st.integers(1, 8))
    names = [f"g{number}" for number in range(count)]
    values = draw(st.sampled_from([(10, 20), (10, 20, 50, 60), (10, 20, 110, 210, 1210)]))
    pairs = {
        frozenset(pair): draw(st.sampled_from(values)) for pair in itertools.combinations(names, 2)
    }
    return names, lambda one, other: pairs[frozenset((one, other))]


@FEW
@given(node=nodes(), data=st.data())
def test_the_gpus_taken_are_those_of_the_best_of_all_divisions(
    node: tuple[list[str], Score], data: st.DataObject
) -> None:
    names, score = node
    size = data.draw(st.integers(1, len(names)))
    required = data.draw(st.sets(st.sampled_from(names), max_size=size))
    want = divided.best(names, required, size, score)
    assert aligned.best(names, sorted(required), size, score) == want


def near(one: str, other: str) -> int:
    """Score 16 GPUs below two CPUs, each two of them joined by NVLink."""
    first, second = int(one), int(other)
    if first // 2 == second // 2:
        return 420
    return 20 if first // 8 == second // 8 else 10


def odd(one: str, other: str) -> int:
    """Score 16 GPUs of which no two are alike."""
    return (int(one) * 7 + int(other) * 7 + int(one) * int(other) * 31) % 101 + 10


SIXTEEN = [f"{number}" for number in range(16)]


@pytest.mark.parametrize("size", range(1, 17))
def test_sixteen_gpus_take_a_bounded_number_of_steps(size: int) -> None:
    for score in (near, odd):
        found, steps = aligned.counted(SIXTEEN, ["5"], size, score)
        assert (len(set(found)), "5" in found) == (size, True)
        assert steps <= aligned.STEPS + 1


def test_sixteen_gpus_of_which_many_are_alike_are_divided_exactly() -> None:
    found, steps = aligned.counted(SIXTEEN, [], 4, near)
    assert (found, steps < aligned.STEPS) == (["0", "1", "2", "3"], True)


def test_where_there_are_too_many_divisions_close_gpus_are_taken_still() -> None:
    found, steps = aligned.counted(SIXTEEN, [], 4, odd)
    assert steps > aligned.STEPS
    grown = sum(odd(*pair) for pair in itertools.combinations(found, 2))
    sets = [sum(odd(*pair) for pair in itertools.combinations(one, 2))
            for one in itertools.combinations(SIXTEEN, 4)]  # fmt: skip
    assert sum(grown < other for other in sets) < len(sets) // 100


@pytest.mark.parametrize(
    ("available", "required", "size"),
    [
        (["a", "b"], [], 0),
        (["a", "b"], [], -1),
        (["a", "b"], [], 3),
        (["a", "b"], ["a", "b"], 1),
        (["a", "b"], ["c"], 1),
        ([], [], 1),
        (["a", "a"], [], 2),
    ],
)
def test_a_request_that_makes_no_sense_takes_nothing(
    available: list[str], required: list[str], size: int
) -> None:
    assert aligned.best(available, required, size, lambda *_: 10) == []


def shared(gpus: int, replicas: int) -> list[Device]:
    return [
        Device(id=f"g{gpu}::{number}", index=f"{gpu}", uuid=f"g{gpu}", replica=number)
        for gpu in range(gpus)
        for number in range(replicas)
    ]


def free(offered: Sequence[Device], used: dict[str, int]) -> list[str]:
    """Give what is free where so many replicas of GPUs are used."""
    return [one.id for one in offered if one.replica >= used.get(one.uuid, 0)]


@pytest.mark.parametrize(
    ("policy", "want"),
    [
        ("distributed", ["g0::1", "g0::2"]),
        ("packed", ["g1::3", "g0::1"]),
        ("spread", ["g0::1", "g1::3"]),
    ],
)
def test_each_policy_has_its_own_order(policy: str, want: list[str]) -> None:
    offered = shared(2, 4)
    available = free(offered, {"g0": 1, "g1": 3})
    assert preferred.chosen(offered, available, [], 2, policy=policy) == want


def test_policy_packed_fills_one_gpu_first() -> None:
    offered = shared(4, 3)
    ids = [one.id for one in offered]
    want = ["g0::0", "g0::1", "g0::2"]
    assert preferred.chosen(offered, ids, [], 3, policy="packed") == want


def test_distributed_replicas_are_of_different_gpus() -> None:
    offered = shared(4, 3)
    assert preferred.chosen(offered, [one.id for one in offered], [], 2) == ["g0::0", "g1::0"]


@pytest.mark.parametrize("policy", POLICIES)
def test_what_must_be_taken_comes_first(policy: str) -> None:
    offered = shared(2, 3)
    taken = preferred.chosen(offered, free(offered, {}), ["g1::2"], 2, policy=policy)
    assert taken[0] == "g1::2"
    assert bare(taken[1]) == ("g1" if policy == "packed" else "g0")


@pytest.mark.parametrize("policy", POLICIES)
def test_too_few_devices_are_refused_in_the_fields_words(policy: str) -> None:
    with pytest.raises(ToolkitError) as caught:
        preferred.chosen(shared(1, 3), ["g0::0", "nope"], [], 2, policy=policy)
    assert caught.value.message == "not enough available devices to satisfy allocation"


def refusal(policy: str, offered: list[Device], available: list[str], size: int) -> str:
    with pytest.raises(ToolkitError) as caught:
        preferred.chosen(offered, available, [], size, policy=policy, strict=True)
    assert caught.value.identifier == "K8S-PREFERRED"
    return caught.value.message


@pytest.mark.parametrize("policy", ["distributed", "spread"])
def test_strict_refuses_two_replicas_of_one_gpu(policy: str) -> None:
    offered = shared(2, 4)
    message = refusal(policy, offered, free(offered, {"g1": 4}), 2)
    assert message.startswith("two of 2 devices would be the same GPU")
    taken = preferred.chosen(offered, free(offered, {"g1": 3}), [], 2, policy=policy, strict=True)
    assert taken == ["g0::0", "g1::3"]


def test_strict_packed_refuses_more_gpus_than_needed() -> None:
    offered = shared(2, 4)
    message = refusal("packed", offered, free(offered, {"g0": 2, "g1": 2}), 3)
    assert message.startswith("3 devices would be of 2 GPUs, not of 1")


def test_strict_packed_finds_the_gpu_that_has_room() -> None:
    offered = shared(3, 4)
    available = free(offered, {"g0": 3, "g1": 1})
    taken = preferred.chosen(offered, available, [], 3, policy="packed", strict=True)
    assert {bare(one) for one in taken} == {"g1"}


@FEW
@given(data=st.data())
def test_a_strict_policy_refuses_only_what_no_choice_could_satisfy(data: st.DataObject) -> None:
    policy = data.draw(st.sampled_from(POLICIES))
    offered = shared(3, 3)
    available = data.draw(st.lists(st.sampled_from([one.id for one in offered]), unique=True))
    size = data.draw(st.integers(1, 4))

    def allowed(ids: Sequence[str]) -> bool:
        gpus = {bare(one) for one in ids}
        return len(gpus) <= -(-size // 3) if policy == "packed" else len(gpus) == size

    possible = any(allowed(one) for one in itertools.combinations(available, size))
    try:
        taken = preferred.chosen(offered, available, [], size, policy=policy, strict=True)
    except ToolkitError:
        assert not possible
    else:
        assert allowed(taken)
        assert set(taken) <= set(available)


@FEW
@given(data=st.data())
def test_no_choice_is_more_even_or_of_more_gpus(data: st.DataObject) -> None:
    offered = shared(3, 3)
    ids = [one.id for one in offered]
    available = data.draw(st.lists(st.sampled_from(ids), unique=True, min_size=1))
    size = data.draw(st.integers(1, min(4, len(available))))

    def uneven(taken: Sequence[str]) -> list[int]:
        left = set(available) - set(taken)
        used = Counter(bare(one) for one in ids if one not in left)
        return sorted(used.values(), reverse=True)

    choices = [*itertools.combinations(available, size)]
    even = preferred.chosen(offered, available, [], size, policy="distributed")
    assert uneven(even) == min(map(uneven, choices))
    spread = preferred.chosen(offered, available, [], size, policy="spread")
    most = max(len(set(map(bare, one))) for one in choices)
    assert len(set(map(bare, spread))) == most


@pytest.mark.parametrize(
    ("policy", "want"), [("distributed", "m00"), ("packed", "m11"), ("spread", "m00")]
)
def test_mig_devices_go_by_the_gpu_they_are_on(policy: str, want: str) -> None:
    offered = [
        Device(id=f"m{gpu}{at}", index=f"{gpu}:{at}", uuid=f"m{gpu}{at}", parent_uuid=f"g{gpu}")
        for gpu in range(2)
        for at in range(3)
    ]
    available = ["m00", "m01", "m02", "m11", "m12"]
    assert preferred.chosen(offered, available, [], 1, policy=policy) == [want]


def seen(platform: str = facts.NVML, links: tuple[Link, ...] = ()) -> facts.Facts:
    found = Inventory(driver="550.54.15", cuda="12.4", gpus=(), links=links)
    return facts.Facts(platform=platform, inventory=found)


def full(count: int, **numa: Any) -> list[Device]:
    return [
        Device(id=f"g{at}", index=f"{at}", uuid=f"g{at}", numa=numa.get(f"g{at}", -1))
        for at in range(count)
    ]


def test_full_gpus_go_by_what_is_known_of_their_links() -> None:
    links = (Link(gpus=("g0", "g3"), path="SYS", nvlinks=2),)
    offered, ids = full(4), [f"g{at}" for at in range(4)]
    assert preferred.answer(Config(), seen(links=links), offered, ids, [], 2) == ["g0", "g3"]


def test_full_gpus_of_unknown_links_go_by_numa_node() -> None:
    offered, ids = full(4, g0=0, g1=1, g2=1, g3=0), ["g0", "g1", "g2"]
    assert preferred.answer(Config(), seen(), offered, ids, [], 2) == ["g1", "g2"]


def test_strict_alignment_refuses_gpus_that_are_farther_apart_than_they_could_be() -> None:
    told = Config(aligned_allocation_strict=True)
    offered = full(4, g0=0, g1=0, g2=1, g3=1)
    assert preferred.answer(told, seen(), offered, ["g0", "g2", "g3"], [], 2) == ["g2", "g3"]
    with pytest.raises(ToolkitError, match="2 GPUs would score 10 for their links, not 20"):
        preferred.answer(told, seen(), offered, ["g0", "g2"], [], 2)
    assert preferred.answer(told, seen(), offered, ["g0"], [], 2) == []


def test_ids_that_nobody_offers_are_not_taken() -> None:
    assert preferred.answer(Config(), seen(), full(2), ["gone", "g1"], [], 1) == ["g1"]
    assert preferred.answer(Config(), seen(), full(2), ["gone", "g1"], [], 2) == []


def test_without_nvml_the_policy_is_distributed() -> None:
    told = Config(shared_devices_allocation_policy="packed")
    offered = shared(2, 2)
    taken = preferred.answer(told, seen(facts.WSL), offered, free(offered, {}), [], 2)
    assert {bare(one) for one in taken} == {"g0", "g1"}


def test_shared_gpus_go_by_the_policy_that_is_configured() -> None:
    told = Config(shared_devices_allocation_policy="packed")
    offered = shared(2, 2)
    taken = preferred.answer(told, seen(), offered, free(offered, {}), [], 2)
    assert taken == ["g0::0", "g0::1"]
