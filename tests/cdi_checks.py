# SPDX-License-Identifier: Apache-2.0
"""Small specs in spec directories, and what `gpubind cdi check` says of them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from command_line import Outcome, gpubind

if TYPE_CHECKING:
    from pathlib import Path

HOOK = {"hookName": "createContainer", "path": "/bin/sh", "env": ["A=1"]}
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes and gives away")
PATH = {"PATH": "/nonexistent"}  # no engines


def spec(path: Path, *names: str, kind: str = "example.com/thing", **edits: Any) -> Path:
    """Write a spec of devices with the same edits."""
    edits = edits or {"env": ["A=1"]}
    document = {
        "cdiVersion": "0.7.0",
        "kind": kind,
        "devices": [{"name": name, "containerEdits": edits} for name in names or ("a",)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def check(
    *folders: Path, env: dict[str, str] | None = None, words: tuple[str, ...] = ()
) -> Outcome:
    options = [word for folder in folders for word in ("--spec-dir", str(folder))]
    state = folders[0].parent / "state"
    return gpubind("cdi", "check", *options, "--state-dir", state, *words, env=env or PATH)


def found(*folders: Path, env: dict[str, str] | None = None) -> list[tuple[str, str, str]]:
    """Give ID, file's name and devices of each finding."""
    outcome = check(*folders, env=env, words=("--json",))
    told = json.loads(outcome.out)["findings"]
    assert (outcome.status, outcome.err) == (1 if told else 0, "")
    return [(one["id"], os.path.basename(one["file"]), " ".join(one["devices"])) for one in told]
