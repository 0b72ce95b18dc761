# SPDX-License-Identifier: Apache-2.0
"""What keeps us from being removed is found, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import leave
import pytest

if TYPE_CHECKING:
    from pathlib import Path

NAMES = leave.pattern(["gpubind-runtime", "gpubind-runtime-hook"])


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of a host's files, all that is looked at being in it."""
    for name in ("CONFIGURED", "HOOKS", "JOURNALS", "TIES"):
        monkeypatch.setattr(leave, name, moved(getattr(leave, name), str(tmp_path)))
    return tmp_path


def moved(places: Any, folder: str) -> Any:
    """Give the places, a text or texts or a table of them, below a folder."""
    return json.loads(json.dumps(places).replace('"/', f'"{folder}/'))


def put(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"runtimes": {"gpu": {"path": "/usr/bin/gpubind-runtime"}}}',
        'runtime_path = "gpubind-runtime"',
        "BinaryName = '/usr/bin/gpubind-runtime'",
        '["/usr/bin/gpubind-runtime-hook", "prestart"]',
        "gpubind-runtime",
    ],
)
def test_a_text_that_names_us_is_seen(text: str) -> None:
    assert NAMES.search(text)


@pytest.mark.parametrize(
    "text",
    [
        '"/opt/gpubind/bin/gpubind-runtime"',
        '"/usr/local/bin/gpubind-runtime"',
        '"gpubind-runtime.old"',
        '"my-gpubind-runtime"',
        '"gpubind-runtimes"',
        "/usr/bin/gpubind-cdi-hook",
        "",
    ],
)
def test_what_is_anothers_is_not(text: str) -> None:
    assert not NAMES.search(text)


def test_an_engines_file_is_named_with_what_to_do(etc: Path) -> None:
    path = put(etc / "etc/containerd/conf.d/99-nvidia.toml", 'BinaryName = "gpubind-runtime"\n')
    (line,) = leave.configured(NAMES)
    words = "gpubind runtime unconfigure --runtime containerd"
    assert line == f"{path} names it: run '{words}' and restart containerd"


def test_a_file_that_only_the_journal_knows_is_looked_at(etc: Path) -> None:
    path = put(etc / "home/daemon.json", '{"runtimes": {"x": {"path": "gpubind-runtime"}}}')
    record = {"engine": "docker", "main": path}
    put(etc / "var/lib/gpubind/engines/docker-1.json", json.dumps(record))
    (line,) = leave.configured(NAMES)
    assert f"--runtime docker --config {path}'" in line


def test_a_comment_names_nothing(etc: Path) -> None:
    put(etc / "etc/crio/crio.conf.d/99-x.conf", '# runtime_path = "gpubind-runtime"\n[crio]\n')
    assert list(leave.configured(NAMES)) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"main": 3}', "\0"])
def test_a_broken_journal_harms_nothing(etc: Path, text: str) -> None:
    put(etc / "var/lib/gpubind/engines/docker-1.json", text)
    assert list(leave.configured(NAMES)) == []


def test_a_hook_file_is_named(etc: Path) -> None:
    path = put(
        etc / "etc/containers/oci/hooks.d/x.json", '{"path": "/usr/bin/gpubind-runtime-hook"}'
    )
    (line,) = leave.configured(NAMES)
    assert f"--oci-hook-path {path}'" in line


def test_a_process_that_will_start_us_is_seen_and_one_of_us_is_not() -> None:
    conmon = ["/usr/bin/conmon", "-c", "1", "-r", "/usr/bin/gpubind-runtime"]
    dockerd = ["/usr/sbin/dockerd", "--add-runtime=gpu=/usr/bin/gpubind-runtime"]
    shim = ["/usr/bin/python3", "-IS", "/usr/bin/gpubind-runtime", "create"]
    dpkg = ["/usr/bin/dpkg", "-r", "gpubind-runtime"]
    told = [leave.started_by(words, NAMES) for words in (conmon, dockerd, shim, dpkg, [""])]
    assert told == [True, True, False, False, False]


def test_a_running_process_is_named() -> None:
    words = ["/bin/sh", "-c", "echo; read x", "-r", "/usr/bin/gpubind-runtime"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has begun: the kernel knows its words
        told = list(leave.started(NAMES))
    assert any(line.startswith(f"process {process.pid}, sh, ") for line in told)


@pytest.mark.parametrize("program", ["gpubind-runtime", "runc"])
def test_a_container_of_containerd_is_named(tmp_path: Path, program: str) -> None:
    put(tmp_path / "abc/options.json", f'{{"BinaryName":"/usr/bin/{program}"}}')
    waits = "import sys; print(flush=True); sys.stdin.read()"
    words = ["/usr/bin/containerd-shim-runc-v2", "-c", waits]
    with subprocess.Popen(
        words,
        executable=sys.executable,
        cwd=tmp_path / "abc",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has begun: the kernel knows its words
        told = [line for line in leave.started(NAMES) if line.startswith("container")]
        process.kill()
    wanted = "container abc was started by it: end that container"
    assert (wanted in told) == (program == "gpubind-runtime")


def test_no_docker_is_no_reason(tmp_path: Path) -> None:
    assert list(leave.loaded(NAMES, str(tmp_path / "docker.sock"))) == []


def spec(etc: Path, tied: str) -> str:
    path = put(etc / "etc/cdi/nvidia.yaml", "cdiVersion: 0.5.0\n")
    put(etc / "var/lib/gpubind/receipts/x.json", json.dumps({"spec": path, "sha256": tied}))
    return path


def test_a_spec_of_ours_goes_with_us(etc: Path) -> None:
    path = spec(etc, "fdb3f2ba15ff6f3a3a57be1ef6bbdd9bd9ea8f5c6e5a6f8bc3f2bd6d9b5d6f2b")
    leave.withdraw()
    assert os.path.exists(path)
    done = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    spec(etc, done.stdout.split()[0])
    leave.withdraw()
    assert not os.path.exists(path)


def test_without_a_reason_it_lets_us_go_and_with_one_it_refuses(
    etc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--check", "no-such-program-of-ours"]
    assert leave.main(words) == 0
    put(etc / "etc/docker/daemon.json", '"no-such-program-of-ours"')
    assert leave.main(words) == 1
    assert capsys.readouterr().err.endswith("and restart docker [PKG-IN-USE]\n")
    monkeypatch.setenv(leave.ANYWAY, "1")
    assert leave.main(words) == 0


def test_it_runs_on_the_bare_interpreter() -> None:
    done = subprocess.run([leave.__file__, "no-such-program"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), sys.version
