# SPDX-License-Identifier: Apache-2.0
"""daemon.json as hosts have it: all but our keys stays byte for byte, and a second run is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import engine_files
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpubind_ctl.engine import jsonreader, jsontext
from gpubind_ctl.engine.docker import Docker
from gpubind_ctl.engine.engine import File, Target, Wants

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = engine_files.cases("docker")
FILE = "/etc/docker/daemon.json"
WANTS = (
    Wants(),
    Wants(name="gpu", path="/opt/gpu runtime/\u00e4"),
    Wants(default=True),
    Wants(cdi=True),
    Wants(default=True, cdi=True),
    Wants(default=False, cdi=False),
)


def target(data: bytes | None, version: tuple[int, ...] = (27, 1, 0)) -> Target:
    return Target(main=FILE, files=(File(FILE, data),), how="for a test", version=version)


def after(data: bytes | None, wants: Wants) -> bytes:
    one, before = Docker(), target(data)
    edits = one.edit(before, wants)
    one.prove(before, edits, wants)
    new = before.after(edits).data(FILE)
    assert new is not None
    return new


def pairs(data: bytes) -> Any:
    """Give a document with its order, and with numbers as they are written; not our reader."""
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    asis: Callable[[str], str] = lambda word: f"number {word}"  # noqa: E731 - two uses below
    return json.loads(text, object_pairs_hook=list, parse_int=asis, parse_float=asis)


def without(document: Any, name: str) -> Any:
    """Give the document without what is ours, empty objects that held nothing else included."""
    kept = []
    for key, value in document:
        if key in ("runtimes", "features"):
            ours = name if key == "runtimes" else "cdi"
            rest = [pair for pair in value if pair[0] != ours]
            kept += [(key, rest)] if rest else []
        elif key != "default-runtime":
            kept.append((key, value))
    return kept


def bare(data: bytes) -> bytes:
    """Give a file with its empty objects written alike: what is between their braces is ours."""
    text, mark, encoding = jsonreader.decode(data, FILE)
    if text.strip() in ("", "{}") or not jsonreader.parse(text, FILE).members:
        return mark
    for key in ("runtimes", "features"):
        node = jsonreader.parse(text, FILE).at((key,))
        if node is not None and not node.members:
            text = text[: node.start] + "{}" + text[node.end :]
    return jsonreader.encode(text, mark, encoding)


def test_there_are_more_than_a_hundred_of_them() -> None:
    assert len(CASES) > 100
    assert len(set(CASES.values())) == len(CASES)


@pytest.mark.parametrize("wants", WANTS, ids=range(len(WANTS)))
@pytest.mark.parametrize("name", CASES)
def test_all_but_our_keys_means_what_it_meant_in_its_order(name: str, wants: Wants) -> None:
    old, new = pairs(CASES[name]), pairs(after(CASES[name], wants))
    assert without(new, wants.name) == without(old, wants.name)
    assert dict(dict(new)["runtimes"])[wants.name] == [("args", []), ("path", wants.path)]


@pytest.mark.parametrize("wants", WANTS, ids=range(len(WANTS)))
@pytest.mark.parametrize("name", CASES)
def test_the_file_minus_our_keys_is_the_file(name: str, wants: Wants) -> None:
    one, old = Docker(), target(CASES[name])
    new = old.after(one.edit(old, wants))
    back = new.after(one.remove(new, wants, one.former(old, wants))).data(FILE)
    assert back is not None
    assert bare(back) == bare(CASES[name])


@pytest.mark.parametrize("wants", WANTS, ids=range(len(WANTS)))
@pytest.mark.parametrize("name", CASES)
def test_a_second_run_changes_nothing(name: str, wants: Wants) -> None:
    assert Docker().edit(target(after(CASES[name], wants)), wants) == ()


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_taken_away(name: str) -> None:
    letters = iter(after(CASES[name], Wants()))
    missing = [letter for letter in bare(CASES[name]) if letter not in letters]
    assert missing == []


SPACE = st.text(alphabet=" \t\n", max_size=3)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    st.one_of(SCALARS, st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def spaced(draw: st.DrawFn) -> str:
    """Give an object written with any white space between its members."""
    members = draw(st.dictionaries(st.text("xyz", min_size=1, max_size=3), VALUES, max_size=4))
    words = [
        f"{draw(SPACE)}{json.dumps(key)}{draw(SPACE)}:{draw(SPACE)}"
        f"{json.dumps(value, indent=draw(st.sampled_from([None, 1, 2])))}{draw(SPACE)}"
        for key, value in members.items()
    ]
    return f"{draw(SPACE)}{{{','.join(words)}}}{draw(SPACE)}"


@given(text=spaced(), value=VALUES)
def test_a_key_comes_and_goes_in_any_text(text: str, value: Any) -> None:
    new = jsontext.changed(text, ("runtimes", "nvidia"), {"path": value}, FILE)
    assert json.loads(new) == {**json.loads(text), "runtimes": {"nvidia": {"path": value}}}
    assert jsontext.changed(new, ("runtimes", "nvidia"), {"path": value}, FILE) == new
    back = jsontext.removed(new, ("runtimes",), FILE)
    assert back == text or json.loads(text) == {} == json.loads(back)


@given(text=spaced(), first=VALUES, second=VALUES)
def test_a_key_changes_in_its_place(text: str, first: Any, second: Any) -> None:
    one = jsontext.changed(text, ("own",), first, FILE)
    two = jsontext.changed(one, ("own",), second, FILE)
    assert list(json.loads(two).items())[:-1] == list(json.loads(text).items())
    assert json.loads(two)["own"] == second
