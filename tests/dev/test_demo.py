# SPDX-License-Identifier: Apache-2.0
"""`./dev demo` and `./dev bench` as people run them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import bench
import checkout
import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.system
@pytest.mark.root
def test_the_demo_ends_with_a_container_that_finds_its_libraries(tmp_path: Path) -> None:
    program = os.path.join(checkout.ROOT, "packaging/demo.py")
    done = subprocess.run(
        [sys.executable, program],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": os.fspath(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "libcuda.so.1 => " in done.stdout
    assert "/dev/nvidia0" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_bench_says_which_limit_is_passed(capsys: pytest.CaptureFixture[str]) -> None:
    names = {row.measured for row in bench.ROWS} | {row.less for row in bench.ROWS if row.less}
    assert bench.table({"bare": 1.0} | dict.fromkeys(names, 1.0))
    assert "over" not in capsys.readouterr().out
    assert not bench.table({"bare": 1.0} | dict.fromkeys(names, 1.0) | {"generate": 26.0})
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("cdi generate, 8 GPUs")
    assert last.endswith("over")
