# SPDX-License-Identifier: Apache-2.0
"""Names of CDI devices resolved by the compiled specs.

The start path reads no YAML: `gpubind cdi compile` writes all spec directories into one JSON file,
with a stamp of each source. Where a stamp no longer fits, that program is run (see `refresh`).
"""

from __future__ import annotations

import posix

from gpubind import linux, paths
from gpubind.config import DEFAULT_KIND, SPEC_DIRS, stamp, trusted
from gpubind.errors import ToolkitError

FORMAT = 1
FILE = "compiled.json"
APART = "others.json"
"""The specs of kinds that `compiled.json` names as `elsewhere`: with many, few starts want one."""

JIT_KIND = "runtime.nvidia.com/gpu"
"""The kind of what no spec directory holds: the driver as it is now, see `jit`."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpubind.config import Config
    from gpubind.oci.types import Compiled, CompiledSpec


def load(settings: Config, shared: str = paths.STATE) -> Compiled:
    """Give the compiled specs, compiled anew where a source has changed. Raises ToolkitError."""
    folders = settings.texts(SPEC_DIRS)
    compiled = current(folders, shared)
    if compiled is not None:
        return compiled
    place = state(shared)
    compiled = current(folders, place) if place != shared else None
    if compiled is None:
        from gpubind import refresh

        refresh.run(folders, place)
        compiled = current(folders, place)
    if compiled is None:
        raise ToolkitError(
            f"{place}/{FILE} does not fit the CDI specs in {', '.join(folders)}",
            identifier="REGISTRY-STALE",
            hint="run 'gpubind cdi compile' and see what it says",
        )
    return compiled


def state(shared: str = paths.STATE) -> str:
    """Give the folder that compiled files are written to: the caller's own if not the shared one.

    That is `$XDG_RUNTIME_DIR/gpubind`, if the former is the caller's alone.
    """
    if posix.access(shared, posix.W_OK):
        return shared
    own = linux.environment().get("XDG_RUNTIME_DIR", "")
    try:
        status = posix.stat(own)
    except OSError:
        return shared
    if not own.startswith("/") or status.st_uid != posix.geteuid() or status.st_mode & 0o022:
        return shared
    return shared if _can_be_made(shared) else f"{own}/gpubind"


def _can_be_made(folder: str) -> bool:
    """Tell whether an absent folder could be made by the caller."""
    while not linux.lexists(folder):
        folder = folder.rpartition("/")[0] or "/"
        if linux.lexists(folder):
            return posix.access(folder, posix.W_OK)
    return False


def current(folders: list[str], state: str) -> Compiled | None:
    """Give the compiled specs where they fit all their sources, else None."""
    compiled = trusted(f"{state}/{FILE}")
    if compiled is None or compiled.get("format") != FORMAT:
        return None
    stamps = compiled.get("stamps") or {}
    if any(folder not in stamps for folder in folders):
        return None
    if any(stamp(path) != known for path, known in stamps.items()):
        return None
    if any(numbers(folder, names) != known for folder, names, known in compiled.get("files", ())):
        return None
    if "elsewhere" in compiled:
        compiled["state"] = state
    return compiled  # type: ignore[return-value] # written by `gpubind cdi compile` in this format


def numbers(folder: str, names: str) -> str:
    """Give inode and change time of a folder's files, `names` a line each; "" if one is gone.

    No change of a file leaves both as they are, see inode(7). One stat(2) and little more for each:
    with 1,000 files this is what a start spends on them.
    """
    found: list[int] = []
    try:
        fd = posix.open(folder, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        for name in names.split("\n"):
            now = posix.stat(name, dir_fd=fd)
            found += (now.st_ino, now.st_ctime_ns)
        posix.close(fd)
    except OSError:
        return ""
    return str(found)


def whole(compiled: Compiled) -> Compiled:
    """Give the compiled specs with those that are kept apart, which are read now."""
    if not compiled.get("elsewhere"):
        return compiled
    compiled["elsewhere"] = ""
    others = trusted(f"{compiled['state']}/{APART}") or {}
    first = len(compiled["specs"])
    compiled["specs"] += others.get("specs", [])
    compiled["devices"] |= {name: first + at for name, at in others.get("devices", {}).items()}
    return compiled


def _is_elsewhere(compiled: Compiled, kind: str) -> bool:
    """Tell whether a kind's specs are in the file that is not read yet."""
    return f" {kind} " in compiled.get("elsewhere", "")


def qualified(names: Iterable[str], settings: Config) -> list[str]:
    """Give fully qualified CDI names; a bare one belongs to the configured default kind."""
    kind = settings.text(DEFAULT_KIND)
    return [name if "=" in name else f"{kind}={name}" for name in names]


def resolve(compiled: Compiled, names: Iterable[str]) -> dict[int, list[str]]:
    """Give the specs that hold the devices, as index to device names, both in request order.

    UUIDs are found in any case, GPUs by any of their names (see `naming`). Raises ToolkitError
    listing every name that is not there, and why.
    """
    found: dict[int, list[str]] = {}
    missing: list[str] = []
    for name in names:
        if _is_elsewhere(compiled, name.partition("=")[0]):
            whole(compiled)
        known = name if name in compiled["devices"] else _otherwise(compiled, name)
        if known is None:
            missing.append(name)
            continue
        devices = found.setdefault(compiled["devices"][known], [])
        device = known.partition("=")[2]
        if device not in devices:
            devices.append(device)
    if missing:
        raise ToolkitError(
            f"unresolvable CDI devices {', '.join(missing[:8])}: {_why(compiled, missing)}",
            identifier="REGISTRY-DEVICE",
            hint="'gpubind cdi list' shows what there is",
        )
    return found


def of_kind(compiled: Compiled, kind: str) -> list[CompiledSpec]:
    """Give the specs of one kind, the one of highest priority first."""
    if _is_elsewhere(compiled, kind):
        whole(compiled)
    specs = [spec for spec in compiled["specs"] if spec["kind"] == kind]
    return sorted(specs, key=lambda spec: -spec["priority"])


def _otherwise(compiled: Compiled, name: str) -> str | None:
    """Give the known name of a device that `name` names in another way."""
    known = _in_any_case(compiled, name)
    if known is not None or name in compiled["conflicts"]:
        return known
    from gpubind import naming

    kind, _, wanted = name.partition("=")
    for spec in of_kind(compiled, kind):
        device = naming.device_of(spec, wanted)
        if device and f"{kind}={device}" in compiled["devices"]:
            return f"{kind}={device}"
    return None


def _in_any_case(compiled: Compiled, name: str) -> str | None:
    if not name.partition("=")[2].upper().startswith(("GPU-", "MIG-")):
        return None
    lower = name.lower()
    return next((known for known in compiled["devices"] if known.lower() == lower), None)


def _why(compiled: Compiled, missing: list[str]) -> str:
    """Say what stands in the way of the first missing name."""
    name = missing[0]
    if name in compiled["conflicts"]:
        return f"{name} stands in {' and '.join(compiled['conflicts'][name])}"
    if compiled["errors"]:
        first = compiled["errors"][0]
        return f"not in a readable spec; {first['path']}: {first['message']}"
    kind = name.partition("=")[0]
    if not of_kind(compiled, kind):
        return f"no spec describes {kind}"
    devices = [
        known.partition("=")[2] for known in compiled["devices"] if known.startswith(f"{kind}=")
    ]
    return f"{kind} has {', '.join(devices[:12])}{', …' if len(devices) > 12 else ''}"
