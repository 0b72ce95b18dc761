# SPDX-License-Identifier: Apache-2.0
"""Loading the driver's kernel modules: by the host's modprobe, or by that of the driver root."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset")
MODPROBE, CHROOT = "/sbin/modprobe", "/usr/sbin/chroot"
LIMIT_S = 120.0  # a node with 16 GPUs takes half a minute
_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def plan(driver_root: str) -> Iterator[tuple[str, ...]]:
    """Give the command lines that load the modules, in the order they need each other."""
    before = () if driver_root == "/" else (CHROOT, driver_root)
    yield from ((*before, MODPROBE, name) for name in MODULES)


def load(words: tuple[str, ...]) -> None:
    """Run one of them. Raises ToolkitError MODULE-LOAD where that fails."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=LIMIT_S, env=_ENV
        )
        said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        reason = said[0] if done.returncode else ""
    except subprocess.TimeoutExpired:
        reason = f"it took over {LIMIT_S:g} s"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise ToolkitError(
            f"'{' '.join(words)}' failed: {reason}",
            identifier="MODULE-LOAD",
            hint="run it by hand, and see dmesg",
        )
