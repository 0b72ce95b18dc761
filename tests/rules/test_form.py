# SPDX-License-Identifier: Apache-2.0
"""How every file looks: licence line, docstrings, length, reasons, nothing unfinished."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING

import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LICENCE = "SPDX-License-Identifier: Apache-2.0"
LICENSED = (".c", ".h", ".py", ".rules", ".service", ".sh", ".te", ".toml", ".yaml", ".yml")
FILE_LINES = 300
FUNCTION_LINES = 30  # of code: the docstring is not counted
LONG = re.compile(r"^(# )?Length: \S.{9,}", re.MULTILINE)  # "Length: why", in the first lines
REASONED = re.compile(r"# noqa: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)* - \S+")
TYPED = re.compile(r"# type: ignore\[[a-z-]+(, ?[a-z-]+)*\]")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")


def licences(root: str) -> Iterator[str]:
    """Give the files whose first line, or second after `#!`, is not the licence line."""
    code = set(checkout.python(root, *checkout.ALL))
    for name in checkout.files(root, *checkout.ALL):
        if name in code or name.endswith(LICENSED):
            lines = checkout.text(root, name).split("\n", 2)[:2]
            line = lines[-1] if lines[0].startswith("#!") else lines[0]
            if LICENCE not in line:
                yield name


def docstrings(root: str) -> Iterator[str]:
    """Give the public modules, classes and functions without a sentence that says what they are."""
    for name in checkout.python(root, *checkout.CODE, "packaging"):
        tree = checkout.parsed(root, name)
        if tree.body and not checkout.module(name).rpartition(".")[2].startswith("_"):
            yield from _sentence(tree, f"{name}:1: the module")
        for node in _public(tree):
            yield from _sentence(node, f"{name}:{node.lineno}: {node.name}")


def _public(
    node: ast.AST,
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if child.name.startswith("_"):
                continue
            yield child
            if isinstance(child, ast.ClassDef):
                yield from _public(child)
        elif isinstance(child, ast.If | ast.Try):
            yield from _public(child)


def _sentence(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, place: str
) -> Iterator[str]:
    if any(ast.unparse(word) == "override" for word in getattr(node, "decorator_list", ())):
        return
    docstring = ast.get_docstring(node)
    first = (docstring or "").split("\n\n", 1)[0]
    if not docstring:
        yield f"{place} has no docstring"
    elif not first.endswith((".", ":")) or len(first.split()) < 3:
        yield f"{place} begins with no sentence"


def lengths(root: str) -> Iterator[str]:
    """Give the files and functions that are too long and give no reason at the top."""
    for name in checkout.python(root, *checkout.ALL):
        content = checkout.text(root, name)
        if LONG.search("\n".join(content.split("\n")[:40])):
            continue
        if (lines := content.count("\n")) >= FILE_LINES:
            yield f"{name}: {lines} lines"
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = _lines(node)
                if lines >= FUNCTION_LINES:
                    yield f"{name}:{node.lineno}: {node.name} has {lines} lines"


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is not None:
        first = node.body[0]
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def comments(root: str) -> Iterator[str]:
    """Give the comments that silence a checker without a reason, or speak of unfinished work."""
    for name in checkout.python(root, *checkout.ALL):
        readline = io.StringIO(checkout.text(root, name)).readline
        for token in tokenize.generate_tokens(readline):
            if token.type == tokenize.NAME and token.string == "NotImplementedError":
                yield f"{name}:{token.start[0]}: unfinished"
            elif token.type == tokenize.COMMENT and (reason := _fault(token.string)):
                yield f"{name}:{token.start[0]}: {reason}"


def _fault(comment: str) -> str:
    if UNFINISHED.search(comment):
        return "unfinished"
    if "noqa" in comment and not REASONED.search(comment):
        return "noqa without code and reason"
    if "type: ignore" in comment and not TYPED.search(comment):
        return "type: ignore without code"
    return ""


def test_every_file_begins_with_its_licence() -> None:
    assert list(licences(checkout.ROOT)) == []


def test_a_file_without_licence_is_seen(tmp_path: Path) -> None:
    root = checkout.grow(
        tmp_path,
        {
            "src/good.py": f"# {LICENCE}\n",
            "src/bad.py": '"""Something."""\n',
            "hooks/bin/good": f"#!/usr/bin/python3 -IS\n# {LICENCE}\n",
            "hooks/bin/bad": "#!/usr/bin/python3 -IS\nimport os\n",
            "cdi/bad.yaml": "a: 1\n",
        },
    )
    assert set(licences(root)) == {"src/bad.py", "hooks/bin/bad", "cdi/bad.yaml"}


def test_everything_public_says_what_it_is() -> None:
    assert list(docstrings(checkout.ROOT)) == []


def test_a_missing_docstring_is_seen(tmp_path: Path) -> None:
    bad = (
        "class Thing:\n    '''Thing'''\n    def act(self): ...\n    def _inner(self): ...\n"
        "def _private(): ...\ntry:\n    def hidden(): ...\nfinally: pass\n"
    )
    good = "'''A module that is good.'''\ndef f():\n    '''Give what f gives.'''\n"
    root = checkout.grow(tmp_path, {"src/a.py": bad, "src/b.py": good, "src/__init__.py": "# x\n"})
    assert list(docstrings(root)) == [
        "src/a.py:1: the module has no docstring",
        "src/a.py:1: Thing begins with no sentence",
        "src/a.py:3: act has no docstring",
        "src/a.py:7: hidden has no docstring",
    ]


def test_files_and_functions_are_short_or_say_why_not() -> None:
    assert list(lengths(checkout.ROOT)) == []


def test_a_long_file_or_function_is_seen(tmp_path: Path) -> None:
    body = "    x = 1\n" * 40
    root = checkout.grow(
        tmp_path,
        {
            "src/a.py": "x = 1\n" * 300,
            "src/b.py": f"def f():\n{body}",
            "src/c.py": f"# Length: one table that is read as a whole\ndef f():\n{body}",
            "src/d.py": "def f():\n    '''Long text." + "\n" * 40 + "    '''\n",
        },
    )
    assert list(lengths(root)) == ["src/a.py: 300 lines", "src/b.py:1: f has 41 lines"]


def test_every_silenced_checker_has_its_reason_and_nothing_is_unfinished() -> None:
    assert list(comments(checkout.ROOT)) == []


def test_a_silenced_checker_without_reason_is_seen(tmp_path: Path) -> None:
    quiet = "# no" + "qa"
    ignored = "# type: " + "ignore"
    lines = [
        f"import a  {quiet}",
        f"import b  {quiet}: F401",
        f"import c  {quiet}: F401 - is part of the interface",
        f"import d  {ignored}",
        f"import e  {ignored}[import-untyped]",
        "raise NotImplementedError  # TO" + "DO later",
        "text = 'TO" + "DO in a text'",
    ]
    root = checkout.grow(tmp_path, {"src/a.py": "\n".join(lines) + "\n"})
    assert list(comments(root)) == [
        "src/a.py:1: noqa without code and reason",
        "src/a.py:2: noqa without code and reason",
        "src/a.py:4: type: ignore without code",
        "src/a.py:6: unfinished",
        "src/a.py:6: unfinished",
    ]
