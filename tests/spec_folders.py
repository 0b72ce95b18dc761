# SPDX-License-Identifier: Apache-2.0
"""Spec directories laid out for tests, and what compiling them gave."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gpubind_cdi import compile as compiling
from gpubind_cdi import document

if TYPE_CHECKING:
    from pathlib import Path


NODE = {"path": "/dev/nvidia0", "capabilities": [], "required": True, "why": ""}


def lay(folder: Path, **files: Any) -> str:
    """Write specs as YAML into a folder, bytes as they are; give the folder's name."""
    folder.mkdir(mode=0o755, exist_ok=True)
    for name, content in files.items():
        path = folder / f"{name}.yaml"
        path.write_bytes(content if isinstance(content, bytes) else document.dump(content, "yaml"))
        path.chmod(0o644)
    return str(folder)


def compiled(*folders: str, sidecars: str = "/nowhere", **options: Any) -> dict[str, Any]:
    return compiling.compiled({}, folders, sidecars, **options)


def told(registry_: dict[str, Any]) -> dict[str, str]:
    return {os.path.basename(row["path"]): row["message"] for row in registry_["errors"]}
