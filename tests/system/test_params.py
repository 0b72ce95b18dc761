# SPDX-License-Identifier: Apache-2.0
"""Device-node modification: the driver's params are covered by a real mount, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trees

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.root]

OPEN = "EnableMSI: 1\nModifyDeviceFiles: 1\n"
PROGRAM = """
import json, sys
from gpubind import plan
from gpubind.operation import params
from gpubind.root import Root
root, state, source = sys.argv[1:]
answers = []
with Root(root) as opened:
    for _ in range(2):
        operation = params.MaskParams(state, source)
        answers.append(plan.perform(opened, [operation], []))
mounts = [line.split()[4] for line in open("/proc/self/mountinfo") if root in line]
text = open(root + params.PARAMS).read()
print(json.dumps({"done": answers, "text": text, "mounts": mounts}))
"""


def test_the_copy_is_mounted_over_params_once(tmp_path: Path) -> None:
    root = trees.build(tmp_path / "root", {"/proc/driver/nvidia/params": OPEN})
    source = trees.build(tmp_path, {"/params": OPEN}) + "/params"
    words = [sys.executable, "-c", PROGRAM, root, str(tmp_path / "state"), source]
    private = ["unshare", "--mount", "--propagation", "private"]
    done = subprocess.run([*private, *words], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == {
        "done": [["forbid device-node modification in /proc/driver/nvidia/params"], []],
        "text": "EnableMSI: 1\nModifyDeviceFiles: 0\n",
        "mounts": [f"{root}/proc/driver/nvidia/params"],
    }
    with open(os.path.join(root, "proc/driver/nvidia/params"), encoding="utf-8") as file:
        assert file.read() == OPEN
