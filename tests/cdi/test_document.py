# SPDX-License-Identifier: Apache-2.0
"""YAML and JSON in and out: nothing but DocumentError, nothing unbounded, nothing misread."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import cdidocs
import pytest
import yaml
from gpubind_cdi import document, emit
from gpubind_cdi.model import Spec
from hypothesis import given, settings
from hypothesis import strategies as st

from gpubind.errors import DocumentError

SMALL = settings(max_examples=150, deadline=None)
SCALARS = (
    st.text()
    | st.integers()
    | st.booleans()
    | st.sampled_from(
        [
            "0",
            "1:0",
            "on",
            "~",
            "null",
            "0.7.0",
            "1.10",
            "-",
            "--link",
            "a: b",
            "a #b",
            "a::b",
            ".inf",
        ]
    )
)
DOCUMENTS = st.dictionaries(
    st.text(),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    min_size=1,
)
PIECES = st.lists(
    st.sampled_from(
        [*"[]{}:,-?&*!|>'\"%@`#~ \n\t\\", "cdiVersion", "devices", "null", "---\n", "...\n", "\x85"]
    )
    | st.text(max_size=3),
    max_size=30,
).map("".join)


def fault(data: bytes, name: str) -> str:
    try:
        Spec.parse(document.load(data, name))
    except DocumentError as error:
        return str(error)
    return ""


@SMALL
@given(DOCUMENTS)
def test_what_is_written_is_read_the_same_by_every_reader(wanted: dict[str, Any]) -> None:
    data = document.dump(wanted, "yaml")
    assert yaml.safe_load(data) == wanted
    assert document.load(document.dump(wanted, "json"), "x.json") == wanted


@SMALL
@given(st.binary(max_size=200) | PIECES.map(str.encode), st.sampled_from(["x.yaml", "x.json", "-"]))
def test_loading_ends_in_a_value_or_a_document_error(data: bytes, name: str) -> None:
    assert fault(data, name).isprintable()


@SMALL
@given(st.sampled_from(cdidocs.good()), st.integers(min_value=0), st.binary(max_size=4))
def test_a_damaged_good_file_ends_in_a_value_or_a_document_error(
    name: str, place: int, damage: bytes
) -> None:
    data = bytearray(cdidocs.read("good", name))
    place %= len(data)
    data[place : place + len(damage)] = damage
    assert fault(bytes(data), name).isprintable()


def test_the_layout_is_the_field_s() -> None:
    spec = cdidocs.spec(
        cdidocs.device(
            "0", hooks=[{"hookName": "createContainer", "args": ["a", "--link", "b::c"]}]
        ),
        cdidocs.device("1:0", env=["A=b c", "ON=on", "B="]),
        annotations={},
    )
    assert document.dump(spec, "yaml").decode() == (
        "---\n"
        "cdiVersion: 0.5.0\n"
        "kind: nvidia.com/gpu\n"
        "devices:\n"
        '    - name: "0"\n'
        "      containerEdits:\n"
        "        hooks:\n"
        "            - hookName: createContainer\n"
        "              args:\n"
        "                - a\n"
        "                - --link\n"
        "                - b::c\n"
        '    - name: "1:0"\n'
        "      containerEdits:\n"
        "        env:\n"
        '            - "A=b c"\n'
        "            - ON=on\n"
        "            - B=\n"
        "annotations: {}\n"
    )


def test_json_is_one_line() -> None:
    assert document.dump({"a": ["é", 1, True]}, "json") == '{"a":["é",1,true]}\n'.encode()


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_file_name_with_stray_bytes_cannot_be_written(form: str) -> None:
    with pytest.raises(DocumentError, match=r"a text is not UTF-8 .*lib\\udcff'"):
        document.dump({"hostPath": "/usr/lib\udcff/x"}, form)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(DocumentError, match='unknown format "xml": yaml or json'):
        document.dump({}, "xml")


@pytest.mark.parametrize("value", [1.5, None, b"x"])
def test_a_value_without_a_place_in_cdi_is_a_defect(value: object) -> None:
    if value is None:
        assert emit.scalar(value) == "null"
        return
    with pytest.raises(TypeError):
        emit.scalar(value)


@pytest.mark.parametrize(
    ("name", "data", "is_json"),
    [
        ("x.json", "a: 1", True),
        ("x.yaml", "{}", False),
        ("x.yml", "{}", False),
        ("-", " {}", True),
        ("-", "---", False),
    ],
)
def test_the_ending_says_the_format_else_the_first_brace(
    name: str, data: str, *, is_json: bool
) -> None:
    assert document.is_json(name, data) is is_json


BLOCK = b"".join(b" " * depth + b"-\n" for depth in range(2000))
BOMBS = {
    "deep list": (b"[" * 1_000_000, "x.yaml", "nested deeper than 32"),
    "deep object": (b'{"a":' * 1_000_000, "x.json", "nested deeper than 32"),
    "closed list": (b"[" * 33 + b"]" * 33, "x.json", "nested deeper than 32"),
    "closed list of YAML": (b"[" * 33 + b"]" * 33, "x.yaml", "nested deeper than 32"),
    "deep block": (BLOCK, "x.yaml", "nested deeper than 32"),
    "many nodes": (b"- \n" * 4_000_000, "x.yaml", "more than 250000 nodes"),
    "many keys": (
        b"".join(b"k%d:\n" % number for number in range(500_000)),
        "x.yaml",
        "more than 250000 nodes",
    ),
    "many equal keys": (b"{" + b'"a":1,' * 500_000 + b'"a":1}', "x.json", "stands twice"),
    "many anchors": (b"- &a x\n" * 100_000, "x.yaml", "anchors and aliases are refused"),
    "many documents": (b"--- a\n" * 1_000_000, "x.yaml", "more than one document"),
    "too large": (b"a" * (document.MAX_SIZE + 1), "x.yaml", "larger than 16 MiB"),
    "long key": (b"? " + b"a" * 4_000_000, "x.yaml", 'unknown field "aaa'),
    "long quoted": (b'"' + b"\\n" * 2_000_000, "x.yaml", "not YAML"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_soon(kind: str) -> None:
    data, name, message = BOMBS[kind]
    start = time.process_time()
    with pytest.raises(DocumentError, match=message):
        Spec.parse(document.load(data, name))
    assert time.process_time() - start < 5  # seconds; each takes well under one


@pytest.mark.parametrize("name", ["x.json", "x.yaml"])
def test_the_deepest_that_is_taken_is_32(name: str) -> None:
    assert document.load(b"[" * 32 + b"1" + b"]" * 32, name)


def test_our_own_files_get_their_types() -> None:
    data = b'{a: true, b: "true", c: [12, "12", 1.5, -], d: {e: ~}}'
    assert document.settled(document.load(data, "x.yaml")) == {
        "a": True,
        "b": "true",
        "c": [12, "12", "1.5", "-"],
        "d": {"e": None},
    }


def test_writing_a_large_spec_needs_no_yaml_and_little_time() -> None:
    nodes = [{"path": f"/dev/nvidia{index}", "major": 195} for index in range(12)]
    many = [cdidocs.device(str(index), deviceNodes=nodes) for index in range(30)]
    program = (
        "import sys\n"
        "from gpubind_cdi import document\n"
        "from gpubind_cdi.model import Spec\n"
        "import time\n"
        f"spec = Spec.parse({cdidocs.spec(*many)!r})\n"
        "start = time.process_time()\n"
        "document.dump(spec.document(), 'yaml')\n"
        "print(time.process_time() - start, 'yaml' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    seconds, loaded = told.stdout.decode().split()
    assert (float(seconds) < 0.2, loaded) == (True, "False")  # 4 ms on two quiet cores


LINES = b"""# a comment
cdiVersion: 0.5.0
kind: a/b
devices:
- name: x
  containerEdits:
    env:
    - A=1

    - |
      B
      C
