# SPDX-License-Identifier: Apache-2.0
"""A document that is no spec tells its broken rules too, and none that only its gaps break."""

from __future__ import annotations

from typing import Any

import cdidocs
import pytest
from fuzz import inputs
from fuzz_targets import TARGETS
from gpubind_cdi import document, salvage, schema
from gpubind_cdi.model import Spec
from hypothesis import given, settings

from gpubind.errors import DocumentError


def told(loaded: Any) -> list[str]:
    """Give the places of what is found beside the faults of the structure."""
    with pytest.raises(DocumentError) as caught:
        Spec.parse(loaded)
    structure = schema.problems(loaded) or [caught.value]
    return [fault.path for fault in salvage.problems(loaded, structure)]


def spec(*devices: Any, **more: Any) -> dict[str, Any]:
    twice = (cdidocs.device("same"), cdidocs.device("same"))
    return cdidocs.spec(*twice, *devices, **more)


@pytest.mark.parametrize(
    "more",
    [
        {"hooks": []},
        {"annotations": {"a.b/c": 3}},
        {"containerEdits": {"env": 3}},
        {"containerEdits": {"mounts": [{"hostPath": 1, "nmae": 2}], "env": ["A=1"]}},
        {"containerEdits": {"env": ["A=1", 3]}},
        {"containerEdits": []},
    ],
)
def test_a_broken_rule_is_told_beside_a_broken_structure(more: dict[str, Any]) -> None:
    assert told(spec(**more)) == ["devices[1].name"]


def test_what_was_taken_away_is_not_told_again() -> None:
    assert told({"cdiVersion": "0.5.0", "kind": "ab/cd", "devices": 3}) == []
    assert told({"cdiVersion": 3, "kind": "ab/cd", "devices": [cdidocs.device()]}) == []
    assert told(spec({"name": "x", "containerEdits": 3})) == ["devices[1].name"]


def test_several_gaps_leave_the_rest_to_be_looked_at() -> None:
    first = {"name": "-", "nmae": 1, "containerEdits": {"env": ["A"], "mounts": 3}}
    loaded = cdidocs.spec(first, cdiVersion="9.9", hooks=[])
    assert told(loaded) == []  # the schema has told all these
    assert told(cdidocs.spec(first, cdiVersion="0.3.0", kind="a.b/c.d")) == ["cdiVersion"]


@pytest.mark.parametrize("loaded", [None, 3, [], "x", [[]]])
def test_nothing_is_left_of_what_is_no_object(loaded: Any) -> None:
    assert told(loaded) == []


def test_a_huge_document_with_many_faults_is_not_read_for_ever() -> None:
    devices = [{"name": "x", "containerEdits": {"env": [3]}} for _ in range(4000)]
    few = [{"name": "x", "containerEdits": {"env": [3]}} for _ in range(40)]
    assert salvage.problems(cdidocs.spec(*devices), []) == []
    assert len(salvage.problems(cdidocs.spec(*few), [])) == 39


def test_the_document_is_left_as_it_is() -> None:
    loaded = spec(hooks=[])
    told(loaded)
    assert loaded == spec(hooks=[])


@settings(max_examples=300)
@given(inputs(TARGETS["cdi"]))
def test_any_document_is_looked_at_without_an_error(data: bytes) -> None:
    try:
        loaded = document.load(data, "x.yaml")
    except DocumentError:
        return
    assert all(fault.message for fault in salvage.problems(loaded, []))
