# SPDX-License-Identifier: Apache-2.0
"""A simulated node's script: read strictly, each fault with its place; its clock and its looks."""

from __future__ import annotations

import time
from typing import Any

import pytest
from gpubind_cdi import document, script

from gpubind.errors import DocumentError

UUIDS = ("GPU-a", "GPU-b")
GOOD: tuple[dict[str, Any], ...] = (
    {"after": 0, "lost": 0},
    {"after": 1.5, "hang": "GPU-b"},
    {"look": 3, "abort": 1},
    {"look": 4, "back": 1},
    {"after": 2, "xid": 79, "gpu": 1},
    {"after": 2, "xid": 31, "gpu": 1, "gi": 3, "ci": 0},
    {"after": 2, "ecc": 1},
    {"after": 3, "unplug": 1},
    {"after": 4, "plug": 1},
    {"after": 5, "partition": 0, "mig": [{"profile": "1g.10gb", "gi": 7}]},
    {"after": 6, "partition": 0, "mig": []},
    {"after": 7, "partition": 0, "mig": False},
    {"after": 8, "libraries": "580.65.06"},
    {"after": 9, "driver": "580.65.06", "cuda": "13.0"},
    {"after": 10, "gone": "module"},
    {"after": 11, "gone": "driver"},
)


def read(*acts: object) -> tuple[script.Act, ...]:
    return script.parse({"format": 1, "acts": [*acts]}, UUIDS)


@pytest.mark.parametrize("act", GOOD, ids=str)
def test_an_act_is_kept_with_its_gpu_by_uuid(act: dict[str, Any]) -> None:
    (one,) = read(act)
    kept = one.document()
    assert script.parse({"format": 1, "acts": [kept]}) == (one,)
    assert [*kept.values()][1:] == [
        UUIDS[value]
        if name in {"gpu", one.verb} and isinstance(value, int) and value < 2
        else value
        for name, value in [*act.items()][1:]
    ]


def test_yaml_is_read_like_json() -> None:
    acts = ("{after: 1.5, lost: 0}", "{look: 2, hang: GPU-b}", "{after: 1, gone: module}")
    text = "".join(["acts:\n", *(f"  - {act}\n" for act in acts)]).encode()
    known = script.parse(document.load(text, "a.yaml"), UUIDS)
    assert [(act.verb, act.after, act.look) for act in known] == [
        ("lost", 1.5, None),
        ("hang", None, 2),
        ("gone", 1.0, None),
    ]
    assert known[0].gpu == "GPU-a"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ({"after": 1, "lost": 2}, "expected a GPU, 0 to 1 or its UUID, found 2 at acts[0].lost"),
        ({"after": 1, "lost": "GPU-x"}, 'or its UUID, found "GPU-x" at acts[0].lost'),
        ({"after": 1, "lost": True}, "or its UUID, found True at acts[0].lost"),
        ({"after": 1}, "expected one of lost, hang, abort, back, xid, "),
        ({"after": 1, "lost": 0, "hang": 1}, "found lost and hang at acts[0]"),
        ({"lost": 0}, "expected after or look, found neither at acts[0]"),
        ({"after": 1, "look": 1, "lost": 0}, "found after and look at acts[0]"),
        (
            {"after": -1, "lost": 0},
            "expected seconds from 0 to 10000000, found -1 at acts[0].after",
        ),
        ({"after": "soon", "lost": 0}, "found 'soon' at acts[0].after"),
        ({"after": True, "lost": 0}, "found True at acts[0].after"),
        ({"after": float("nan"), "lost": 0}, "found nan at acts[0].after"),
        ({"look": 0, "lost": 0}, "expected a number from 1 to 10000000, found 0 at acts[0].look"),
        ({"after": 1, "xid": 79}, "xid needs gpu at acts[0]"),
        ({"after": 1, "partition": 0}, "partition needs mig at acts[0]"),
        ({"after": 1, "partition": 0, "mig": True}, "found true at acts[0].mig"),
        (
            {"after": 1, "partition": 0, "mig": [{"gi": 1}]},
            '"profile" is missing at acts[0].mig[0]',
        ),
        (
            {"after": 1, "partition": 0, "mig": [{"gi": 1, "profile": "1g.5gb", "uuid": "x"}]},
            "expected a UUID like MIG-1b2c",
        ),
        ({"after": 1, "lost": 0, "cuda": "12.4"}, "cuda does not belong to lost at acts[0].cuda"),
        ({"after": 1, "driver": "../.."}, 'found "../.." at acts[0].driver'),
        ({"after": 1, "gone": "all"}, 'expected module or driver, found "all" at acts[0].gone'),
        ({"after": 1, "explode": 0}, 'unknown field "explode" at acts[0]'),
        ("lost", "expected an object"),
    ],
)
def test_an_act_that_is_none_is_refused_with_its_place(act: object, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(act)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        ({"acts": [], "format": 2}, "expected 1: written by another version"),
        ({"acts": [], "formats": 1}, 'unknown field "formats"'),
        ({"format": 1}, 'the key "acts" is missing'),
        ({"acts": {}}, "expected a list, found an object"),
        ([], "expected an object, found a list"),
    ],
)
def test_a_document_that_is_no_script_is_refused(loaded: object, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        script.parse(loaded, UUIDS)


def test_a_gpu_has_the_last_ill_that_is_due() -> None:
    acts = read(
        {"after": 0, "lost": 0},
        {"look": 2, "back": 0},
        {"look": 2, "hang": 1},
        {"after": 100, "abort": 1},
    )
    now = time.time()
    seen = [
        script.ills(acts, script.Played(started=now - seconds, looks=looks))
        for seconds, looks in ((0, 1), (0, 2), (100, 3))
    ]
    assert seen == [{"GPU-a": "lost"}, {"GPU-b": "hang"}, {"GPU-b": "abort"}]
