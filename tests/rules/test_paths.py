# SPDX-License-Identifier: Apache-2.0
"""A foreign tree is reached through its descriptor: no call that joins or resolves host names."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORBIDDEN = {
    "os.chroot": "changes the whole process",
    "os.path.realpath": "follows links out of a root",
    "os.system": "runs a shell",
    "os.popen": "runs a shell",
    "os.walk": "walks by name",
}
MODULES = {"glob", "pathlib", "shutil", "tempfile"}
ROOTED = re.compile(r"(^|[._])(root|rootfs|driver_root|dev_root|container_root)(\.path)?$")
WORKER = "src/gpubind/root.py"  # the one file that may mix host and container names


def joins(root: str) -> Iterator[str]:
    """Give the calls that would reach into a foreign tree by name."""
    for name in checkout.python(root, "src/gpubind", "cdi", "hooks"):
        for found in checkout.imports(root, name):
            if found.module in MODULES:
                yield f"{name}:{found.line}: {found.module} works on names"
        tree = checkout.parsed(root, name)
        compared = {id(word) for call in ast.walk(tree) for word in _compared(call)}
        for node in ast.walk(tree):
            if id(node) in compared:
                continue
            if reason := _reason(node, worker=name == WORKER):
                yield f"{name}:{getattr(node, 'lineno', 0)}: {reason}"


def _compared(node: ast.AST) -> list[ast.expr]:
    """Give the words of `path.startswith(...)`: text that is compared and never opened."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.args if node.func.attr in ("startswith", "removeprefix") else []
    return []


def _reason(node: ast.AST, *, worker: bool) -> str:
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called in FORBIDDEN:
            return f"{called} {FORBIDDEN[called]}"
        joined = called == "os.path.join" and any(_rooted(word) for word in node.args)
        return f"{called} with a root" if joined and not worker else ""
    if worker:
        return ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and _rooted(node.left):
        return "a root and a name added up"
    if isinstance(node, ast.JoinedStr) and len(node.values) > 1:
        first, second = node.values[:2]
        path = isinstance(second, ast.Constant) and str(second.value).startswith("/")
        if path and isinstance(first, ast.FormattedValue) and _rooted(first.value):
            return "a root and a name in one text"
    return ""


def _rooted(node: ast.expr) -> bool:
    return ROOTED.search(ast.unparse(node)) is not None


def test_no_foreign_tree_is_reached_by_a_joined_name() -> None:
    assert list(joins(checkout.ROOT)) == []


def test_a_joined_name_is_seen(tmp_path: Path) -> None:
    root = checkout.grow(
        tmp_path,
        {
            "src/gpubind/a.py": "import os\nos.path.realpath('/x')\nos.path.join(self.root, 'x')\n",
            "cdi/gpubind_cdi/b.py": "import shutil\nx = rootfs + '/etc'\ny = f'{root.path}/etc'\n",
            "src/gpubind/root.py": "import os\nos.path.join(root, 'x')\n",
            "hooks/gpubind_hooks/c.py": "import os\nos.path.join(state, 'x')\nz = f'{uproot}/x'\n",
            "hooks/gpubind_hooks/d.py": "x.startswith(root + '/')\nopen(root + '/' + x)\n",
        },
    )
    assert set(joins(root)) == {
        "src/gpubind/a.py:2: os.path.realpath follows links out of a root",
        "src/gpubind/a.py:3: os.path.join with a root",
        "cdi/gpubind_cdi/b.py:1: shutil works on names",
        "cdi/gpubind_cdi/b.py:2: a root and a name added up",
        "cdi/gpubind_cdi/b.py:3: a root and a name in one text",
        "hooks/gpubind_hooks/d.py:2: a root and a name added up",
    }
