# SPDX-License-Identifier: Apache-2.0
"""The generator run by a container's start: once for all, never for ever."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import checkout
import pytest
import trees

from gpubind import config, refresh, registry
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path

MAKES = """
import json, os, sys, time
state, folder = sys.argv[4], sys.argv[6]
with open(state + "/runs", "a") as file:
    file.write("x")
time.sleep({seconds})
s = os.stat(folder)
stamps = {{folder: [s.st_mtime_ns, s.st_size, s.st_ino, s.st_ctime_ns]}}
fd = os.open(state + "/new", os.O_WRONLY | os.O_CREAT, 0o644)
os.write(fd, json.dumps({{"format": 1, "stamps": stamps}}).encode())
os.rename(state + "/new", state + "/compiled.json")
"""


def program(folder: Path, text: str) -> str:
    path = f"{folder}/generator"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/usr/bin/python3 -IS\n{text}")
    os.chmod(path, 0o755)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    trees.build(tmp_path, {"/cdi": trees.FOLDER, "/state": trees.FOLDER})
    return tmp_path


def run(place: Path, text: str, limit_s: float = 20) -> None:
    words = ([f"{place}/cdi"], f"{place}/state", program(place, text))
    refresh.run(*words, limit_s=limit_s)


def runs(place: Path) -> int:
    return os.stat(place / "state/runs").st_size


def test_the_generator_makes_what_fits(place: Path) -> None:
    run(place, MAKES.format(seconds=0))
    assert registry.current([f"{place}/cdi"], f"{place}/state") is not None


def test_the_generator_is_told_folders_and_state(place: Path) -> None:
    run(place, "import sys; open(sys.argv[4] + '/words', 'w').write(' '.join(sys.argv[1:]))")
    words = (place / "state/words").read_text()
    assert words == f"cdi compile --state-dir {place}/state --spec-dir {place}/cdi"


def test_a_state_folder_is_made(place: Path) -> None:
    text = program(place, "")
    refresh.run([f"{place}/cdi"], f"{place}/new/state", text)
    assert os.listdir(place / "new/state") == ["compile.lock"]


def test_what_fits_already_is_not_made_again(place: Path) -> None:
    run(place, MAKES.format(seconds=0))
    run(place, MAKES.format(seconds=0))
    assert runs(place) == 1


START = """
import sys
sys.path.insert(0, {src!r})
from gpubind import refresh, registry
sys.stdin.readline()
folders, state = [{folder!r}], {state!r}
if registry.current(folders, state) is None:
    refresh.run(folders, state, {program!r})
print(registry.current(folders, state) is not None)
"""


def test_thirty_starts_at_once_run_one_generator(place: Path) -> None:
    text = START.format(
        src=f"{checkout.ROOT}/src",
        folder=f"{place}/cdi",
        state=f"{place}/state",
        program=program(place, MAKES.format(seconds=0.3)),
    )
    words = ["/usr/bin/python3", "-IS", "-c", text]
    with contextlib.ExitStack() as stack:
        starts = [
            stack.enter_context(
                subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(30)
        ]
        for start in starts:
            assert start.stdin is not None
            start.stdin.write("go\n")
            start.stdin.flush()
        said = [start.communicate()[0] for start in starts]
    assert said == ["True\n"] * 30
    assert runs(place) == 1


def test_a_generator_that_is_not_there_is_told(place: Path) -> None:
    with pytest.raises(ToolkitError) as caught:
        refresh.run([f"{place}/cdi"], f"{place}/state", f"{place}/absent")
    assert str(caught.value).startswith(
        f"{place}/cdi changed and {place}/absent is not installed to compile them; install"
    )
    assert caught.value.identifier == "GENERATOR-ABSENT"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit('first\\nbad spec [SPEC-BAD]')", "bad spec [SPEC-BAD]"),
        ("import sys; sys.exit(3)", "generator ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "generator ended with status -9"),
        ("import os; os.write(2, b'\\xff\\n\\n' * 99_999); os._exit(1)", "\ufffd"),
    ],
)
def test_a_generator_that_fails_is_told_in_its_last_line(
    place: Path, text: str, message: str
) -> None:
    with pytest.raises(ToolkitError) as caught:
        run(place, text)
    assert caught.value.identifier == "GENERATOR-FAILED"
    assert caught.value.message.endswith(message)


def test_a_generator_that_says_much_is_not_stopped_by_it(place: Path) -> None:
    run(place, "import os\nfor _ in range(100): os.write(2, b'x' * 65536)")
    assert not os.path.exists(place / "state/compile.failed")


def test_a_generator_that_cannot_be_run_is_told(place: Path) -> None:
    path = program(place, "")
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/absent/interpreter\n")
    with pytest.raises(ToolkitError, match=r"generator: No such file or directory"):
        refresh.run([f"{place}/cdi"], f"{place}/state", path)


HANGS = """
import os, time
os.write(os.open({mark!r}, os.O_WRONLY | os.O_CREAT), str(os.getpid()).encode())
if os.fork() == 0:
    time.sleep(600)
