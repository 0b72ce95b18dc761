# SPDX-License-Identifier: Apache-2.0
"""The start path installed under a prefix, for tests that start its launchers as an engine does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import checkout
import specs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RECORDS = """#!/bin/sh
printf '%s\\n' "$@" >'{prefix}/called'
exit {status}
"""


@dataclass(frozen=True, slots=True)
class Prefix:
    """An installation: launchers in `path`/bin, its own configuration and state."""

    path: str

    def start(
        self,
        launcher: str,
        words: Sequence[str],
        *,
        data: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str = "",
    ) -> subprocess.CompletedProcess[bytes]:
        """Start a launcher, with the folder of `runc` on its PATH, in an empty folder."""
        nowhere = f"{self.path}/nowhere"
        os.makedirs(nowhere, exist_ok=True)
        return subprocess.run(
            [f"{self.path}/bin/{launcher}", *words],
            check=False,
            input=data,
            capture_output=True,
            env={"PATH": f"{self.path}/runtimes", **(env or {})},
            cwd=cwd or nowhere,
            timeout=60,
        )

    def runtime(self, text: str = "", *, status: int = 0, name: str = "runc") -> None:
        """Put a low-level runtime there that records its words and ends with a status."""
        self.put(f"runtimes/{name}", text or RECORDS.format(prefix=self.path, status=status), 0o755)

    def called(self) -> list[str]:
        """Give the words the low-level runtime was called with, [] where it was not."""
        try:
            with open(f"{self.path}/called", encoding="utf-8") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def put(self, name: str, text: str, mode: int = 0o644) -> str:
        """Write a file below the prefix and give its path."""
        path = f"{self.path}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def specs(self, *found: Any) -> None:
        """Compile these specs, and configure their folder."""
        folder = f"{self.path}/cdi"
        os.makedirs(folder, exist_ok=True)
        key = "nvidia-container-runtime.modes.cdi.spec-dirs"
        self.put("etc/gpubind/config.toml", f"{key} = [{json.dumps(folder)}]\n")
        specs.put(f"{self.path}/run/gpubind", specs.compiled(*found), folder)

    def bundle(self, document: Any) -> str:
        """Make a bundle with an empty rootfs and give its folder."""
        os.makedirs(f"{self.path}/bundle/rootfs", exist_ok=True)
        text = document if isinstance(document, str) else json.dumps(document)
        return os.path.dirname(self.put("bundle/config.json", text))

    def clean(self) -> None:
        """Take away all that a test put there."""
        for name in os.listdir(self.path):
            path = f"{self.path}/{name}"
            if name not in ("bin", "lib"):
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


def install(path: str) -> Prefix:
    """Install the start path of the checkout under a folder."""
    program = os.path.join(checkout.ROOT, "packaging/install.py")
    words = [sys.executable, program, "--prefix", path, "--no-tools"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Prefix(path)
