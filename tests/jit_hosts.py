# SPDX-License-Identifier: Apache-2.0
"""A host with an installation, a simulated node as its driver root, and starts of containers.

The low-level runtime is /usr/bin/true, so what a container would get is read from config.json.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import checkout

from gpubind_ctl.simulate import layout, profile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNTED = """\
#!/bin/sh
echo $$ >> '{place}/runs'
exec '{place}/generator' "$@"
"""
VARIABLE = "NVIDIA_VISIBLE_DEVICES"


class Host:
    """An installation, a simulated node as its driver root, and bundles."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.node = place / "node"

    def configure(self, *lines: str, root: bool = True, mode: str = "auto") -> None:
        """Write config.toml."""
        file = self.place / "etc/gpubind/config.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = [
            f'nvidia-container-runtime.mode = "{mode}"',
            f'nvidia-container-runtime.modes.cdi.spec-dirs = ["{self.place}/cdi"]',
            f'nvidia-container-runtime.runtimes = ["{self.place}/runc"]',
            *([f'nvidia-container-cli.root = "{self.node}"'] if root else []),
            *lines,
        ]
        file.write_text("\n".join(text))

    def lay_out(self, name: str, change: Callable[[Any], Any] = lambda known: known) -> None:
        """Make the driver root a node of this profile."""
        layout.lay_out(change(profile.load(name)), str(self.node))

    def specify(self, kind: str) -> None:
        """Put a CDI spec of one device, `0`, into the spec directory."""
        edits = {"env": [f"FROM={kind}"]}
        spec = {"cdiVersion": "0.5.0", "kind": kind, "devices": [{"name": "0"}]}
        spec["devices"] = [{"name": "0", "containerEdits": edits}]
        (self.place / "cdi").mkdir(exist_ok=True)
        (self.place / f"cdi/{kind.replace('/', '-')}.json").write_text(json.dumps(spec))

    def began(self, devices: str, name: str = "bundle", *env: str) -> subprocess.Popen[str]:
        """Begin to create a container that asks for these devices; `env` are more variables."""
        bundle = self.place / name
        shutil.rmtree(bundle, ignore_errors=True)
        (bundle / "rootfs").mkdir(parents=True)
        document = {
            "ociVersion": "1.0.2",
            "process": {"env": [f"{VARIABLE}={devices}", *env]},
            "root": {"path": "rootfs"},
        }
        (bundle / "config.json").write_text(json.dumps(document))
        words = [f"{self.place}/bin/gpubind-runtime", "create", "--bundle", str(bundle), name]
        return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={})

    def start(self, devices: str, *env: str) -> tuple[int, str]:
        """Create a container; give exit status and messages."""
        begun = self.began(devices, "bundle", *env)
        said = begun.communicate(timeout=60)[1]
        return begun.returncode, said

    def config(self, name: str = "bundle") -> Any:
        return json.loads((self.place / name / "config.json").read_text())

    def nodes(self, name: str = "bundle") -> list[str]:
        """Give the device nodes of GPUs that a container got."""
        found = (self.config(name).get("linux") or {}).get("devices") or []
        paths = [node["path"].removeprefix("/dev/nvidia") for node in found]
        return sorted(path for path in paths if path.isdigit())

    def paths(self) -> list[str]:
        """Give all device nodes that a container got."""
        found = (self.config().get("linux") or {}).get("devices") or []
        return [node["path"] for node in found]

    def sources(self) -> list[str]:
        return [mount["source"] for mount in self.config().get("mounts", ())]

    def env(self) -> list[str]:
        return [str(entry) for entry in self.config()["process"]["env"]]

    def runs(self) -> int:
        """Give how many generators were started."""
        file = self.place / "runs"
        return len(file.read_text().split()) if file.exists() else 0


def install(place: Path) -> Path:
    """Install with tools below `place`; the operator's program is counted from now on."""
    program = os.path.join(checkout.ROOT, "packaging/install.py")
    subprocess.run(
        [sys.executable, program, "--prefix", str(place)], check=True, capture_output=True
    )
    (place / "runc").symlink_to("/usr/bin/true")
    os.rename(place / "bin/gpubind", place / "generator")
    return place


def fresh(place: Path) -> Host:
    """Give the installation as a host on which nothing has started yet: one T4."""
    for name in ("run", "etc", "cdi", "node", "runs"):
        path = place / name
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
    program = place / "bin/gpubind"
    program.write_text(COUNTED.format(place=place))
    program.chmod(0o755)
    made = Host(place)
    made.configure()
    made.lay_out("t4")
    return made
