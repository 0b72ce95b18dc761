# SPDX-License-Identifier: Apache-2.0
"""What CDI has no place for: the file beside a spec, and how the two are woven together.

A sidecar fits its spec by path and hash. Where none fits, a table of names says the capability of
each mount and node, and everything is required.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubind.errors import DocumentError
from gpubind_cdi import document
from gpubind_cdi.fields import Reader, listed, mapping, quoted, text, text_map, truth, uint32, under

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpubind_cdi.model import ContainerEdits

    Capabilities = Callable[[str], tuple[str, ...] | None]

FORMAT = 1
OUR_HOOK = "gpubind-cdi-hook"


def _object(**readers: Reader[Any]) -> Reader[dict[str, Any]]:
    """Give a reader of objects with at least these fields; others are left out."""

    def read(value: Any) -> dict[str, Any]:
        known = mapping(value)
        for name in readers:
            if name not in known:
                raise DocumentError(f"missing field {quoted(name)}")
        return {name: under(name, reader, known[name]) for name, reader in readers.items()}

    return read


def made(value: Any) -> dict[str, Any]:
    """Read how a spec was made: its `signs` by kind and host path, and what else is said of it.

    Nothing is said where nobody noted it. Raises DocumentError for signs that are none.
    """
    known = _as_is(value or {})
    kinds = under("signs", mapping, known.get("signs", {}))
    known["signs"] = {kind: under(kind, _as_is, signs) for kind, signs in kinds.items()}
    return known


def _as_is(value: Any) -> dict[str, Any]:
    return dict(mapping(value))


def _gpu(value: Any) -> dict[str, Any]:
    known = _as_is(value)
    if known.get("migs") is not None:
        known["migs"] = under("migs", _list(_as_is), known["migs"])
    return known


def _items(value: Any) -> dict[str, dict[str, Any]]:
    return {path: under(quoted(path), _ITEM, item) for path, item in mapping(value).items()}


def _list(read: Reader[Any]) -> Reader[list[Any]]:
    items = listed(read)
    return lambda value: list(items(value))


_TEXTS = _list(text)
_ITEM = _object(capabilities=_TEXTS, required=truth, why=text)
_LINK = _object(link=text, target=text, capabilities=_TEXTS, devices=_TEXTS, why=text)
_LIBRARY = _object(path=text, arch=text, capabilities=_TEXTS)
_SIDECAR = _object(
    format=uint32,
    spec=text,
    sha256=text,
    driver=text_map,
    gpus=_list(_gpu),
    items=_items,
    links=_list(_LINK),
    libraries=_list(_LIBRARY),
    folders=_TEXTS,
    operations=_TEXTS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A sidecar as read. `facts` are its fields, checked."""

    facts: Mapping[str, Any]

    @classmethod
    def parse(cls, data: bytes, name: str) -> Sidecar:
        """Give the sidecar in a file's bytes. Raises DocumentError."""
        try:
            loaded = document.load(data, name)
            facts = _SIDECAR(loaded)
            facts["made"] = under("made", made, loaded.get("made"))
        except DocumentError as error:
            raise error.of(name) from None
        if facts["format"] != FORMAT:
            raise DocumentError(f"unknown format {facts['format']}", path="format", file=name)
        return cls(facts=facts)

    def fits(self, spec: str, sha256: str) -> bool:
        """Say whether this belongs to the spec at this path with this hash."""
        if self.facts["sha256"] != sha256:
            return False
        try:
            return os.path.samefile(self.facts["spec"], spec)
        except (OSError, ValueError):  # it is gone, or its name holds a NUL
            return False

    def beside(self) -> dict[str, Any]:
        """Give what the start path needs of it beside the edits."""
        names = ("driver", "gpus", "operations", "links", "libraries", "folders")
        return {name: self.facts[name] for name in names}


NOTHING_BESIDE: dict[str, Any] = {
    "driver": None,
    "gpus": [],
    "operations": [],
    "links": [],
    "libraries": [],
    "folders": [],
}


def digest(data: bytes) -> str:
    """Give the hash that ties a sidecar to a spec's bytes."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def path_of(folder: str, spec: str) -> str:
    """Give where in `folder` the sidecar of a spec lies; `spec` is the spec's absolute path."""
    return f"{folder}/{os.path.basename(spec)}-{digest(os.fsencode(spec))[:12]}.json"


def paths_of(folder: str, spec: str) -> list[str]:
    """Give the files in `folder` that may be a spec's sidecar, whatever name it was written by.

    /var/run/cdi and /run/cdi are one folder on most hosts, and only one of them is in the hash.
    """
    start = f"{os.path.basename(spec)}-"
    length = len(os.path.basename(path_of("", spec)))
    try:
        found = sorted(os.listdir(folder))
    except OSError:
        return []
    return [f"{folder}/{name}" for name in found if name.startswith(start) and len(name) == length]


def woven(
    edits: ContainerEdits, sidecar: Sidecar | None, capabilities_of: Capabilities
) -> dict[str, Any]:
    """Give edits as the start path reads them: each mount and node says what it is for.

    Our own hooks are left out where the sidecar says all that is in them.
    """
    given = edits.document()
    for name, key in (("deviceNodes", "path"), ("mounts", "containerPath")):
        for part in given.get(name, ()):
            part.update(_item(part[key], sidecar, capabilities_of))
    if sidecar is not None and "hooks" in given:
        given["hooks"] = [
            hook for hook in given["hooks"] if os.path.basename(hook["path"]) != OUR_HOOK
        ]
    return {name: value for name, value in given.items() if value != []}


def _item(path: str, sidecar: Sidecar | None, capabilities_of: Capabilities) -> dict[str, Any]:
    if sidecar is not None and path in sidecar.facts["items"]:
        return dict(sidecar.facts["items"][path])
    known = capabilities_of(path) if sidecar is None else ()
    return {"capabilities": list(known or ()), "required": True, "why": ""}
