# SPDX-License-Identifier: Apache-2.0
"""`./dev demo` as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import checkout
import pytest

if TYPE_CHECKING:
    from pathlib import Path


PROGRAM = (sys.executable, os.path.join(checkout.ROOT, "packaging/demo.py"))
SOMEBODY = ("/usr/bin/unshare", "--user", "--map-user=1000", "--map-group=1000", "--")


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TMPDIR": os.fspath(tmp_path)}
    return subprocess.run(words, check=False, capture_output=True, text=True, env=env)


@pytest.mark.system
@pytest.mark.root
def test_the_demo_ends_with_a_container_that_finds_its_libraries(tmp_path: Path) -> None:
    done = run(tmp_path, *PROGRAM)
    assert (done.returncode, done.stderr) == (0, "")
    assert "libcuda.so.1 => " in done.stdout
    assert "/dev/nvidia0" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_without_root_the_demo_ends_with_the_edited_config(tmp_path: Path) -> None:
    done = run(tmp_path, *SOMEBODY, *PROGRAM)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"kind": "nvidia.com/gpu"' in done.stdout
    assert "Without root no container is started" in done.stdout
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert '+ "destination": "/usr/bin/nvidia-smi",' in lines
    assert '+ "NVIDIA_VISIBLE_DEVICES=void"' in lines
    assert list(tmp_path.iterdir()) == []
