# SPDX-License-Identifier: Apache-2.0
"""One line to the system's log: a real socket listens, or nobody does."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from typing import TYPE_CHECKING

import checkout
import pytest
import trees

from gpubind import journal
from gpubind.log import Log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from installed import Prefix

STAMP = r"[A-Z][a-z]{2} [ 123]\d \d\d:\d\d:\d\d"
ABSENT = "/proc/none"


@contextlib.contextmanager
def listening(place: Path, name: str = "socket") -> Iterator[socket.socket]:
    """Listen at a path that is short enough for a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(os.fspath(place / name))
        made.setblocking(False)
        yield made


def heard(listener: socket.socket) -> list[str]:
    """Give all that has been said."""
    told = []
    with contextlib.suppress(BlockingIOError):
        while True:
            told.append(listener.recv(1 << 18).decode())
    return told


def test_the_journal_gets_what_stderr_gets(tmp_path: Path) -> None:
    with listening(tmp_path) as listener:
        log = Log("prog", f"{tmp_path}/socket", ABSENT)
        log.keep("", "error", debug=False)
        log.fail("broken [A-B]")
        log.note("left out")
        log.detail("not this one")
        assert heard(listener) == [
            "PRIORITY=3\nSYSLOG_IDENTIFIER=prog\nMESSAGE=broken [A-B]\n",
            "PRIORITY=4\nSYSLOG_IDENTIFIER=prog\nMESSAGE=left out\n",
        ]


def test_a_line_stays_a_line_and_makes_no_field_of_its_own(tmp_path: Path) -> None:
    with listening(tmp_path) as listener:
        Log("prog", f"{tmp_path}/socket").fail("a\nPRIORITY=0\n\x1b[31m \udcff é")
        assert heard(listener) == [
            "PRIORITY=3\nSYSLOG_IDENTIFIER=prog\nMESSAGE=a\\nPRIORITY=0\\n\\x1b[31m \\udcff é\n"
        ]


def test_without_a_journal_the_syslog_daemon_gets_it(tmp_path: Path) -> None:
    with listening(tmp_path) as listener:
        Log("prog", ABSENT, f"{tmp_path}/socket").note("left out")
        (told,) = heard(listener)
        assert re.fullmatch(rf"<28>{STAMP} prog\[{os.getpid()}\]: left out", told)


def test_with_a_journal_the_syslog_daemon_gets_nothing(tmp_path: Path) -> None:
    with listening(tmp_path, "a") as first, listening(tmp_path, "b") as second:
        Log("prog", f"{tmp_path}/a", f"{tmp_path}/b").fail("x")
        assert (len(heard(first)), heard(second)) == (1, [])


def test_a_full_journal_is_not_waited_for(tmp_path: Path) -> None:
    with listening(tmp_path, "a") as first, listening(tmp_path, "b") as second:
        for _ in range(600):  # net.unix.max_dgram_qlen is 512 at most by default
            journal.tell("prog", "error", "x", f"{tmp_path}/a", f"{tmp_path}/b")
        assert 0 < len(heard(first)) < 600
        assert heard(second) == []


def test_a_very_long_line_is_cut(tmp_path: Path) -> None:
    with listening(tmp_path) as listener:
        journal.tell("prog", "error", "é" * 1_000_000, f"{tmp_path}/socket")
        (told,) = heard(listener)
        assert told.count("é") == 8000


@pytest.mark.parametrize("thing", [trees.SOCKET, trees.FIFO, trees.FOLDER, "a file", "-> socket"])
def test_where_nobody_listens_nothing_fails(
    tmp_path: Path, thing: trees.Special | str, capfd: pytest.CaptureFixture[str]
) -> None:
    trees.build(tmp_path, {"/socket": thing})
    Log("prog", f"{tmp_path}/socket", f"{tmp_path}/socket").fail("x")
    assert capfd.readouterr().err == "prog: x\n"


@pytest.mark.parametrize("path", ["", "/x" * 200, ABSENT, "/proc/1/root/x/y"])
def test_a_place_that_cannot_be_fails_nothing(path: str) -> None:
    journal.tell("prog", "warning", "x", path, path)
    assert not os.path.exists(ABSENT)


def test_without_sockets_nothing_fails() -> None:
    program = (
        f"import sys; sys.path.insert(0, {checkout.ROOT + '/src'!r})\n"
        "sys.modules['_socket'] = None\n"
        "from gpubind.log import Log\n"
        "Log('prog').fail('x')\n"
    )
    words = ["/usr/bin/python3", "-IS", "-c", program]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "prog: x\n")


@pytest.mark.parametrize(
    ("launcher", "words"),
    [
        ("gpubind-runtime", ["create", "--bundle", "/proc/none", "name"]),
        ("gpubind-cdi-hook", ["create-symlinks", "--link", "x"]),
        ("gpubind-runtime-hook", ["nonsense"]),
    ],
)
def test_every_launcher_tells_the_system(prefix: Prefix, launcher: str, words: list[str]) -> None:
    prefix.runtime()
    program = f"{prefix.path}/bin/{launcher}"
    told = subprocess.run(
        ["/usr/bin/python3", "-IS", "-X", "importtime", program, *words],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": f"{prefix.path}/runtimes"},
    )
    loaded = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert told.returncode != 0
    assert {"gpubind.journal", "_socket"} <= loaded
    assert not {"socket", "selectors", "enum"} & loaded
