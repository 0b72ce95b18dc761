# SPDX-License-Identifier: Apache-2.0
"""Writing an engine's file: killed, refused or raced, it is the old one or the new one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import checkout
import pytest
import trees
from engine_runs import BARE, OURS, configure, leftovers, runtime

if TYPE_CHECKING:
    from pathlib import Path

STRACE = shutil.which("strace")
DRIVER = os.path.join(checkout.ROOT, "tests", "engine_driver.py")
CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)")
ENV = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


def drive(verb: str, place: Path, inject: str = "") -> tuple[int, list[str]]:
    """Run the driver under strace; give its exit status and its system calls."""
    log = place.parent / "strace.log"
    words = [STRACE or "", "-o", str(log), *(["-e", f"inject={inject}"] if inject else [])]
    program = [sys.executable, "-B", DRIVER, verb, str(place)]
    done = subprocess.run([*words, *program], env=ENV, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    with open(log, encoding="utf-8", errors="replace") as file:
        return done.returncode, file.read().splitlines()


def points(lines: list[str]) -> list[str]:
    """Give each system call from the first temporary file on, as `name:when=n` for strace."""
    counts: dict[str, int] = {}
    found: list[str] = []
    begun = False
    for line in lines:
        if match := CALL.match(line):
            name = match[1]
            counts[name] = counts.get(name, 0) + 1
            begun = begun or (name == "openat" and ".tmp" in match[2])
            if begun and name not in ("exit_group", "munmap", "brk", "mmap", "rt_sigaction"):
                found.append(f"{name}:{{}}:when={counts[name]}")
    return found


def fresh(place: Path, text: bytes = BARE) -> Path:
    """Give a folder with a daemon.json and nothing else."""
    shutil.rmtree(place, ignore_errors=True)
    trees.build(place, {"/daemon.json": text})
    return place


@needs_strace
def test_row27_killed_at_every_system_call_it_is_the_old_file_or_the_new(tmp_path: Path) -> None:
    place = tmp_path / "place"
    kills = points(drive("configure", fresh(place))[1])
    assert len(kills) > 30
    seen = set()
    for kill in kills:
        status, _ = drive("configure", fresh(place), kill.format("signal=KILL"))
        data = (place / "daemon.json").read_bytes()
        assert (kill, data in (BARE, OURS)) == (kill, True)
        assert (kill, status in (0, -9, 137)) == (kill, True)
        seen.add(data)
        assert drive("configure", place)[0] == 0
        assert (kill, (place / "daemon.json").read_bytes(), leftovers(place)) == (kill, OURS, [])
        assert drive("unconfigure", place)[0] == 0
        assert (kill, (place / "daemon.json").read_bytes()) == (kill, BARE)
    assert seen == {BARE, OURS}


@needs_strace
def test_row27_killed_while_it_gives_back_it_is_either_too(tmp_path: Path) -> None:
    place = tmp_path / "place"
    drive("configure", fresh(place))
    kills = points(drive("unconfigure", place)[1])
    assert len(kills) > 10
    for kill in kills:
        drive("configure", fresh(place))
        drive("unconfigure", place, kill.format("signal=KILL"))
        assert (kill, (place / "daemon.json").read_bytes() in (BARE, OURS)) == (kill, True)
        assert drive("unconfigure", place)[0] == 0
        assert (kill, (place / "daemon.json").read_bytes(), leftovers(place)) == (kill, BARE, [])
        assert (kill, os.listdir(place / "state")) == (kill, ["lock"])


@needs_strace
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
def test_row25_row26_a_refusal_of_the_kernel_leaves_the_old_file(
    tmp_path: Path, error: str
) -> None:
    place = tmp_path / "place"
    calls = points(drive("configure", fresh(place))[1])
    changing = [one for one in calls if one.split(":")[0] in CHANGING]
    assert {one.split(":")[0] for one in changing} == CHANGING - {"unlink"}
    refusals = 0
    for call in changing:
        status, _ = drive("configure", fresh(place), call.format(f"error={error}"))
        data = (place / "daemon.json").read_bytes()
        assert (call, data in (BARE, OURS), leftovers(place)) == (call, True, [])
        refusals += status
        if data == BARE:
            assert (call, status) == (call, 1)
        assert drive("unconfigure", place)[0] == 0
        assert (call, (place / "daemon.json").read_bytes()) == (call, BARE)
    assert refusals >= len(changing) - 1


CHANGING = {"openat", "write", "fchmod", "fsync", "rename", "unlink"}


def test_row26_a_full_file_system_is_told_and_the_file_is_whole(
    tmp_path: Path, unshare: str
) -> None:
    script = (
        "mount -t tmpfs -o size=16k tmpfs {0} && cp {1} {0}/daemon.json && "
        'dd if=/dev/zero of={0}/fill bs=1k 2>/dev/null; exec "$@"'
    ).format(tmp_path / "full", tmp_path / "old.json")
    trees.build(tmp_path, {"/old.json": BARE, "/full": trees.FOLDER})
    before = (unshare, "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script, "sh")
    outcome = configure(tmp_path / "full", f"--state-dir={tmp_path}/state", before=before)
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1), outcome.err
    assert f"{tmp_path}/full/daemon.json: No space left on device; it is as it was" in outcome.err


def test_row25_a_read_only_file_system_is_told(tmp_path: Path, unshare: str) -> None:
    script = 'mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec "$@"'.format(
        tmp_path / "place"
    )
    fresh(tmp_path / "place")
    before = (unshare, "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script, "sh")
    outcome = configure(tmp_path / "place", f"--state-dir={tmp_path}/state", before=before)
    assert outcome.status == 1
    assert "Read-only file system; it is as it was; build it into the host's image" in outcome.err
    assert (tmp_path / "place/daemon.json").read_bytes() == BARE


def test_row24_a_file_that_is_a_mount_is_refused(tmp_path: Path, unshare: str) -> None:
    place = fresh(tmp_path / "place")
    trees.build(tmp_path, {"/other.json": BARE})
    script = f'mount --bind {tmp_path}/other.json {place}/daemon.json && exec "$@"'
    before = (unshare, "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script, "sh")
    outcome = configure(place, before=before)
    assert (outcome.status, "it is a mount point: change the file that is" in outcome.err) == (
        1,
        True,
    )
    assert (tmp_path / "other.json").read_bytes() == BARE
    assert leftovers(place) == []


def test_row26_a_limit_on_file_sizes_leaves_the_old_file(tmp_path: Path) -> None:
    place = fresh(tmp_path, BARE[:-1] + b" " * 8192 + b"\n")
    script = "export PYTHONDONTWRITEBYTECODE=1; trap '' XFSZ; ulimit -f 4; exec \"$@\""
    before = ("/bin/sh", "-c", script, "sh")
    old = (place / "daemon.json").read_bytes()
    outcome = configure(place, before=before)
    assert (outcome.status, "File too large" in outcome.err) == (1, True)
    assert ((place / "daemon.json").read_bytes(), leftovers(place)) == (old, [])


def test_row28_thirty_at_once_all_survive(tmp_path: Path) -> None:
    place = fresh(tmp_path)
    names = [f"nvidia-{number}" for number in range(30)]
    program = [sys.executable, "-B", DRIVER, "configure", str(place)]
    started = [subprocess.Popen([*program, name], env=ENV) for name in names]
    assert [one.wait(120) for one in started] == [0] * 30
    document = json.loads((place / "daemon.json").read_bytes())
    assert set(document["runtimes"]) == set(names)
    assert runtime("unconfigure", place).status == 0
    assert (place / "daemon.json").read_bytes() == BARE


def test_row28_an_editor_that_writes_at_the_same_time_loses_nothing(tmp_path: Path) -> None:
    place = fresh(tmp_path)
    names = [f"nvidia-{number}" for number in range(8)]
    program = [sys.executable, "-B", DRIVER, "configure", str(place)]
    started = [subprocess.Popen([*program, name], env=ENV) for name in names]
    for number in range(200):
        text = (place / "daemon.json").read_text()
        if "mtu" not in text:
            text = text.replace("{\n", '{\n  "mtu": 1450,\n', 1)
            (place / "edited").write_text(text)
            os.replace(place / "edited", place / "daemon.json")
        if all(one.poll() is not None for one in started) and number > 5:
            break
    assert [one.wait(120) for one in started] == [0] * 8
    assert json.loads((place / "daemon.json").read_bytes())["mtu"] == 1450


def test_row29_mode_owner_and_attributes_stay(tmp_path: Path) -> None:
    place = fresh(tmp_path)
    file = place / "daemon.json"
    file.chmod(0o640)
    os.setxattr(file, "user.comment", b"mine")
    owner = (12345, 54321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(file, *owner)
    assert configure(place).status == 0
    status = file.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, *owner)
    assert os.getxattr(file, "user.comment") == b"mine"
    assert runtime("unconfigure", place).status == 0
    assert (file.stat().st_mode & 0o7777, file.read_bytes()) == (0o640, BARE)
    assert os.getxattr(file, "user.comment") == b"mine"


def test_row29_other_names_of_the_file_are_told(tmp_path: Path) -> None:
    place = fresh(tmp_path)
    os.link(place / "daemon.json", place / "other.json")
    outcome = configure(place)
    assert outcome.status == 0
    assert "daemon.json has 2 names; the others keep the old text" in outcome.err


def test_row27_what_a_kill_left_behind_is_swept(tmp_path: Path) -> None:
    place = fresh(tmp_path)
    left = place / ".daemon.json.4711.0123456789ab.tmp"
    other = place / ".daemon.json.mine.tmp"
    left.write_text("{")
    other.write_text("{")
    assert configure(place).status == 0
    assert (left.exists(), other.exists()) == (False, True)
