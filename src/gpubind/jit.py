# SPDX-License-Identifier: Apache-2.0
"""The driver as it is now, for modes jit-cdi and csv: a spec nobody writes, compiled for starts.

`gpubind cdi compile --jit` looks at the driver, asks NVML, and leaves `jit.json` with signs of all
it saw. A start compares the signs, one stat or one small read each, and uses the spec; only where
a sign differs is that program run (see `refresh`). NVML is never loaded here.
"""

from __future__ import annotations

import posix
import time

from gpubind import VERSION, config, paths, registry
from gpubind.errors import ToolkitError

FORMAT = 1
KIND = registry.JIT_KIND
JIT, CSV, ALL_LISTS = "jit", "csv", "-all"
LIMIT_S = 40.0
"""How long a start waits for the generator, which itself waits 30 s for NVML."""

REST_S = 5.0
"""A name that is not in the spec has the driver looked at again, but not more often than this."""

_SILENT = ("[DRV-TIMEOUT]", "[DRV-CRASH]")  # NVML said nothing; other DRV- errors are answers
_TEXT_LIMIT = 4096

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from gpubind.oci.types import CompiledSpec, Edits

    Served = tuple[CompiledSpec, list[str]]


def kind(*, csv: bool = False, all_lists: bool = False) -> str:
    """Give which look at the driver is meant, which is the name of its document.

    The driver is looked at as mode `auto` finds it, or by a Tegra's lists in any case; of those the
    usual ones are read, or all.
    """
    return f"{CSV if csv else JIT}{ALL_LISTS if all_lists else ''}"


def node(path: str) -> list[int] | None:
    """Give what tells a node or socket from another at its place: number, mode, group."""
    try:
        status = posix.stat(path)
    except OSError:
        return None
    return [status.st_rdev, status.st_mode, status.st_gid]


def names(folder: str) -> list[str] | None:
    """Give the names in a folder of /proc or /dev, whose times mean nothing; None without it."""
    try:
        return sorted(posix.listdir(folder))
    except OSError:
        return None


def text(file: str) -> str | None:
    """Give a small file of /proc, None where it can't be read."""
    try:
        fd = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError:
        return None
    try:
        return posix.read(fd, _TEXT_LIMIT).decode("ascii", "backslashreplace")
    except OSError:
        return None
    finally:
        posix.close(fd)


SIGNS = {"texts": text, "names": names, "nodes": node, "stamps": config.stamp}
"""How each kind of sign is looked at, those that mostly change first."""


def serve(
    wanted: Sequence[str],
    root: str,
    state: str = paths.STATE,
    notes: list[str] | None = None,
    program: str = paths.GENERATOR,
    limit_s: float = LIMIT_S,
    look: str = JIT,
) -> Served:
    """Give the spec of the driver in `root` and its devices of these names, qualified or bare.

    `look` is a `kind`. Raises ToolkitError where there is none that fits, or no such device.
    """
    place = _place(root, state, look)
    document = current(root, place, look)
    if document is None:
        said: list[str] = [] if notes is None else notes
        document = _refreshed(root, place, program, limit_s, said, look)
    try:
        return pick(document, wanted)
    except ToolkitError:
        if 0 <= time.time() - document["made"] < REST_S:
            raise
        again = _looked_again(root, place, program, limit_s, look)
    return pick(again or document, wanted)


def pick(document: dict[str, Any], wanted: Sequence[str]) -> Served:
    """Give a document's spec and its devices of these names. Raises ToolkitError as `serve`."""
    asked = [name if "=" in name else f"{KIND}={name}" for name in wanted if name != "none"]
    found = registry.resolve(document, asked)  # type: ignore[arg-type] # it has all that is used
    return document["specs"][0], found.get(0, [])


def current(root: str, state: str, look: str = JIT) -> dict[str, Any] | None:
    """Give the document of the driver in `root` where all its signs fit, else None."""
    document = _kept(root, state, look)
    if document is None:
        return None
    for sign, read in SIGNS.items():
        for path, known in document["signs"][sign].items():
            if read(path) != known:
                return None
    return document


def _kept(root: str, state: str, look: str) -> dict[str, Any] | None:
    """Give the document of this version for this root, whatever its signs say."""
    document = config.trusted(f"{state}/{look}.json")
    if document is None or document.get("format") != FORMAT:
        return None
    same = document.get("root") == root and document.get("generator") == f"gpubind {VERSION}"
    return document if same else None


def _place(root: str, state: str, look: str) -> str:
    """Give the state folder to use: the shared one, or the caller's own where that can't write."""
    own = registry.state(state)
    return state if own == state or current(root, state, look) is not None else own


def _refreshed(
    root: str, state: str, program: str, limit_s: float, notes: list[str], look: str
) -> dict[str, Any]:
    """Give a document that fits, made by the generator, or the last good one with a note."""
    from gpubind import refresh

    try:
        refresh.look(root, state, program, limit_s, look)
    except ToolkitError as error:
        kept = _last_good(root, state, look)
        if kept is None or _is_answer(str(error)):
            raise
        notes.append(f"{error.message}; used what was there before that [JIT-KEPT]")
        return kept
    document = _kept(root, state, look)  # as fresh as can be: a sign may move all the time
    if document is None:
        raise ToolkitError(
            f"{state}/{look}.json does not describe the driver in {root}",
            identifier="REGISTRY-STALE",
            hint="run 'gpubind cdi compile --jit' and see what it says",
        )
    return document


def _looked_again(
    root: str, state: str, program: str, limit_s: float, look: str
) -> dict[str, Any] | None:
    from gpubind import refresh

    try:
        refresh.look(root, state, program, limit_s, look, fitting=True)
    except ToolkitError:
        return None  # the name's own error says more
    return current(root, state, look)


def _is_answer(message: str) -> bool:
    """Tell whether the generator failed by what the driver said, which no older spec overrules."""
    return "[DRV-" in message and not any(one in message for one in _SILENT)


def _last_good(root: str, state: str, look: str) -> dict[str, Any] | None:
    """Give the last document while the same kernel module is loaded, numbers of nodes left out.

    Without them each node is looked at again, and with the mounts refused where it is gone.
    """
    document = _kept(root, state, look)
    if document is None:
        return None
    if any(text(path) != known for path, known in document["signs"]["texts"].items()):
        return None
    spec = document["specs"][0]
    spec["containerEdits"] = _unnumbered(spec["containerEdits"])
    spec["devices"] = {name: _unnumbered(edits) for name, edits in spec["devices"].items()}
    return document


def _unnumbered(edits: Edits) -> Edits:
    given: Edits = {**edits}
    if "deviceNodes" in edits:
        given["deviceNodes"] = [
            {key: value for key, value in one.items() if key not in ("major", "minor")}  # type: ignore[misc] # a node still
            for one in edits["deviceNodes"]
        ]
    return given
