# SPDX-License-Identifier: Apache-2.0
"""The modes of `nvidia-container-runtime.mode`, as a table, and which one `auto` is.

Found out by cheap signs: no library of the driver is loaded at a container's start.
"""

from __future__ import annotations

import posix

from gpubind import paths
from gpubind.config import DEFAULTS, DRIVER_ROOT, HOOK_PATH, MODE
from gpubind.errors import ToolkitError

AUTO = "auto"
_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind.config import Config


class Mode:
    """What a mode does.

    `annotations`: CDI annotations count. `hook`: the prestart hook is put in to do the work,
    instead of edits to the spec, and a prestart hook that is there stays. `what` is a line for
    people.
    """

    __slots__ = ("annotations", "hook", "name", "what")

    def __init__(
        self,
        name: str,
        what: str,
        *,
        annotations: bool = False,
        hook: bool = False,
    ) -> None:
        self.name = name
        self.what = what
        self.annotations = annotations
        self.hook = hook


MODES = {
    mode.name: mode
    for mode in (
        Mode("cdi", "devices of the CDI specs on this host", annotations=True),
        Mode("jit-cdi", "devices of the driver as compiled for container starts"),
        Mode("csv", "what a Tegra's lists name, as compiled for container starts"),
        Mode("legacy", "the prestart hook injects, not the runtime", hook=True),
    )
}

ANNOTATED = (AUTO, *(mode.name for mode in MODES.values() if mode.annotations))
"""Settings under which CDI annotations count: `auto` is `cdi` for a container that has some."""


def decide(settings: Config, devices: Sequence[str], *, driver: bool = True) -> tuple[Mode, str]:
    """Give the mode for a container that asks for these devices, and why it is that one.

    `driver` tells whether the host has one to look at. Raises ToolkitError for a mode there is not.
    """
    name = settings.text(MODE)
    if name == AUTO:
        qualified = all("=" in name for name in devices)
        return _automatic(settings, qualified=qualified, driver=driver)
    found = MODES.get(name)
    if found is None:
        raise ToolkitError(
            f"{settings.file}: there is no mode {name[:80]!r} for {MODE}",
            identifier="MODE-UNKNOWN",
            hint=f"use {AUTO}, {', '.join(MODES)}",
        )
    return found, f"{MODE} = {name!r} in {settings.file}"


def _automatic(settings: Config, *, qualified: bool, driver: bool) -> tuple[Mode, str]:
    if qualified:
        return MODES["cdi"], "every device is a CDI name"
    if not driver:
        return MODES["cdi"], "there is no driver here to look at"
    if is_tegra(settings.text(DRIVER_ROOT) or "/"):
        return MODES["csv"], "this is a Tegra"
    return MODES["jit-cdi"], "not every device is a CDI name, and this is no Tegra"


def is_tegra(driver_root: str) -> bool:
    """Tell whether the host is a Tegra by the files of its system."""
    from gpubind.root import Root

    try:
        with Root(driver_root) as system:
            if system.exists("/etc/nv_tegra_release"):
                return True
        with Root("/sys") as sys:
            return sys.read("/devices/soc0/family", 4096).lower().startswith(b"tegra")
    except OSError:
        return False


def hook_program(settings: Config) -> str:
    """Give the absolute path of the prestart hook. Raises ToolkitError where it is not installed.

    The field's own name, which is the default, stands for our program.
    """
    name = settings.text(HOOK_PATH)
    candidates = [f"{folder}/{name}" for folder in _FOLDERS]
    if name.startswith("/"):
        candidates = [name]
    elif name == DEFAULTS[HOOK_PATH]:
        candidates = [paths.RUNTIME_HOOK]
    for program in candidates:
        if posix.access(program, posix.X_OK):
            return program
    raise ToolkitError(
        f"mode legacy needs the prestart hook, and {candidates[0]} is not there to be run",
        identifier="MODE-HOOK",
        hint=f"install it, or name another in {settings.file} at {HOOK_PATH}",
    )
