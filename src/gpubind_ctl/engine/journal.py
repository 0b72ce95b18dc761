# SPDX-License-Identifier: Apache-2.0
"""What was done to an engine's files: the bytes before, hashes, when, and by which version.

One JSON file for each engine and main file, `<state>/ENGINE-HASH.json`, mode 0600 for the bytes may
hold secrets. It is written before the files are, so a kill in between leaves a change that never
happened; `settled` drops it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpubind import VERSION, root
from gpubind.errors import ToolkitError
from gpubind_ctl import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gpubind_ctl.engine.engine import Edit, Former, Wants

STATE = "/var/lib/gpubind/engines"
FORMAT = 1  # for those who come after us
LIMIT = 1 << 28  # bytes of a record
LATEST = 1 << 33  # seconds of the epoch, which is the year 2242
CHANGE = {
    "at": (int, float),
    "by": str,
    "runtime": str,
    "path": str,
    "former": dict,
    "images": list,
}
IMAGE = {
    "path": str,
    "before": (str, type(None)),
    "after": (str, type(None)),
    "data": (str, type(None)),
    "status": (list, type(None)),
}


@dataclass(frozen=True, slots=True)
class Image:
    """A file at a change: path, hashes before and after (None is no file), bytes before.

    `data` is there at a file's first change and where others had changed it in between, `status`,
    mode, user and group, where the change removed the file.
    """

    path: str
    before: str | None
    after: str | None
    data: bytes | None
    status: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One configure: `at` in seconds of the epoch, `by` a version, what was wanted, the files."""

    at: float
    by: str
    runtime: str
    path: str
    former: Former
    images: tuple[Image, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All changes of an engine's main file since it was last without our keys."""

    engine: str
    main: str
    changes: tuple[Change, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Give the runtimes' names, in the order they came."""
        return tuple(dict.fromkeys(change.runtime for change in self.changes))

    def former(self, name: str) -> Former:
        """Give what a runtime's keys were before the first change that touched them."""
        found: Former = {}
        for change in self.changes:
            if change.runtime == name:
                found = {**change.former, **found}
        return found

    def with_change(self, wants: Wants, former: Former, edits: Sequence[Edit]) -> Record:
        """Give the record with one change more, of now and by this version."""
        images = tuple(self._image(edit) for edit in edits)
        change = Change(
            at=time.time(),
            by=f"gpubind {VERSION}",
            runtime=wants.name,
            path=wants.path,
            former=former,
            images=images,
        )
        return replace(self, changes=(*self.changes, change))

    def without(self, name: str) -> Record:
        """Give the record without a runtime's changes."""
        return replace(self, changes=tuple(one for one in self.changes if one.runtime != name))

    def _image(self, edit: Edit) -> Image:
        before, after = digest(edit.before), digest(edit.after)
        last = self.images(edit.path)[-1:]
        known = last and last[0].after == before
        data = None if known else edit.before
        return Image(edit.path, before, after, data, edit.status if after is None else None)

    def images(self, path: str) -> tuple[Image, ...]:
        """Give a file's images, oldest first."""
        return tuple(one for change in self.changes for one in change.images if one.path == path)

    def settled(self, read: Callable[[str], bytes | None]) -> Record:
        """Give the record without a last change that never happened; `read` gives files' bytes."""
        changes = list(self.changes)
        while changes and all(
            image.before != image.after and digest(read(image.path)) == image.before
            for image in changes[-1].images
        ):
            changes.pop()
        return replace(self, changes=tuple(changes))

    def original(self, read: Callable[[str], bytes | None]) -> tuple[Image, ...] | None:
        """Give each file's image before us, None where others have changed one since."""
        paths = dict.fromkeys(image.path for change in self.changes for image in change.images)
        found = []
        for path in paths:
            images = self.images(path)
            now = (*(image.before for image in images[1:]), digest(read(path)))
            if any(image.after != seen for image, seen in zip(images, now, strict=True)):
                return None
            found.append(replace(images[0], status=images[-1].status))
        return tuple(found)


def folder() -> str:
    """Give where records are: root's in /var/lib, others' among their own state."""
    if os.geteuid() == 0:
        return STATE
    own = os.environ.get("XDG_STATE_HOME") or f"{os.environ.get('HOME', '')}/.local/state"
    return f"{own}/gpubind/engines"


def digest(data: bytes | None) -> str | None:
    """Give a content's SHA-256 in hex, None for no file."""
    return None if data is None else hashlib.sha256(data).hexdigest()


def place(state: str, engine: str, main: str) -> str:
    """Give the path of the record of an engine's main file."""
    return f"{state}/{engine}-{hashlib.sha256(os.fsencode(main)).hexdigest()[:16]}.json"


def load(state: str, engine: str, main: str) -> Record:
    """Give the record, an empty one where there is none. Raises ToolkitError, PermissionError."""
    path = place(state, engine, main)
    try:
        changes = _changes(json.loads(_contents(path)))
    except FileNotFoundError:
        changes = ()
    except PermissionError:
        raise
    except (OSError, ToolkitError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ToolkitError(
            f"{path}: is no journal: {getattr(error, 'strerror', '') or error}",
            identifier="ENGINE-JOURNAL",
            hint="move it away; unconfigure then removes our keys alone",
        ) from None
    return Record(engine=engine, main=main, changes=changes)


def _contents(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return root.contents(fd, path, LIMIT)
    finally:
        os.close(fd)


def save(state: str, record: Record) -> None:
    """Write the record, or remove it where it has no changes. Raises OSError."""
    path = place(state, record.engine, record.main)
    writing.sweep(path)
    if record.changes:
        document = {
            "format": FORMAT,
            "engine": record.engine,
            "main": record.main,
            "changes": [_document(change) for change in record.changes],
        }
        writing.put(path, json.dumps(document, indent=1).encode() + b"\n", 0o600)
    elif os.path.exists(path):
        writing.remove(path)


def _document(change: Change) -> dict[str, Any]:
    images = [
        {
            "path": image.path,
            "before": image.before,
            "after": image.after,
            "data": None if image.data is None else base64.b64encode(image.data).decode("ascii"),
            "status": image.status,
        }
        for image in change.images
    ]
    return {
        "at": change.at,
        "by": change.by,
        "runtime": change.runtime,
        "path": change.path,
        "former": change.former,
        "images": images,
    }


def _changes(document: dict[str, Any]) -> tuple[Change, ...]:
    """Give a record's changes. Raises KeyError, TypeError, ValueError for what is no record."""
    _check(document, {"format": int, "changes": list})
    if document["format"] > FORMAT:
        raise ValueError(f"a later release wrote it, in format {document['format']}")
    return tuple(_change(one) for one in document["changes"])


def _check(document: dict[str, Any], kinds: Mapping[str, Any]) -> None:
    for key, kind in kinds.items():
        if not isinstance(document[key], kind):
            raise TypeError(f"{key} is {str(document[key])[:40]!r}")


def _change(document: dict[str, Any]) -> Change:
    _check(document, CHANGE)
    if not 0 <= document["at"] < LATEST:
        raise ValueError(f"at is {document['at']}")
    for one in document["images"]:
        _check(one, IMAGE)
        if one["status"] is not None and [type(part) for part in one["status"]] != [int] * 3:
            raise TypeError(f"status is {one['status']}")
    images = tuple(
        Image(
            one["path"],
            one["before"],
            one["after"],
            None if one["data"] is None else base64.b64decode(one["data"], validate=True),
            one["status"] and tuple(one["status"]),
        )
        for one in document["images"]
    )
    values = {key: document[key] for key in ("at", "by", "runtime", "path", "former")}
    return Change(**values, images=images)
