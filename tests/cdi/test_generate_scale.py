# SPDX-License-Identifier: Apache-2.0
"""What generating costs with many GPUs and MIG devices: counted, never timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bench_scale
import pytest
from gpubind_cdi import document, generate
from gpubind_cdi.modes.mode import Options
from gpubind_cdi.simulated import Simulated
from steps import lines

from gpubind.root import Root
from gpubind_ctl.simulate import layout

if TYPE_CHECKING:
    from pathlib import Path


def steps(folder: Path, gpus: int, migs: int) -> int:
    """Count the lines that generating the spec of so many GPUs takes, and writing it."""
    place = str(folder / f"{gpus}-{migs}")
    layout.lay_out(bench_scale.node(gpus, migs), place)

    def work() -> None:
        with Root(place) as root:
            found = generate.generate(Options(), Simulated(root), root, root)
            document.dump(found.spec.document(), "yaml")

    work()  # reads tables that are read once
    return lines(work)


@pytest.mark.root
@pytest.mark.parametrize(("few", "many"), [((4, 0), (8, 0)), ((8, 0), (16, 0)), ((8, 7), (16, 7))])
def test_twice_the_gpus_take_at_most_twice_the_steps(
    tmp_path: Path, few: tuple[int, int], many: tuple[int, int]
) -> None:
    assert steps(tmp_path, *many) <= 2.1 * steps(tmp_path, *few)
