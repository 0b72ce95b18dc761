# SPDX-License-Identifier: Apache-2.0
"""The specs of all simulated machines, whole, against golden files.

To change them on purpose, run this file once with GPUBIND_WRITE_GOLDEN=1 and read the difference
before you commit it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from gpubind_cdi import files
from gpubind_cdi.modes.mode import Options
from simulated_nodes import node

from gpubind_ctl import generation, roots
from gpubind_ctl.simulate import kernel, profile

if TYPE_CHECKING:
    from pathlib import Path

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "golden", "profiles")
OTHERS = (
    *(("dgx-h100", mode) for mode in ("gds", "mofed", "gdrcopy", "nvswitch", "management")),
    ("gb200-nvl4", "imex"),
)
CASES = (*((name, "auto") for name in profile.names()), *OTHERS)


@pytest.mark.root
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_machines_spec_is_the_golden_one(tmp_path: Path, name: str, mode: str) -> None:
    root = str(node(name, tmp_path))
    places = roots.of(root)
    wanted = Options(
        mode=mode, hook_path="/usr/bin/gpubind-cdi-hook", device_name_strategies=("index",)
    )
    generated = generation.looks(wanted, places.driver, places.dev).found[""]
    text = files.text(generated).decode().replace(root, "/driver-root")
    text = text.replace(f"major: {kernel.GPU_MAJOR_ELSE}\n", f"major: {kernel.GPU_MAJOR}\n")
    file = os.path.join(GOLDEN, f"{name}.yaml" if mode == "auto" else f"{name}-{mode}.yaml")
    if os.environ.get("GPUBIND_WRITE_GOLDEN"):
        os.makedirs(GOLDEN, exist_ok=True)
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(text)
    with open(file, encoding="utf-8") as stream:
        assert text == stream.read()
    assert generated.missing == ()


def test_every_golden_spec_is_compared() -> None:
    names = {f"{name}.yaml" if mode == "auto" else f"{name}-{mode}.yaml" for name, mode in CASES}
    assert set(os.listdir(GOLDEN)) == names
