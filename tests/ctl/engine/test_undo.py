# SPDX-License-Identifier: Apache-2.0
"""What the journal holds, what unconfigure gives back, and what status tells of both."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import engine_files
import pytest
import trees
from command_line import gpubind
from engine_driver import Quiet
from engine_runs import BARE, OURS, configure, runtime

from gpubind import VERSION
from gpubind_ctl.engine import configurator, journal, ocihook
from gpubind_ctl.engine.docker import Docker
from gpubind_ctl.engine.engine import Wants
from gpubind_ctl.engine.podman import Podman

if TYPE_CHECKING:
    from pathlib import Path

CASES = engine_files.cases("docker")
CRUN = '{"default-runtime": "crun", "runtimes": {"crun": {"path": "/usr/bin/crun"}}}'


def status(place: Path) -> dict[str, Any]:
    outcome = runtime("status", place, "--json")
    assert outcome.status == 0, outcome.err
    facts: dict[str, Any] = json.loads(outcome.out)["docker"]
    return facts


@pytest.mark.parametrize("name", CASES)
def test_every_file_gets_its_bytes_back(tmp_path: Path, name: str) -> None:
    file = tmp_path / "daemon.json"
    file.write_bytes(CASES[name])
    wants, host, state = Wants(config=str(file), default=True), Quiet({}), f"{tmp_path}/state"
    configurator.configure(Docker(), wants, host, state)
    assert file.read_bytes() != CASES[name]
    configurator.unconfigure(Docker(), wants, host, state)
    assert file.read_bytes() == CASES[name]
    assert os.listdir(state) == ["lock"]


def test_the_journal_has_the_bytes_the_time_and_the_version(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": BARE})
    began = time.time()
    assert configure(tmp_path).status == 0
    record = journal.load(f"{tmp_path}/state", "docker", f"{tmp_path}/daemon.json")
    (change,) = record.changes
    assert (change.by, change.runtime, change.path) == (
        f"gpubind {VERSION}",
        "nvidia",
        "/usr/bin/gpubind-runtime",
    )
    assert began - 1 < change.at < time.time() + 1
    (image,) = change.images
    assert (image.data, image.before, image.after) == (
        BARE,
        journal.digest(BARE),
        journal.digest(OURS),
    )
    path = journal.place(f"{tmp_path}/state", "docker", f"{tmp_path}/daemon.json")
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_several_runtimes_are_given_back_at_once_or_one_by_one(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": BARE})
    for name in ("nvidia", "nvidia-cdi", "nvidia-legacy"):
        assert configure(tmp_path, f"--nvidia-runtime-name={name}").status == 0
    assert runtime("unconfigure", tmp_path, "--nvidia-runtime-name=nvidia-cdi").status == 0
    left = json.loads((tmp_path / "daemon.json").read_bytes())["runtimes"]
    assert list(left) == ["nvidia", "nvidia-legacy"]
    assert runtime("unconfigure", tmp_path).status == 0
    assert (tmp_path / "daemon.json").read_bytes() == BARE


def test_a_file_made_for_us_goes(tmp_path: Path) -> None:
    assert configure(tmp_path).status == 0
    outcome = runtime("unconfigure", tmp_path)
    assert f"Removed empty config from {tmp_path}/daemon.json" in outcome.err
    assert not (tmp_path / "daemon.json").exists()


def test_a_file_made_for_us_stays_where_others_use_it(tmp_path: Path) -> None:
    assert configure(tmp_path).status == 0
    file = tmp_path / "daemon.json"
    file.write_text(file.read_text().replace("{", '{"mtu": 9000,', 1))
    assert runtime("unconfigure", tmp_path).status == 0
    assert json.loads(file.read_text()) == {"mtu": 9000}


def test_a_change_by_others_between_two_of_ours_stays(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": CRUN})
    assert configure(tmp_path, "--set-as-default").status == 0
    file = tmp_path / "daemon.json"
    file.write_text(file.read_text().replace("{", '{"mtu": 9000, ', 1))
    assert configure(tmp_path, "--nvidia-runtime-path=/opt/gpubind-runtime").status == 0
    assert runtime("unconfigure", tmp_path).status == 0
    assert file.read_text() == CRUN.replace("{", '{"mtu": 9000, ', 1)


def test_what_the_operator_removed_by_hand_is_not_brought_back(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": CRUN})
    assert configure(tmp_path, "--set-as-default").status == 0
    (tmp_path / "daemon.json").write_text('{"default-runtime": "runc"}')
    assert configure(tmp_path, "--set-as-default").status == 0
    assert runtime("unconfigure", tmp_path).status == 0
    assert (tmp_path / "daemon.json").read_text() == '{"default-runtime": "runc"}'


def test_the_peer_s_runtime_is_taken_out_and_somebody_else_s_is_not(tmp_path: Path) -> None:
    text = '{"runtimes": {"nvidia": {"path": "%s"}}, "debug": true}'
    trees.build(tmp_path, {"/daemon.json": text % "nvidia-container-runtime"})
    outcome = runtime("unconfigure", tmp_path)
    assert "there is no journal of this; the former default is not known" in outcome.err
    assert (tmp_path / "daemon.json").read_text() == '{"debug": true}'
    (tmp_path / "daemon.json").write_text(text % "/opt/other")
    outcome = runtime("unconfigure", tmp_path)
    assert (outcome.status, "starts /opt/other, which is not ours" in outcome.err) == (1, True)
    assert (tmp_path / "daemon.json").read_text() == text % "/opt/other"


def test_where_there_is_nothing_of_ours_nothing_changes(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": BARE})
    before = trees.seen(tmp_path)["daemon.json"]
    outcome = runtime("unconfigure", tmp_path)
    assert (outcome.status, "has nothing of ours; nothing is changed" in outcome.err) == (0, True)
    assert trees.seen(tmp_path)["daemon.json"] == before


@pytest.mark.parametrize("text", ["{", "[]", '{"changes": [{}]}', '{"changes": 1}'])
def test_a_journal_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    path = journal.place(f"{tmp_path}/state", "docker", f"{tmp_path}/daemon.json")
    trees.build(tmp_path, {"/daemon.json": BARE, path.removeprefix(str(tmp_path)): text})
    for verb in ("configure", "unconfigure"):
        outcome = runtime(verb, tmp_path)
        assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
        assert outcome.err.startswith(f"gpubind: {path}: is no journal: ")
    assert (tmp_path / "daemon.json").read_bytes() == BARE


def test_a_dry_run_shows_what_would_change_and_changes_nothing(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": BARE})
    file = f"{tmp_path}/daemon.json"
    shown = configure(tmp_path, "--dry-run").out
    assert shown.splitlines()[:5] == [
        f"--- {file}",
        f"+++ {file}",
        "@@ -1,3 +1,9 @@",
        " {",
        '-  "debug": true',
    ]
    assert sorted(os.listdir(tmp_path)) == ["daemon.json"]
    assert configure(tmp_path).status == 0
    back = runtime("unconfigure", tmp_path, "--dry-run").out
    assert [line for line in back.splitlines() if line.startswith("+")][1:] == ['+  "debug": true']
    assert (tmp_path / "daemon.json").read_bytes() == OURS


def test_status_of_what_we_set_up(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": CRUN})
    assert configure(tmp_path, "--set-as-default").status == 0
    facts = status(tmp_path)
    assert {key: facts[key] for key in ("by", "default", "former", "drift", "restarted")} == {
        "by": "by gpubind",
        "default": "nvidia",
        "former": "crun",
        "drift": False,
        "restarted": None,
    }
    assert facts["runtimes"]["nvidia"] == "/usr/bin/gpubind-runtime"
    assert abs(facts["since"] - time.time()) < 60
    file = tmp_path / "daemon.json"
    file.write_text(file.read_text() + "\n")
    assert status(tmp_path)["drift"] is True
    shown = runtime("status", tmp_path).out
    assert "default runtime: nvidia, formerly crun" in shown
    assert "changed by others since: yes" in shown


@pytest.mark.parametrize(
    ("text", "by"),
    [
        ('{"runtimes": {"nvidia": {"path": "/usr/bin/gpubind-runtime"}}}', "by hand"),
        (
            '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}',
            "by the field's toolkit",
        ),
        (CRUN, ""),
        ("{}", ""),
    ],
)
def test_status_of_what_others_set_up(tmp_path: Path, text: str, by: str) -> None:
    trees.build(tmp_path, {"/daemon.json": text})
    facts = status(tmp_path)
    assert (facts["by"], facts["since"], facts["journalled"]) == (by, None, False)


def test_status_names_a_file_it_can_t_read_and_goes_on(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": "{,}"})
    outcome = runtime("status", tmp_path, "--json")
    assert outcome.status == 3
    assert "ENGINE-JSON" in json.loads(outcome.out)["docker"]["error"]
    assert outcome.err.startswith(f"gpubind: docker: {tmp_path}/daemon.json:1:2: ")


def test_status_without_a_name_tells_of_every_engine(tmp_path: Path) -> None:
    outcome = runtime("status", tmp_path, engine="")
    assert [line.split()[0] for line in outcome.out.splitlines() if line[0] != " "] == [
        "docker",
        "containerd",
        "crio",
        "podman",
    ]


def test_a_removed_hook_file_comes_back_with_its_mode_and_owner(tmp_path: Path) -> None:
    hook = ocihook.document("/usr/bin/nvidia-container-runtime-hook")
    conf = f'[engine]\nhooks_dir = ["{tmp_path}/hooks.d"]\n'
    trees.build(tmp_path, {"/c.conf": conf, "/hooks.d/old.json": hook})
    file = tmp_path / "hooks.d/old.json"
    owner = (12345, 54321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(file, *owner)
    file.chmod(0o640)
    wants, host, state = Wants(config=f"{tmp_path}/c.conf", sweep=True), Quiet({}), f"{tmp_path}/s"
    configurator.configure(Podman(), wants, host, state)
    assert not file.exists()
    configurator.unconfigure(Podman(), wants, host, state)
    status = file.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, *owner)
    assert (file.read_bytes(), (tmp_path / "c.conf").read_text()) == (hook, conf)


def test_a_relative_name_is_the_same_file_from_everywhere(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": BARE, "/deep": trees.FOLDER})
    inside = ("sh", "-c", f'cd {tmp_path}/deep && exec "$@"', "sh")
    words = ("--config=../daemon.json", f"--state-dir={tmp_path}/state")
    assert gpubind("runtime", "configure", *words, before=inside).status == 0
    assert status(tmp_path)["journalled"] is True
    assert runtime("unconfigure", tmp_path).status == 0
    assert (tmp_path / "daemon.json").read_bytes() == BARE
