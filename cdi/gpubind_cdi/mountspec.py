# SPDX-License-Identifier: Apache-2.0
"""The lists of files that a Tegra's packages give for containers: `type, path` in *.csv files.

Nobody checks them when they are installed, so nothing in one stops the others: what can't be used
is named with file and line. The format is that of "Mount Plugin File Format Specification V1"
(L4T R32.2); a line that begins with `#` is a remark.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind_cdi.discover.found import Missing
from gpubind_cdi.lookup import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpubind.root import Root

FOLDER = "/etc/nvidia-container-runtime/host-files-for-container.d"
USUAL = ("devices.csv", "drivers.csv", "l4t.csv")
"""What every container gets; other packages put more lists beside them, for who asks for all."""

DEVICE, FOLDER_OF_FILES, FILE, LINK = "dev", "dir", "lib", "sym"
KINDS = (DEVICE, FOLDER_OF_FILES, FILE, LINK)
MAX_SIZE = 1 << 20
MAX_LINE = 8192  # twice the longest path there is, see PATH_MAX in limits.h
MAX_NAMED = 8  # lines of one file that are named; a file that is no list has thousands of bad ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of a list: one of KINDS, an absolute path, and where it stands (`file:line`)."""

    kind: str
    path: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """The lines of several lists, what of them can't be used, and the files that were read.

    `inputs` are the files as `Found` has them: host path, mtime in ns, size; zeros for one that
    can't be read.
    """

    entries: tuple[Entry, ...] = ()
    missing: tuple[Missing, ...] = ()
    inputs: tuple[tuple[str, int, int], ...] = ()


def names(root: Root, folder: str = FOLDER, *, every: bool = False) -> tuple[str, ...]:
    """Give the lists of a folder, those of USUAL or all; a file with no name before .csv is none.

    The usual ones are given whether they are there or not.
    """
    if not every:
        return tuple(f"{folder}/{name}" for name in USUAL)
    found = files.listed(root, folder)
    return tuple(
        f"{folder}/{name}" for name in found if name.lower().endswith(".csv") and len(name) > 4
    )


def read(root: Root, wanted: Sequence[str]) -> Lists:
    """Give the lists of these names in a root; one that is not there, or is no file, is named.

    A FIFO or a device is never opened, and nothing larger than MAX_SIZE is read.
    """
    entries: list[Entry] = []
    missing: list[Missing] = []
    inputs: list[tuple[str, int, int]] = []
    for name in wanted:
        host = root.outer(name)
        try:
            status = root.stat(name)
            data = root.read(name, MAX_SIZE)
        except OSError as error:
            missing.append(_skipped(host, (error.strerror or "can't be read").lower()))
            inputs.append((host, 0, 0))
            continue
        inputs.append((host, status.st_mtime_ns, status.st_size))
        good, bad = parse(data, host)
        entries += good
        missing += bad
        if not good and not bad:
            missing.append(_skipped(host, "names nothing"))
    return Lists(
        entries=tuple(dict.fromkeys(entries)), missing=tuple(missing), inputs=tuple(inputs)
    )


def parse(data: bytes, name: str) -> tuple[tuple[Entry, ...], tuple[Missing, ...]]:
    """Give the lines of one list and what is wrong in it; `name` is the file's, for both. Pure."""
    entries: list[Entry] = []
    bad: list[Missing] = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        line = raw[:MAX_LINE].decode("utf-8", "replace").strip()
        if not line or line.startswith("#"):
            continue
        kind, comma, path = (part.strip() for part in line.partition(","))
        fault = _fault(raw, kind, comma, path)
        if fault:
            bad.append(_skipped(f"{name}:{number}", fault))
        else:
            entries.append(Entry(kind=kind, path=path, place=f"{name}:{number}"))
    rest = len(bad) - MAX_NAMED
    if rest > 0:
        bad[MAX_NAMED:] = [_skipped(name, f"{rest} more lines are no `type, path`")]
    return tuple(entries), tuple(bad)


def _fault(raw: bytes, kind: str, comma: str, path: str) -> str:
    """Say why a line can't be used, nothing where it can."""
    if len(raw) > MAX_LINE:
        return f"longer than {MAX_LINE} bytes"
    if not comma:
        return "no comma: expected `type, path`"
    if kind not in KINDS:
        return f"no type {kind[:20]!a}: expected one of {', '.join(KINDS)}"
    if not path.startswith("/"):
        return f"{path[:40]!a} is no absolute path"
    if not path.isprintable() or "�" in path:
        return "the path is no printable text"
    if ".." in path.split("/"):
        return "the path goes through `..`"
    return "" if path.strip("/") else "the path is the whole root"


def _skipped(what: str, why: str) -> Missing:
    return Missing(what=what, reason=f"skipped: {why}", required=False)


def ignored(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Give the test whether a path matches one of the patterns an operator wants ignored.

    A star does not match a slash; a pattern that begins with `**/` is one of the last name alone.
    """
    rows = [(pattern.removeprefix("**/"), pattern.startswith("**/")) for pattern in patterns]

    def test(path: str) -> bool:
        return any(
            _matches(path.rpartition("/")[2] if last else path, pattern) for pattern, last in rows
        )

    return test


def _matches(path: str, pattern: str) -> bool:
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def globbed(root: Root, pattern: str) -> Iterator[str]:
    """Give the names in a root that a pattern of components stands for, sorted.

    A pattern without `*`, `?` and `[` stands for itself, whether it is there or not.
    """
    places = [""]
    for part in pattern.strip("/").split("/"):
        if any(mark in part for mark in "*?["):
            places = [
                f"{place}/{name}"
                for place in places
                for name in files.listed(root, place or "/")
                if fnmatch.fnmatchcase(name, part) and not name.startswith(".")
            ][:MAX_MATCHES]
        else:
            places = [f"{place}/{part}" for place in places]
    yield from places


MAX_MATCHES = 4096
"""More nodes than one pattern can mean; a loop of links could give names without end."""
