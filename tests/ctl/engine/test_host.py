# SPDX-License-Identifier: Apache-2.0
"""This host's daemons: which process is one, and which one is meant."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from gpubind.errors import ToolkitError
from gpubind_ctl.engine.engine import Service
from gpubind_ctl.engine.host import ThisHost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = "gpubind-test-daemon"
SLEEP = "import sys; sys.stdout.write('up\\n'); sys.stdout.flush(); sys.stdin.read()"


@contextlib.contextmanager
def running(*words: str, program: str = PROGRAM) -> Iterator[int]:
    """Run a process under that name, with those words, and give its id."""
    with subprocess.Popen(
        [program, "-Ic", SLEEP, *words],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process.pid
        process.kill()


def found(pidfile: str = "", config: str = "") -> int | None:
    service = Service(program=PROGRAM, pidfiles=(pidfile,) if pidfile else ())
    daemon = ThisHost({}, config=config).running(service)
    return daemon.pid if daemon else None


def test_a_daemon_is_a_process_of_that_name() -> None:
    assert found() is None
    with running() as pid:
        assert found() == pid
    with running(program="/usr/sbin/" + PROGRAM) as pid:
        assert found() == pid
    with running(program=PROGRAM + "-other"):
        assert found() is None


@pytest.mark.parametrize("word", ["--version", "-v", "--help", "--validate"])
def test_a_program_that_is_asked_for_its_version_is_no_daemon(word: str) -> None:
    with running(word):
        assert found() is None


def test_a_daemon_of_another_process_namespace_is_not_meant(unshare: str) -> None:
    inner = f"import os; print('up', flush=True); os.execlp('sleep', '{PROGRAM}', '60')"
    words = [unshare, "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    program = [sys.executable, "-c", inner]
    with subprocess.Popen([*words, *program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        time.sleep(0.3)  # until it is the other program
        assert found() is None
        process.kill()


def test_of_several_the_pid_file_s_is_meant(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with running() as one, running() as two:
        for pid in (one, two):
            file.write_text(f"{pid}\n")
            assert found(str(file)) == pid
        file.write_text("1\n")
        with pytest.raises(ToolkitError, match=f"several {PROGRAM} are running, as processes"):
            found(str(file))


def test_of_several_the_one_that_names_the_file_is_meant() -> None:
    with running("--config=/a") as one, running("--config-file", "/b") as two, running() as bare:
        assert (found(config="/a"), found(config="/b")) == (one, two)
        assert found(config="/c") == bare
    with running("--config=/a"):
        assert found(config="/c") is None
