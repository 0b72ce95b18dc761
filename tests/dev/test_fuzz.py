# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed, with few examples in each test run, and the command that gives it many."""

from __future__ import annotations

import contextlib

import checkout
import fuzz
import pytest
from fuzz_targets import TARGETS, Target, claim
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from steps import lines

from gpubind import requirement
from gpubind.errors import ToolkitError


@pytest.mark.parametrize("name", TARGETS)
def test_a_targets_seeds_are_good(name: str) -> None:
    target = TARGETS[name]
    assert target.seeds
    for seed in target.seeds:
        target.run(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(some=st.data())
def test_nothing_passes_a_target_but_an_error_of_ours(name: str, some: st.DataObject) -> None:
    TARGETS[name].run(some.draw(fuzz.inputs(TARGETS[name])))


@pytest.mark.parametrize("name", TARGETS)
def test_a_good_input_cut_off_anywhere_is_no_other_error(name: str) -> None:
    seed = min(TARGETS[name].seeds, key=len)
    for length in range(0, len(seed), max(1, len(seed) // 200)):
        TARGETS[name].run(seed[:length])


def steps(text: str) -> int:
    """Count the lines that reading and judging a requirement takes."""

    def judge() -> None:
        with contextlib.suppress(ToolkitError):
            requirement.check([("V", text)], [])
            for alternatives in requirement.parse(text, "V"):
                known = {"cuda": "1", "driver": "1", "where": ""}
                requirement._verdict([alternatives], known)

    return lines(judge)


PIECES = ["cuda>=1.2 ", "driver<3,", "brand=x ", "arch!=7.5,cuda<1 ", " ", "cuda>=1.2.3.4.5.6.7.8 "]


@pytest.mark.parametrize("piece", [*PIECES, "!", "<=", ",", ".", "cuda", "9"])
def test_twice_the_requirement_takes_twice_the_steps(piece: str) -> None:
    once, twice = (steps(f"{piece * count}cuda>=1") for count in (200, 400))
    assert twice <= 2 * once + 100


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from([*PIECES, "<", "x", "1.", ","]), min_size=1, max_size=20))
def test_any_requirement_takes_steps_by_its_length(pieces: list[str]) -> None:
    text = "".join(pieces) * 20
    assert steps(text) <= 200 + 40 * len(text)


def wrong(data: bytes) -> None:
    claim(data[:1] != b"\xff")


def test_without_atheris_hypothesis_finds_what_is_wrong() -> None:
    good = Target(run=lambda _: None, seeds=(b"a",), words=("a",))
    assert fuzz.blind(good, 0.01) > 0
    with pytest.raises(AssertionError):
        fuzz.blind(Target(run=wrong, seeds=(b"\xffa",), words=("a",)), 60)


@pytest.mark.parametrize("words", [["elf"], ["elf", "x"], ["elf", "1", "2"], ["elf", "-1"]])
def test_a_target_without_seconds_is_bad_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fuzz.main(words) == 2
    assert capsys.readouterr().err == "usage: ./dev fuzz [TARGET SECONDS]\n"


def test_the_script_names_every_target() -> None:
    text = checkout.text(checkout.ROOT, "dev")
    assert [name for name in TARGETS if name not in text.partition("fuzz [TARGET")[2]] == []


def test_a_damaged_seed_keeps_its_other_bytes() -> None:
    assert fuzz._damaged(b"abcdef", [(1, 2, b"X"), (100, 0, b"")]) == b"aXdef"
