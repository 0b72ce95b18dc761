# SPDX-License-Identifier: Apache-2.0
"""This project's own files, as the tests about the code read them.

Every reader takes the root of a tree, so that a rule can be shown a small tree that breaks it.
"""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CODE = ("src", "cdi", "hooks")
ALL = (*CODE, "packaging", "tests")
SKIPPED = {"__pycache__", "documents", "golden", "node_modules"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module of a file: its full name, its line, whether it runs at import time."""

    module: str
    line: int
    top: bool


def files(root: str, *folders: str) -> list[str]:
    """List the files under `folders`, as names relative to `root`, sorted."""
    found = []
    for folder in folders:
        for place, inner, names in os.walk(os.path.join(root, folder)):
            inner[:] = [name for name in inner if name not in SKIPPED and not name.startswith(".")]
            found += [os.path.relpath(os.path.join(place, name), root) for name in names]
    return sorted(found)


def text(root: str, name: str) -> str:
    """Read one file."""
    with open(os.path.join(root, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def python(root: str, *folders: str) -> list[str]:
    """List the Python files under `folders`: those named `.py` and the launchers."""
    return [
        name
        for name in files(root, *folders)
        if name.endswith(".py")
        or ("." not in os.path.basename(name) and "python" in text(root, name).partition("\n")[0])
    ]


def parsed(root: str, name: str) -> ast.Module:
    """Parse one Python file."""
    return ast.parse(text(root, name), name)


def module(name: str) -> str:
    """Give the module a file holds: `src/gpubind/oci/args.py` is `gpubind.oci.args`."""
    inner = name.partition("/")[2].removesuffix(".py").removesuffix("/__init__")
    return inner.replace("/", ".")


def imports(root: str, name: str) -> Iterator[Import]:
    """Give what a file imports, `from` forms as the package and as each name in it."""
    yield from _imports(parsed(root, name), name, top=True)


def _imports(node: ast.AST, name: str, *, top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(module=alias.name, line=child.lineno, top=top)
        elif isinstance(child, ast.ImportFrom):
            package = _absolute(child, name)
            yield Import(module=package, line=child.lineno, top=top)
            for alias in child.names:
                yield Import(module=f"{package}.{alias.name}", line=child.lineno, top=top)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, name, top=top and not inside)


def _absolute(statement: ast.ImportFrom, name: str) -> str:
    if not statement.level:
        return statement.module or ""
    parts = module(name).split(".")
    kept = parts[: len(parts) - statement.level + name.endswith("__init__.py")]
    return ".".join([*kept, *([statement.module] if statement.module else [])])


def grow(root: str | os.PathLike[str], tree: Mapping[str, str]) -> str:
    """Write `tree`, texts by name, under `root` and give `root`."""
    for name, content in tree.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
    return os.fspath(root)
