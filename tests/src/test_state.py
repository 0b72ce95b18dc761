# SPDX-License-Identifier: Apache-2.0
"""Where a caller's compiled files go: the shared folder, or one of the caller's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import checkout
import pytest
import specs

from gpubind import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE = """
import os, sys
sys.path.insert(0, {src!r})
from gpubind import registry, userns  # first: the checkout may be closed to the user
os.setgroups([])
os.setgid({user})
os.setuid({user})
print(registry.state({shared!r}))
"""


def state_of(user: int, shared: Path, program: str = STATE, **env: str) -> str:
    """Give where a user's compiled files go."""
    text = program.format(src=f"{checkout.ROOT}/src", user=user, shared=str(shared))
    words = ["/usr/bin/python3", "-IS", "-c", text]
    done = subprocess.run(
        words, env=env, cwd=shared.parent, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder all users reach that is root's."""
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    os.mkdir(f"{folder}/user", 0o700)
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.mark.root
def test_who_may_not_write_the_shared_state_has_one_of_his_own(shared: Path) -> None:
    own = str(shared / "user")
    os.chown(own, 65534, 65534)
    assert state_of(65534, shared / "state", XDG_RUNTIME_DIR=own) == f"{own}/gpubind"
    assert state_of(65534, shared, XDG_RUNTIME_DIR=own) == f"{own}/gpubind"
    assert state_of(65534, shared / "user", XDG_RUNTIME_DIR=own) == own
    assert state_of(0, shared / "state", XDG_RUNTIME_DIR=str(shared)) == f"{shared}/state"


@pytest.mark.root
@pytest.mark.parametrize("fault", ["unset", "relative", "of another user", "open to others"])
def test_a_runtime_folder_that_is_not_the_users_alone_is_not_used(shared: Path, fault: str) -> None:
    own = str(shared / "user")
    os.chown(own, 65534 if fault != "of another user" else 1, 65534)
    os.chmod(own, 0o777 if fault == "open to others" else 0o700)
    value = {"unset": "", "relative": "user"}.get(fault, own)
    state = str(shared / "state")
    assert state_of(65534, shared / "state", XDG_RUNTIME_DIR=value) == state


LOADS = (
    STATE
    + """
from gpubind import config
settings = config.Config({{config.SPEC_DIRS: [{shared!r} + "/cdi"]}}, "")
print(registry.load(settings, {shared!r})["generator"])
"""
)


@pytest.mark.root
def test_what_a_user_has_compiled_is_used_again(shared: Path) -> None:
    own = shared / "user"
    specs.put(f"{own}/gpubind", specs.compiled(), f"{shared}/cdi")
    for path in (own, own / "gpubind", own / "gpubind/compiled.json"):
        os.chown(path, 65534, 65534)
    said = state_of(65534, shared, LOADS, XDG_RUNTIME_DIR=str(own))
    assert said == f"{own}/gpubind\na test"


def test_a_shared_state_that_could_be_made_is_used(tmp_path: Path) -> None:
    assert registry.state(f"{tmp_path}/a/b") == f"{tmp_path}/a/b"
