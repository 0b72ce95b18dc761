# SPDX-License-Identifier: Apache-2.0
"""A simulated node whose spec is kept true, and what can happen to it."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from gpubind_cdi.modes.mode import Options
from simulated_nodes import node

from gpubind_ctl import sources
from gpubind_ctl.refresh import once
from gpubind_ctl.refresh.job import Job

if TYPE_CHECKING:
    from pathlib import Path

    from gpubind_cdi.gpu import GpuSource

    from gpubind_ctl.refresh.once import Outcome

MODULE = "proc/driver/nvidia/version"


class Host:
    """A simulated node, the spec file of it, and the state folder."""

    def __init__(self, place: Path, profile: str = "t4") -> None:
        self.place = place
        self.root = node(profile, place)
        self.output = place / "cdi/nvidia.yaml"
        self.looks = 0
        self.job = self.wanted()

    def wanted(self, *, strict: bool = False, **options: Any) -> Job:
        """Give the job of keeping the spec true with these options."""
        return Job(
            options=Options(**options),
            driver_root=str(self.root),
            dev_root=None,
            output=str(self.output),
            form="yaml",
            state=str(self.place / "state"),
            lasting=str(self.place / "lasting"),
            strict=strict,
            source=self.counted,
        )

    def counted(self, *words: Any, now: bool) -> GpuSource:
        """Count how often somebody asks which GPUs there are."""
        self.looks += 1
        return sources.of(*words, now=now)

    def refresh(self, job: Job | None = None, *, force: bool = False) -> Outcome:
        return once.refresh(job or self.job, force=force)

    def text(self) -> str:
        """Give the spec, empty where there is none."""
        return self.output.read_text() if self.output.exists() else ""

    def unload(self) -> None:
        """Unload the kernel module: what it shows in /proc goes."""
        shutil.rmtree(self.root / "proc/driver")

    def uninstall(self) -> None:
        """Remove the driver's libraries."""
        for folder in (self.root / "usr/lib").iterdir():
            if folder.name.endswith("-linux-gnu"):
                shutil.rmtree(folder)

    def unplug(self, keep: int = 0) -> None:
        """Take GPUs away until so many are left, as the kernel and NVML see it."""
        facts = self.inventory()
        for one in facts["gpus"][keep:]:
            shutil.rmtree(self.root / "proc/driver/nvidia/gpus" / one["pci"])
        self.take(facts | {"gpus": facts["gpus"][:keep]})

    def upgrade(self, version: str) -> None:
        """Load another version of the kernel module, without its libraries."""
        file = self.root / MODULE
        old = self.inventory()["driver"]["version"]
        text = file.read_text().replace(old, version)
        file.chmod(0o644)
        file.write_text(text)

    def sicken(self) -> None:
        """Have NVML give nonsense."""
        (self.root / "gpubind-node.json").write_text("{")

    def inventory(self) -> Any:
        """Give what stands in for NVML."""
        return json.loads((self.root / "gpubind-node.json").read_text())

    def take(self, facts: Any) -> None:
        """Have NVML say this from now on."""
        (self.root / "gpubind-node.json").write_text(json.dumps(facts))

    def times(self) -> tuple[int, int]:
        """Give what changes when the spec is written: its inode and its time."""
        status = os.stat(self.output)
        return status.st_ino, status.st_mtime_ns

    def lost(self, index: int) -> None:
        """Have NVML say that it can't read a GPU."""
        facts = self.inventory()
        facts["gpus"] = [one for one in facts["gpus"] if one["index"] != index]
        self.take(facts | {"faults": [{"index": index, "message": "GPU is lost"}]})
