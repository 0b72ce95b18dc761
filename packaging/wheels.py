# SPDX-License-Identifier: Apache-2.0
"""Build the wheel and the sdist by hatchling, from what git holds."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
import tempfile

import contents


def build(output: str, epoch: int) -> list[str]:
    """Build both into the folder `output` and give the files."""
    with tempfile.TemporaryDirectory(prefix="gpubind-") as folder:
        contents.checked_out(folder)
        env = {"PATH": os.defpath, "SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"}
        words = ["-m", "hatchling", "build", "--directory", f"{folder}/built"]
        subprocess.run(
            [sys.executable, *words], cwd=folder, check=True, env=env, capture_output=True
        )
        made = sorted(glob.glob(f"{folder}/built/*"))
        targets = [os.path.join(output, os.path.basename(path)) for path in made]
        for path, target in zip(made, targets, strict=True):
            with open(path, "rb") as source, open(target, "wb") as file:
                file.write(source.read())
    return targets
