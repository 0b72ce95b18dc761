# SPDX-License-Identifier: Apache-2.0
"""Files of a root by name, pattern and kind, each with the name it ends at after all links."""

from __future__ import annotations

import fnmatch
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gpubind.root import Root


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file: `name` as it was looked for, `path` where its links end, both inside the root."""

    name: str
    path: str
    status: os.stat_result


def is_program(mode: int) -> bool:
    """Tell whether a mode is that of a regular file somebody may execute."""
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def find(root: Root, name: str, kind: Callable[[int], bool] = stat.S_ISREG) -> File | None:
    """Give the file `name` leads to inside the root if it is of the kind, else None.

    A loop, a dangling link and a folder that may not be read lead nowhere.
    """
    try:
        status = root.stat(name)
        if not kind(status.st_mode):
            return None
        return File(name=name, path=root.resolve(name), status=status)
    except OSError:
        return None


def first(
    root: Root, names: Iterable[str], kind: Callable[[int], bool] = stat.S_ISREG
) -> File | None:
    """Give the first of `names` that leads to a file of the kind, or None."""
    return next((file for name in names if (file := find(root, name, kind))), None)


def matching(root: Root, folder: str, patterns: Sequence[str]) -> Iterator[File]:
    """Give the regular files in a folder whose names match a pattern, by name."""
    for name in listed(root, folder):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            file = find(root, f"{folder}/{name}")
            if file is not None:
                yield file


def listed(root: Root, folder: str) -> list[str]:
    """Give the sorted names in a folder; none where it is absent, no folder, or not readable."""
    try:
        return root.listdir(folder)
    except OSError:
        return []


def text(root: Root, name: str) -> str:
    """Give the text of a small file such as those in /proc; empty where it can't be read."""
    try:
        return root.read(name, 1 << 22).decode("utf-8", "replace")
    except OSError:
        return ""
