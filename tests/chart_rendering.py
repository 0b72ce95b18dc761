# SPDX-License-Identifier: Apache-2.0
"""A renderer of the few template constructs that our chart uses: helm itself can't be had here.

It knows `if`, `else if`, `else`, `range`, `with`, `:=`, pipelines, parentheses and the functions
below, as text/template and helm define them; all else is an error. So it tells whether the chart's
documents are what we mean, not whether helm takes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ACTION = re.compile(
    r"\s*\{\{-\s(.*?)\s-\}\}\s*|\s*\{\{-\s(.*?)\}\}|\{\{(.*?)\s-\}\}\s*|\{\{(.*?)\}\}", re.DOTALL
)
TOKEN = re.compile(r'"[^"]*"|:=|[(),|]|[^\s(),|]+')
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "concat": lambda *lists: [item for one in lists for item in one],
    "default": lambda otherwise, value: value or otherwise,
    "get": lambda table, key: table.get(key, ""),
    "keys": lambda table: [*table],
    "list": lambda *items: [*items],
    "ne": lambda one, other: one != other,
    "nindent": lambda width, text: "".join(
        f"\n{' ' * width}{line}" if line else "\n" for line in text.rstrip("\n").split("\n")
    ),
    "omit": lambda table, *names: {key: table[key] for key in table if key not in names},
    "quote": lambda value: json.dumps(str(value)),
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "sortAlpha": sorted,
    "toJson": json.dumps,
    "toYaml": lambda value: yaml.safe_dump(value, default_flow_style=False).rstrip("\n"),
}


def rendered(chart: str, values: Mapping[str, Any], namespace: str) -> list[dict[str, Any]]:
    """Give a chart's documents with these values over its own."""
    with open(os.path.join(chart, "values.yaml"), encoding="utf-8") as file:
        merged = _merged(yaml.safe_load(file), values)
    root = {"Values": merged, "Release": {"Namespace": namespace}}
    found = []
    for name in sorted(os.listdir(os.path.join(chart, "templates"))):
        with open(os.path.join(chart, "templates", name), encoding="utf-8") as file:
            text = Template(file.read()).render(root)
        found += [one for one in yaml.safe_load_all(text) if one is not None]
    return found


def _merged(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := given.keys() - own.keys():
        raise KeyError(f"the chart has no value {', '.join(unknown)}")
    deep = {key for key in given if isinstance(own[key], dict) and own[key]}
    return {**own, **given, **{key: _merged(own[key], given[key]) for key in deep}}


class Template:
    """A parsed template: a list of texts, and of actions with what is inside them."""

    def __init__(self, text: str) -> None:
        self._parts: list[str | list[str]] = []
        end = 0
        for action in ACTION.finditer(text):
            self._parts.append(text[end : action.start()])
            words = next(group for group in action.groups() if group is not None)
            self._parts.append(TOKEN.findall(words))
            end = action.end()
        self._parts.append(text[end:])
        self._at = 0

    def render(self, root: Any) -> str:
        """Give the text with `root` as `$` and `.`."""
        self._at = 0
        text, ending = self._block(root, {"$": root})
        if ending is not None:
            raise ValueError(f"nothing begins what {' '.join(ending)} ends")
        return text

    def _block(self, dot: Any, known: dict[str, Any]) -> tuple[str, list[str] | None]:
        """Render up to the `end` or `else` that ends this block; give that too."""
        found = []
        while self._at < len(self._parts):
            part = self._parts[self._at]
            self._at += 1
            if isinstance(part, str):
                found.append(part)
            elif part[0] in ("end", "else"):
                return "".join(found), part
            elif part[0] in ("if", "with", "range"):
                found.append(self._inside(part, dot, known))
            elif part[1:2] == [":="]:
                known[part[0]] = _value(part[2:], dot, known)
            else:
                found.append(str(_value(part, dot, known)))
        return "".join(found), None

    def _inside(self, words: list[str], dot: Any, known: dict[str, Any]) -> str:
        """Render an `if`, `with` or `range` with all its branches; give what holds."""
        if words[0] == "range":
            return self._range(words[1:], dot, known)
        text, done = "", False
        condition: list[str] | None = words[1:]
        while True:
            value = condition is None or _value(condition, dot, known)
            inner, ending = self._block(value if words[0] == "with" else dot, dict(known))
            if value and not done:
                text, done = inner, True
            if ending is None:
                raise ValueError(f"{' '.join(words)} has no end")
            if ending[0] == "end":
                return text
            condition = ending[2:] if ending[1:2] == ["if"] else None

    def _range(self, words: list[str], dot: Any, known: dict[str, Any]) -> str:
        split = words.index(":=")
        names = [word for word in words[:split] if word != ","]
        items = _value(words[split + 1 :], dot, known)
        pairs: list[tuple[Any, ...]] = [(one,) for one in items]
        if isinstance(items, dict):
            pairs = sorted(items.items())
        start, found = self._at, []
        for pair in pairs:
            self._at = start
            inner = known | dict(zip(names, pair, strict=True))
            found.append(self._block(pair[-1], inner)[0])
        if not pairs:
            self._block(dot, {**known, **dict.fromkeys(names, "")})
        return "".join(found)


def _value(words: list[str], dot: Any, known: Mapping[str, Any]) -> Any:
    """Give what a pipeline comes to."""
    rest = [*words]
    value = _command(rest, dot, known, ())
    while rest and rest[0] == "|":
        rest.pop(0)
        value = _command(rest, dot, known, (value,))
    if rest:
        raise ValueError(f"cannot read {' '.join(words)}")
    return value


def _command(rest: list[str], dot: Any, known: Mapping[str, Any], last: tuple[Any, ...]) -> Any:
    """Take a command off the words; `last` is what was piped into it."""
    function = FUNCTIONS[rest.pop(0)] if rest[0] in FUNCTIONS else None
    operands = []
    while rest and rest[0] not in ("|", ")"):
        operands.append(_operand(rest, dot, known))
    if function is not None:
        return function(*operands, *last)
    (value,) = (*operands, *last)
    return value


def _operand(rest: list[str], dot: Any, known: Mapping[str, Any]) -> Any:
    word = rest.pop(0)
    if word == "(":
        inner = []
        depth = 1
        while depth:
            inner.append(rest.pop(0))
            depth += {"(": 1, ")": -1}.get(inner[-1], 0)
        return _value(inner[:-1], dot, known)
    if word[0] == '"' or word.isdigit():
        return json.loads(word)
    name, *steps = word.split(".")
    value = known[name] if name else dot
    for step in steps if word != "." else ():
        value = value[step]
    return value
