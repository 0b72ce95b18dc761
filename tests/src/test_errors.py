# SPDX-License-Identifier: Apache-2.0
"""Errors: one line, an ID, an exit status."""

from __future__ import annotations

import pytest

from gpubind import errors


def test_an_error_says_what_what_to_do_and_its_id() -> None:
    error = errors.ToolkitError("a is b", identifier="A-B", hint="make it c")
    assert str(error) == "a is b; make it c [A-B]"


def test_an_error_without_a_hint_ends_with_its_id() -> None:
    assert str(errors.ToolkitError("a is b", identifier="A-B")) == "a is b [A-B]"


def test_a_document_error_gathers_its_place_from_the_inside_out() -> None:
    error = errors.DocumentError("expected text", path="hostPath").under("mounts[1]").under("edits")
    assert str(error.of("/etc/cdi/a.yaml")) == (
        "/etc/cdi/a.yaml: expected text at edits.mounts[1].hostPath [DOC-INVALID]"
    )


def test_an_index_needs_no_dot_before_it() -> None:
    assert errors.DocumentError("x", path="[3]").under("env").path == "env[3]"


def test_a_place_that_begins_here_has_no_dot() -> None:
    assert errors.DocumentError("x").under("env").path == "env"


@pytest.mark.parametrize(
    ("kind", "status"),
    [(errors.ToolkitError, 1), (errors.UsageError, 2), (errors.PartialError, 3)],
)
def test_each_error_has_its_status(kind: type[errors.ToolkitError], status: int) -> None:
    assert kind("x", identifier="X-Y").status == status


def test_an_escape_names_path_and_root() -> None:
    assert str(errors.RootEscapeError("/a-b/x", "/a")) == "/a-b/x is not under /a [ROOT-ESCAPE]"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plain é", "plain é"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), "\\udcff\\udcfe"),
        ("\u202eturned", "\\u202eturned"),
    ],
)
def test_what_others_named_is_told_on_one_line(text: str, told: str) -> None:
    assert errors.printable(text) == told


def test_a_message_with_a_newline_stays_one_line() -> None:
    error = errors.DocumentError("x\ny", path="a\nb", file="c\nd")
    assert str(error).splitlines() == [str(error)]