- {name: y, containerEdits: {env: [A=1,
     B=2]}}
"""


def test_each_part_has_the_line_it_begins_at() -> None:
    known = document.lines(LINES)
    wanted = {
        "cdiVersion": 2,
        "devices[0]": 5,
        "devices[0].containerEdits": 6,
        "devices[0].containerEdits.env[1]": 10,
        "devices[1].name": 13,
        "devices[1].containerEdits.env[1]": 14,
    }
    assert {place: known[place] for place in wanted} == wanted


@pytest.mark.parametrize("name", [name for name in cdidocs.good() if "everything" in name])
def test_json_has_lines_too(name: str) -> None:
    data = cdidocs.read("good", name)
    wanted = len(data[: data.index(b"closID")].decode().splitlines())
    assert document.lines(data)["devices[0].containerEdits.intelRdt.closID"] == wanted


@pytest.mark.parametrize(
    ("place", "line"),
    [("devices[0].containerEdits.mounts[3].x", 6), ("devices[0].nmae", 5), ("containerEdits", 2)],
)
def test_what_is_missing_has_the_line_of_what_is_around_it(place: str, line: int) -> None:
    assert document.line_of(place, document.lines(LINES)) == line


@pytest.mark.parametrize("data", [b"", b"[", b"\0", b'{"a": "\\ud83d\\ude00", "b": 1}', b"\xff"])
def test_lines_of_what_cannot_be_read_are_few_and_no_error(data: bytes) -> None:
    try:
        assert document.line_of("b", document.lines(data)) in {0, 1}
    except DocumentError as error:
        assert data in {b"", b"\xff"}, error  # noqa: PT017 - both are fine
