# SPDX-License-Identifier: Apache-2.0
"""JSON without the json package: the same values, and an error with its line."""

from __future__ import annotations

import json
import subprocess
import sys

import checkout
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpubind.errors import DocumentError
from gpubind.oci import codec

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_is_read_back_by_anybody(value: object) -> None:
    assert codec.decode(codec.encode(value), "x") == json.loads(codec.encode(value)) == value


@given(VALUES)
def test_what_others_wrote_is_read(value: object) -> None:
    assert codec.decode(json.dumps(value, indent=2).encode(), "x") == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_an_error_of_ours(data: bytes) -> None:
    try:
        codec.decode(data, "x")
    except DocumentError as error:
        assert str(error).startswith("x: ")  # noqa: PT017 - either is right


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b" \t\r\n{}\n", {}),
        (b'{"a":{"b":[1,2.5,true,null]}}', {"a": {"b": [1, 2.5, True, None]}}),
        (b"18446744073709551615", 18446744073709551615),
        (b'"\\u00e9\\n\xc3\xa9"', "é\né"),
        (b'{"a":1,"A":2}', {"a": 1, "A": 2}),
        (b"[" * 500 + b"]" * 500, None),
    ],
)
def test_a_document_is_read(data: bytes, value: object) -> None:
    assert value is None or codec.decode(data, "x") == value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"{", "broken JSON: Expecting property name"),
        (b'{"a":\n\n}', "broken JSON: Expecting value: line 3"),
        (b'{"a":1,}', "broken JSON: "),
        (b'{"a" 1}', "broken JSON: Expecting ':' delimiter"),
        (b"{'a':1}", "broken JSON: "),
        (b'"a\nb"', "broken JSON: Invalid control character"),
        (b'"\\x"', "broken JSON: Invalid \\escape"),
        (b"tru", "broken JSON: "),
        (b"-", "broken JSON: "),
        (b"01", "text after the end of the document, line 1"),
        (b"{}\n\n{}", "text after the end of the document, line 1"),
        (b"{} x", "text after the end of the document, line 1"),
        (b'{"a":1,"a":2}', "duplicate key 'a'"),
        (b'[{"a":{"b":1,"b":2}}]', "duplicate key 'b'"),
        (b"NaN", "NaN is no JSON number"),
        (b"[-Infinity]", "-Infinity is no JSON number"),
        (b'{"a":Infinity}', "Infinity is no JSON number"),
        (b"\xff{}", "byte 0 is not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "byte 6 is not UTF-8"),
        (b"\xef\xbb\xbf{}", "broken JSON: Unexpected UTF-8 BOM"),
        ("{}".encode("utf-16"), "byte 0 is not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"9" * 5000, "broken JSON: "),
    ],
)
def test_a_bad_document_is_told_with_its_file(data: bytes, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        codec.decode(data, "/b/config.json")
    assert str(caught.value).startswith(f"/b/config.json: {message}")
    assert len(str(caught.value).splitlines()) == 1


def deep() -> list[object]:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), object(), b"bytes", {"a": {1, 2}}, "\ud800", deep()],
    ids=["nan", "inf", "object", "bytes", "set", "surrogate", "deep"],
)
def test_what_json_has_no_form_for_is_an_error(value: object) -> None:
    with pytest.raises(DocumentError, match="not to be written as JSON"):
        codec.encode(value)


def test_the_output_is_compact_utf_8_with_one_newline() -> None:
    assert codec.encode({"a": [1, "é"]}) == '{"a":[1,"é"]}\n'.encode()


OTHER = """
import sys
sys.path.insert(0, {src!r})
import _json
{gone}
from gpubind.errors import DocumentError
from gpubind.oci import codec
assert codec.decode(b' {{"a":[1,"x"]}} ', "f") == {{"a": [1, "x"]}}
for bad in (b'{{"a":1,"a":2}}', b"NaN", b"{{", b"{{}} x", b""):
    try:
        codec.decode(bad, "f")
    except DocumentError as error:
        print(str(error).partition(" [")[0])
print(codec.encode({{"a": [1, "\\u00e9"]}}).decode(), end="")
for bad in (float("nan"), object()):
    try:
        codec.encode(bad)
    except DocumentError:
        print("refused")
"""
CHANGES = {
    "none": "",
    "absent": "del _json.make_scanner, _json.make_encoder",
    "another signature": "import json; _json.make_scanner = _json.make_encoder = lambda: None",
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_interpreters_private_module_makes_no_difference(change: str) -> None:
    program = OTHER.format(src=f"{checkout.ROOT}/src", gone=CHANGES[change])
    start = ["/usr/bin/python3", "-IS"] if change == "none" else [sys.executable]
    words = [*start, "-X", "utf8", "-c", program]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "f: duplicate key 'a'",
        "f: NaN is no JSON number",
        "f: broken JSON: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
        "f: text after the end of the document, line 1",
        "f: the file is empty",
        '{"a":[1,"é"]}',
        "refused",
        "refused",
    ]
