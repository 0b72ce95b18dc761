# SPDX-License-Identifier: Apache-2.0
"""How containerd reads its configuration: the files in its order, their version, and their merge.

Source: containerd's config loader, services/server/config (1.x) and cmd/containerd/server/config
(2.x): imports are read breadth first, each file once; 1.x lets an import replace a plugin's whole
table, 2.x merges tables key by key. A pattern with `*` is matched as Go's filepath.Glob does it.
"""

from __future__ import annotations

import copy
import fnmatch
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import engine, tomltext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

CRI = {
    1: "cri",
    2: "io.containerd.grpc.v1.cri",
    3: "io.containerd.cri.v1.runtime",
    4: "io.containerd.cri.v1.runtime",
}
"""The plugin that has the runtimes, by the version of the configuration."""
DISABLING = ("cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime")
MIGRATE = "write it anew with 'containerd config migrate'"
NO_VERSION_1 = 2
"""The major release of containerd that no longer reads version 1."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One file of the configuration: its path, its text without BOM, and the document in it."""

    path: str
    text: str
    document: dict[str, Any]


def layers(
    main: str,
    read: Callable[[str], bytes | None],
    names: Callable[[str], Iterable[str]],
    major: int = 0,
) -> tuple[Layer, ...]:
    """Give the files in the order the daemon loads them, none where the main one is absent.

    Raises ToolkitError naming file and line for what the daemon would not load, or where it is not
    known what it loads. `major` is the daemon's major release, 0 where unknown.
    """
    found: dict[str, Layer] = {}
    pending = [main]
    while pending:
        path = pending.pop(0)
        if path in found:
            continue
        data = read(path)
        if data is None:
            if path == main:
                return ()
            raise _absent(path, found)
        text = tomltext.decoded(data, path)
        layer = Layer(path, text, tomltext.parsed(text, path))
        found[path] = layer
        pending += _imports(layer, names, major)
    return tuple(found.values())


def _absent(path: str, found: Mapping[str, Layer]) -> Exception:
    for layer in found.values():
        if any(joined(layer.path, one) == path for one in layer.document.get("imports", ())):
            message = f"imports {path}, which is not there: containerd does not start with it"
            return tomltext.at(layer.path, layer.text, ("imports",), message)
    return engine.refused(f"{path}: is not there")


def _imports(layer: Layer, names: Callable[[str], Iterable[str]], major: int) -> Iterator[str]:
    given = layer.document.get("imports", [])
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise tomltext.at(layer.path, layer.text, ("imports",), "imports is no list of texts")
    for one in given:
        path = joined(layer.path, one)
        if "*" not in one:
            yield path
        elif one.startswith("/") or major >= 2:
            yield from expanded(path, names)
        else:
            message = f"imports {one!r}, which containerd 1.x looks for in its working folder"
            hint = "write the whole path"
            raise tomltext.at(layer.path, layer.text, ("imports",), message, hint)


def joined(parent: str, path: str) -> str:
    """Give the path an import names, relative ones from the folder of the file that has it."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(parent), path))


def expanded(pattern: str, names: Callable[[str], Iterable[str]]) -> list[str]:
    """Give the paths a pattern matches, sorted, each part within its folder."""
    found = ["/"]
    for part in pattern.strip("/").split("/"):
        if "*" in part or "?" in part or "[" in part:
            found = [
                posixpath.join(folder, name)
                for folder in found
                for name in sorted(names(folder))
                if fnmatch.fnmatchcase(name, part)
            ]
        else:
            found = [posixpath.join(folder, part) for folder in found]
    return found


def matches(pattern: str, path: str) -> bool:
    """Tell whether an import names a path, each part of it within its folder."""
    parts, names = pattern.split("/"), path.split("/")
    return len(parts) == len(names) and all(map(fnmatch.fnmatchcase, names, parts))


def version(given: Sequence[Layer]) -> int:
    """Give the version of the configuration, 0 where no file says anything.

    Raises ToolkitError naming file and line for one that is unknown, or that differs from the main
    file's: containerd then loses what that file says, and only warns.
    """
    if not given or not any(layer.document for layer in given[:1]):
        return 0
    main = given[0]
    number = _number(main) or 1
    for layer in given[1:]:
        other = _number(layer)
        if other not in (0, number):
            message = f"has version {other}, {main.path} has version {number}"
            hint = "give both the same version"
            raise tomltext.at(layer.path, layer.text, ("version",), message, hint)
    return number


def _number(layer: Layer) -> int:
    number = layer.document.get("version", 0)
    if type(number) is not int or number not in (0, *CRI):
        message = f"version {number!r} is none of {', '.join(map(str, CRI))}"
        raise tomltext.at(layer.path, layer.text, ("version",), message)
    return number


def plugins(given: Sequence[Layer], major: int) -> dict[str, Any]:
    """Give the plugins' tables as the daemon merges them.

    Raises ToolkitError naming file and line where `plugins` is no table.
    """
    merged: dict[str, Any] = {}
    for layer in given:
        for name, table in tomltext.table(
            layer.document, ("plugins",), layer.path, layer.text
        ).items():
            if major >= 2 and isinstance(merged.get(name), dict) and isinstance(table, dict):
                merged[name] = _over(merged[name], table)
            else:
                merged[name] = copy.deepcopy(table)
    return merged


def _over(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Give two tables merged as 2.x does: an empty value hides nothing."""
    merged = dict(low)
    for key, value in high.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _over(old, value)
        elif value or not old:
            merged[key] = copy.deepcopy(value)
    return merged


def findings(given: Sequence[Layer]) -> tuple[str, ...]:
    """Tell of files that switch the CRI plugin off, as those do that come with docker's packages.

    Raises ToolkitError naming file and line where the list is none.
    """
    found = []
    for layer in given:
        listed = layer.document.get("disabled_plugins", [])
        path = ("disabled_plugins",)
        tomltext.check_texts(listed, path, layer.path, layer.text)
        line = tomltext.line_of(layer.text, path)
        found += [
            f"{layer.path}:{line}: disabled_plugins has {one!r}: containerd serves no Kubernetes "
            f"with it; take {one!r} out, unless docker alone uses this containerd"
            for one in listed
            if one in DISABLING
        ]
    return tuple(found)
