# SPDX-License-Identifier: Apache-2.0
"""Unquoted YAML that engines read as another text; the wanted texts are those of Go's strconv."""

from __future__ import annotations

import cdidocs
import pytest
from gpubind_cdi import document, traps
from gpubind_cdi.model import Spec
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("on", "true"),
        ("Off", "false"),
        ("y", "true"),
        ("N", "false"),
        ("1.10", "1.1"),
        ("0x10", "16"),
        ("010", "8"),
        ("08", "8"),
        ("0o17", "15"),
        ("0b11", "3"),
        ("+5", "5"),
        ("1_000", "1000"),
        ("1e3", "1000"),
        ("1e6", "1e+06"),
        ("1234567.5", "1.2345675e+06"),
        ("0.1", "0.1"),
        (".5", "0.5"),
        ("1.", "1"),
        ("0.00001", "1e-05"),
        ("16777217.0", "1.6777216e+07"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "1.8446744e+19"),
        ("1e39", "+Inf"),
        ("-.inf", "-Inf"),
        (".nan", "NaN"),
    ],
)
def test_engines_read_another_text(written: str, read: str) -> None:
    assert traps.text(written) == read


@pytest.mark.parametrize(
    "word", ["0", "1:0", "2024-01-01", "gpu0", "1e999", "_1", "-", "+", ".", "0x", "1.2.3", "٣", ""]
)
def test_the_rest_is_read_as_it_is_written(word: str) -> None:
    assert traps.text(word) == word


def test_each_such_text_of_a_spec_is_named_with_its_place() -> None:
    name = "names-that-look-like-numbers.yaml"
    found = traps.found(document.load(cdidocs.read("good", name), name))
    assert [fault.path for fault in found] == [f"devices[{index}].name" for index in (2, 3, 4, 5)]
    assert found[0].message == 'engines read the unquoted "on" as "true": put it in quotes'


def test_numbers_are_numbers_in_all_spellings() -> None:
    name = "numbers-in-all-spellings.yaml"
    assert traps.found(document.load(cdidocs.read("good", name), name)) == []


@pytest.mark.parametrize("loaded", [None, [], {"kind": []}, {"devices": [3]}])
def test_what_is_no_spec_has_no_traps(loaded: object) -> None:
    assert traps.found(loaded) == []


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text("0123456789+-._eExXoObByYnNaAiIfF", max_size=12))
def test_what_engines_read_they_read_the_same_again(word: str) -> None:
    read = traps.text(word)
    assert traps.text(read) == read


@pytest.mark.parametrize("name", cdidocs.good())
def test_what_we_write_has_no_traps(name: str) -> None:
    spec = Spec.parse(document.load(cdidocs.read("good", name), name))
    again = document.dump(spec.document(), "yaml")
    assert traps.found(document.load(again, "x.yaml")) == []