time.sleep(600)
"""


def test_a_generator_that_hangs_is_ended_with_its_children(place: Path) -> None:
    with pytest.raises(ToolkitError, match=r"generator took over 0.7 s \[GENERATOR-FAILED\]"):
        run(place, HANGS.format(mark=f"{place}/pid"), limit_s=0.7)
    group = int((place / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        _wait_until_gone(group)


def _wait_until_gone(group: int) -> None:
    for _ in range(500):
        os.killpg(group, 0)
        time.sleep(0.01)


def test_a_failure_is_remembered_for_a_moment(place: Path) -> None:
    text = "import sys; open(sys.argv[4] + '/runs', 'a').write('x'); sys.exit('no GPU')"
    for message in ("^no GPU", "^the generator failed a moment ago: no GPU"):
        with pytest.raises(ToolkitError, match=message):
            run(place, text)
    assert runs(place) == 1


def test_a_failure_that_cannot_be_remembered_is_told_all_the_same(place: Path) -> None:
    trees.build(place, {"/state/compile.failed/x": "in the way"})
    with pytest.raises(ToolkitError, match="no good"):
        run(place, "import sys\nsys.exit('no good')")


def remembered(place: Path, moment: float) -> None:
    file = place / "state/compile.failed"
    file.write_text(json.dumps({"time": moment, "message": "old"}))
    file.chmod(0o600)


@pytest.mark.parametrize("seconds", [-refresh.MEMORY_S - 1, 3600])
def test_an_old_failure_and_one_of_the_future_are_forgotten(place: Path, seconds: float) -> None:
    remembered(place, time.time() + seconds)
    run(place, MAKES.format(seconds=0))
    assert runs(place) == 1


def test_a_failure_that_others_may_have_written_does_not_count(place: Path) -> None:
    remembered(place, time.time())
    os.chmod(place / "state/compile.failed", 0o666)
    run(place, MAKES.format(seconds=0))
    assert runs(place) == 1


def test_who_waits_too_long_for_another_is_told(place: Path) -> None:
    import fcntl

    lock = os.open(place / "state/compile.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(ToolkitError, match=r"held the generator's lock for 0.1 s \[GENERATOR-TIM"):
        run(place, MAKES.format(seconds=0), limit_s=0.1)
    os.close(lock)
    assert not os.path.exists(place / "state/runs")


def test_a_state_folder_that_cannot_be_made_is_told(place: Path) -> None:
    (place / "file").touch()
    with pytest.raises(ToolkitError, match=r"/file/state: Not a directory \[STATE-WRITE\]"):
        refresh.run([f"{place}/cdi"], f"{place}/file/state", program(place, ""))


SEES = """
import json, os, sys
seen = {{}}
for fd in os.listdir("/proc/self/fd"):
    try:
        seen[fd] = os.readlink("/proc/self/fd/" + fd)
    except OSError:
        pass  # the listing's own
own = os.getpgid(0) == os.getpid()
open({out!r}, "w").write(json.dumps([seen, dict(os.environ), own]))
"""


def test_the_generator_inherits_nothing(place: Path) -> None:
    leaked = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    os.environ["GPUBIND_TEST_SECRET"] = "x"
    try:
        run(place, SEES.format(out=f"{place}/out"))
    finally:
        del os.environ["GPUBIND_TEST_SECRET"]
        os.close(leaked)
    files, environ, leads = json.loads((place / "out").read_text())
    assert "/etc/passwd" not in files.values()
    assert (files["0"], files["1"]) == ("/dev/null", "/dev/null")
    assert not [fd for fd, name in files.items() if int(fd) > 2 and not name.startswith("/proc/")]
    assert environ.keys() - {"LC_CTYPE"} == {"PATH", "LC_ALL"}
    assert leads


def test_no_descriptor_is_left_open(place: Path) -> None:
    before = os.listdir("/proc/self/fd")
    run(place, MAKES.format(seconds=0))
    assert os.listdir("/proc/self/fd") == before


def test_a_stamp_is_of_the_file_behind_a_link(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/a": "x", "/b": "-> a"})
    assert config.stamp(f"{tmp_path}/a") == config.stamp(f"{tmp_path}/b") is not None
