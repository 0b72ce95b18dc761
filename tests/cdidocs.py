# SPDX-License-Identifier: Apache-2.0
"""CDI documents for tests: small ones made here, and the files under documents/good and bad."""

from __future__ import annotations

import os
from typing import Any

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "documents")


def edits(**fields: Any) -> dict[str, Any]:
    """Make containerEdits that are never empty."""
    return fields or {"deviceNodes": [{"path": "/dev/nvidia0"}]}


def device(name: str = "gpu0", **fields: Any) -> dict[str, Any]:
    """Make a device with these edits."""
    return {"name": name, "containerEdits": edits(**fields)}


def spec(*devices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Make a valid spec; `fields` replace or add members."""
    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": list(devices or (device(),)),
        **fields,
    }


def read(folder: str, name: str) -> bytes:
    """Give the bytes of a file under documents/."""
    with open(os.path.join(FOLDER, folder, name), "rb") as file:
        return file.read()


def good() -> list[str]:
    """Name the files that every reader takes."""
    return sorted(os.listdir(os.path.join(FOLDER, "good")))


def bad() -> dict[str, str]:
    """Give each file that no reader may take, and what is said about it."""
    rows = read("bad", "expected.tsv").decode().splitlines()
    return dict(tuple(row.split("\t")) for row in rows)  # type: ignore[misc] # two columns
