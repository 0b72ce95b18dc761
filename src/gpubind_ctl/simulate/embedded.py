# SPDX-License-Identifier: Apache-2.0
"""What the kernel shows where no GPU is on a PCI bus: on a Tegra, and on a WSL2 machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind_ctl.simulate.entries import Entry, File, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_ctl.simulate.profile import Profile

TEGRA, WSL = "tegra", "wsl"
TEGRA_MAJOR, DXG_MAJOR = 319, 320  # no driver on any host has these numbers, see `kernel`

# The nodes a Tegra shares with other machines, with their minor numbers.
_SHARED = {"/dev/nvidia0": 0, "/dev/nvidia-modeset": 254, "/dev/nvidiactl": 255}


def plan(profile: Profile, major: int) -> Iterator[Entry]:
    """Give all that the kernel shows; `major` is the number of GPUs on other machines."""
    if profile.platform == TEGRA:
        yield from _tegra(profile)
    own = TEGRA_MAJOR if profile.platform == TEGRA else DXG_MAJOR
    for number, path in enumerate(profile.nodes):
        if path in _SHARED:
            yield Node(path=path, major=major, minor=_SHARED[path], mode=0o666)
        else:
            yield Node(path=path, major=own, minor=number, mode=0o666)


def _tegra(profile: Profile) -> Iterator[Entry]:
    version = (
        f"NVRM version: NVIDIA UNIX Open Kernel Module for {profile.machine}  {profile.version}  "
        "Release Build  (gpubind)\n"
    )
    yield _text("/proc/driver/nvidia/version", version)
    yield _text("/sys/devices/soc0/family", "Tegra\n")
    yield _text("/sys/devices/soc0/machine", f"{profile.name}, simulated\n")


def _text(path: str, text: str) -> File:
    return File(path=path, data=text.encode(), mode=0o444)
