# SPDX-License-Identifier: Apache-2.0
"""The `gpubind` command itself: loads what it needs, tells in one line, ends as it should."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from command_line import PROGRAM, gpubind

from gpubind import VERSION


def loaded(*words: str) -> set[str]:
    """Give the top packages that a command line imports."""
    done = subprocess.run(
        [PROGRAM[0], "-X", "importtime", *PROGRAM[1:], *words],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    return {row.partition(".")[0] for row in rows}


def test_the_version_is_the_packages() -> None:
    outcome = gpubind("--version")
    assert (outcome.status, outcome.out, outcome.err) == (0, f"gpubind {VERSION}\n", "")


def test_help_names_every_command() -> None:
    outcome = gpubind("--help")
    listed = [line.split()[0] for line in outcome.out.partition("Commands:\n")[2].splitlines()]
    assert outcome.status == 0
    assert {"cdi", "info", "explain", "simulate"} <= set(listed)


def test_a_command_loads_only_what_it_uses() -> None:
    costly = {"jsonschema", "pynvml", "elftools", "tomlkit", "yaml", "gpubind_cdi"}
    assert loaded("--version") & costly == set()
    assert loaded("simulate", "--list") & costly == set()
    assert loaded("cdi", "list", "--spec-dir", "/nowhere") & costly <= {"gpubind_cdi", "yaml"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "Missing command; see 'gpubind --help'"),
        (["cdi"], "Missing command; see 'gpubind cdi --help'"),
        (["bogus"], "No such command 'bogus'; see 'gpubind --help'"),
        (["cdi", "bogus"], "No such command 'bogus'; see 'gpubind cdi --help'"),
        (["explain"], "Missing option '--bundle'; see 'gpubind explain --help'"),
        (["cdi", "validate"], "Missing argument 'FILE...'; see 'gpubind cdi validate --help'"),
        (["info", "extra\nline"], "Got unexpected extra argument (extra line)"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(words: list[str], complaint: str) -> None:
    outcome = gpubind(*words)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(f"gpubind: {complaint}")
    assert outcome.err.endswith("[USE-COMMAND]\n")


def test_an_unreadable_file_is_one_line_that_names_it() -> None:
    outcome = gpubind("cdi", "validate", "/nowhere/x.yaml")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == "gpubind: /nowhere/x.yaml: No such file or directory [SYS-REFUSED]\n"


def test_a_name_with_a_newline_stays_on_one_line() -> None:
    outcome = gpubind("cdi", "validate", "/nowhere/x\n\x1b[31my")
    assert outcome.err == (
        "gpubind: /nowhere/x\\n\\x1b[31my: No such file or directory [SYS-REFUSED]\n"
    )


@pytest.mark.parametrize("words", ["simulate --list", "--help", "cdi validate --help"])
def test_a_full_disk_is_told(words: str) -> None:
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run(
            [*PROGRAM, *words.split()], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert done.stderr.endswith(b": No space left on device [SYS-REFUSED]\n")


@pytest.mark.parametrize(
    ("closed", "words", "status", "said"),
    [
        (">&-", "simulate --list", 1, "standard output: Bad file descriptor [SYS-REFUSED]\n"),
        (">&-", "cdi list --spec-dir /gone", 0, "gpubind: Found 0 CDI devices\n"),
        ("<&-", "cdi validate -", 1, "Bad file descriptor [SYS-REFUSED]\n"),
        ("<&- >&-", "simulate --list", 1, "output: Bad file descriptor [SYS-REFUSED]\n"),
        ("2>&-", "cdi validate /gone", 1, ""),
        ("<&- >&- 2>&-", "cdi validate /gone", 1, ""),
    ],
)
def test_a_closed_stream_is_an_error_only_where_it_is_used(
    closed: str, words: str, status: int, said: str
) -> None:
    shell = ["/bin/sh", "-c", f'"$@" {closed}', "sh", *PROGRAM, *words.split()]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[-len(said) :] if said else done.stderr) == (status, said)
    assert done.stderr.count("\n") == bool(said)


def test_a_reader_that_goes_away_is_no_error_to_tell() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PROGRAM, "simulate", "--list"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_interrupt_ends_quietly() -> None:
    # a job in the background inherits that SIGINT is ignored
    words = ["/usr/bin/env", "--default-signal=INT", *PROGRAM]
    words += ["cdi", "transform", "root", "--from", "/a", "--to", "/b"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        process.stdin.write(b" " * (1 << 18))  # more than a pipe holds: done means it reads
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, b"")
