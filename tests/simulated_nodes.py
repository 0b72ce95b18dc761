# SPDX-License-Identifier: Apache-2.0
"""Simulated nodes for tests, and a folder with all that is in it as one value to compare."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from gpubind_ctl.simulate import layout, profile

if TYPE_CHECKING:
    from pathlib import Path


def node(name: str, folder: Path) -> Path:
    """Lay out the profile `name` in a folder of that name."""
    root = folder / name
    layout.lay_out(profile.load(name), str(root))
    return root


def tree(root: Path) -> dict[str, tuple[Any, ...]]:
    """Give every entry below `root` with what makes it what it is."""
    found: dict[str, tuple[Any, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            facts: tuple[Any, ...] = (stat.filemode(status.st_mode), status.st_rdev, status.st_gid)
            if stat.S_ISLNK(status.st_mode):
                facts += (os.readlink(path),)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    facts += (file.read(),)
            found[os.path.relpath(path, root)] = facts
    return found
