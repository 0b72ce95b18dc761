# SPDX-License-Identifier: Apache-2.0
"""`gpubind runtime status` where files, folders or the journal are not ours to read."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import trees
from command_line import gpubind
from engine_runs import configure, runtime

if TYPE_CHECKING:
    from pathlib import Path

# root without capabilities: a mode of 000 holds for it as for anybody
PLAIN = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()
HOOK = '{"hook": {"path": "/usr/bin/nvidia-container-runtime-hook"}}'


def status(place: Path, *words: str, engine: str = "docker") -> Any:
    outcome = runtime("status", place, "--json", *words, engine=engine, before=PLAIN)
    assert (outcome.status, outcome.err) == (0, "")
    return json.loads(outcome.out)[engine]


def test_a_journal_that_is_not_ours_to_read_is_no_work_by_hand(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": "{}"})
    assert configure(tmp_path).status == 0
    assert status(tmp_path)["by"] == "by gpubind"
    (journal,) = [one for one in (tmp_path / "state").iterdir() if one.name != "lock"]
    journal.chmod(0o000)
    facts = status(tmp_path)
    assert facts["by"].startswith("yes; by whom and since when is in a journal")
    keys = ("journalled", "journal_readable", "since", "drift", "restarted")
    assert [facts[key] for key in keys] == [False, False, None, None, None]


@pytest.mark.parametrize("closed", ["hooks", "hooks/a.json"])
def test_what_is_not_ours_to_read_is_named_and_the_rest_is_told(
    tmp_path: Path, closed: str
) -> None:
    conf = f'[engine]\nhooks_dir = ["{tmp_path}/hooks"]\n'
    trees.build(tmp_path, {"/c.conf": conf, "/hooks/a.json": HOOK})
    (tmp_path / closed).chmod(0o000)
    words = ("--config", f"{tmp_path}/c.conf", "--state-dir", f"{tmp_path}/state")
    outcome = gpubind("runtime", "status", "--json", *words, before=PLAIN)
    (tmp_path / closed).chmod(0o700)
    found = json.loads(outcome.out)
    message = f"{tmp_path}/{closed}: Permission denied [ENGINE-FILE]"
    assert found["podman"] == {"error": message}
    assert f"gpubind: podman: {message}" in outcome.err.splitlines()
    assert (outcome.status, list(found)) == (3, ["docker", "containerd", "crio", "podman"])


def test_a_node_without_any_engine_has_none(tmp_path: Path, unshare: str) -> None:
    folders = ("/etc", "/usr/sbin", "/usr/lib/systemd")
    empty = " ".join(f"mount -t tmpfs none {folder};" for folder in folders)
    gone = "for one in /usr/bin/docker* /usr/bin/containerd* /usr/bin/podman /usr/bin/crio*; do "
    script = f'{empty} {gone} mount --bind /dev/null $one; done 2>/dev/null; exec "$@"'
    before = (unshare, "--mount", "sh", "-c", script, "sh")
    words = ("runtime", "status", f"--state-dir={tmp_path}")
    outcome = gpubind(*words, before=before)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        f"{name:<11} not installed" for name in ("docker", "containerd", "crio", "podman")
    ]


def test_a_cri_plugin_that_is_off_is_shown(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": 'disabled_plugins = ["cri"]\n'})
    shown = runtime("status", tmp_path, engine="containerd").out
    assert f"finding: {tmp_path}/daemon.json:1: disabled_plugins has 'cri'" in shown
    assert len(status(tmp_path, engine="containerd")["findings"]) == 1
    done = runtime("configure", tmp_path, engine="containerd")
    assert (done.status, "warning: " in done.err) == (0, True), done.err


def test_podman_is_told_in_full(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": '[engine]\nruntime = "crun"\n'})
    assert runtime("configure", tmp_path, "--set-as-default", engine="podman").status == 0
    facts = status(tmp_path, engine="podman")
    keys = ("by", "default", "former", "cdi", "drift", "restarted")
    assert [facts[key] for key in keys] == ["by gpubind", "nvidia", "crun", True, False, None]
