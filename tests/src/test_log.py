# SPDX-License-Identifier: Apache-2.0
"""One line to the operator, and to the file the engine reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import checkout
import pytest
import trees

from gpubind.log import Log
from gpubind.oci import args

if TYPE_CHECKING:
    from pathlib import Path

ODD = 'a "b" \\ \n\x1b[31m \udcff é'
TOLD = 'a "b" \\ \\n\\x1b[31m \\udcff é'


def log(file: str, form: str = "text") -> Log:
    made = Log("prog")
    made.follow(args.parse(["--log", file, "--log-format", form, "create"]))
    return made


def test_an_error_and_a_note_are_told_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    Log("prog").fail("broken [A-B]")
    Log("prog").note("left out")
    assert capfd.readouterr() == ("", "prog: broken [A-B]\nprog: warning: left out\n")


def test_what_others_named_stays_on_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    Log("prog").fail(ODD)
    assert capfd.readouterr().err == f"prog: {TOLD}\n"


def test_the_engines_file_has_a_line_of_json(tmp_path: Path) -> None:
    file = f"{tmp_path}/log"
    log(file, "json").fail(ODD)
    log(file, "json").note("left out")
    with open(file, encoding="utf-8") as stream:
        lines = [json.loads(line) for line in stream]
    assert [(line["level"], line["msg"]) for line in lines] == [
        ("error", f"prog: {TOLD}"),
        ("warning", "prog: left out"),
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lines[0]["time"])


def test_the_engines_file_has_a_line_of_text(tmp_path: Path) -> None:
    log(f"{tmp_path}/log").fail('a "b"')
    text = (tmp_path / "log").read_text()
    assert re.fullmatch(r'time="[-0-9T:]+Z" level=error msg="prog: a \\"b\\""\n', text)


def test_what_the_runtime_wrote_before_stays(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/log": "before\n"})
    log(f"{tmp_path}/log").fail("x")
    assert (tmp_path / "log").read_text().startswith("before\ntime=")


@pytest.mark.parametrize(
    "tree", [{"/log": trees.FOLDER}, {"/log": trees.FIFO}, {"/log": "-> /absent/x"}]
)
def test_a_file_that_cannot_be_written_fails_nothing(
    tmp_path: Path, tree: trees.Tree, capfd: pytest.CaptureFixture[str]
) -> None:
    trees.build(tmp_path, tree)
    log(f"{tmp_path}/log").fail("x")
    assert capfd.readouterr().err == "prog: x\n"


def test_a_full_file_fails_nothing() -> None:
    log("/dev/full").fail("x")
    assert os.path.exists("/dev/full")


def test_a_closed_stderr_fails_nothing(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {checkout.ROOT + '/src'!r})\n"
        "from gpubind.log import Log\n"
        "Log('prog').fail('x')\n"
        f"open({str(tmp_path / 'done')!r}, 'w')\n"
    )
    words = ["/bin/sh", "-c", 'exec /usr/bin/python3 -IS -c "$0" 2>&-', program]
    assert subprocess.run(words, check=False).returncode == 0
    assert (tmp_path / "done").exists()


def test_the_operators_own_file_has_the_lines_too(tmp_path: Path) -> None:
    made = log(f"{tmp_path}/engine", "json")
    made.keep(f"{tmp_path}/new/folder/own.log", "info", debug=False)
    made.note("left out")
    made.detail("not this one")
    assert json.loads((tmp_path / "engine").read_text())["msg"] == "prog: left out"
    own = (tmp_path / "new/folder/own.log").read_text()
    assert re.fullmatch(r'time="[-0-9T:]+Z" level=warning msg="prog: left out"\n', own)


@pytest.mark.parametrize(
    ("level", "debug", "kept"),
    [
        ("error", False, ["error"]),
        ("warn", False, ["error", "warning"]),
        ("info", False, ["error", "warning"]),
        ("debug", False, ["error", "warning", "debug"]),
        ("error", True, ["error", "warning", "debug"]),
        ("bogus", False, ["error", "warning"]),
    ],
)
def test_a_level_says_what_files_have(
    tmp_path: Path,
    *,
    level: str,
    debug: bool,
    kept: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    made = Log("prog")
    made.keep(f"{tmp_path}/own", level, debug=debug)
    made.fail("a")
    made.note("b")
    made.detail("c")
    assert re.findall(r"level=(\w+)", (tmp_path / "own").read_text()) == kept
    assert capfd.readouterr().err == "prog: a\nprog: warning: b\n"


@pytest.mark.parametrize("own", ["", "/dev/null", "/proc/1/x/y", "/dev/full"])
def test_an_own_file_that_cannot_be_had_fails_nothing(own: str) -> None:
    made = Log("prog")
    made.keep(own, "trace", debug=False)
    made.fail("x")
