# SPDX-License-Identifier: Apache-2.0
"""JSON files changed as text: one key at a time, every other letter stays.

    changed(text, path, value, name)   the text with the key set
    removed(text, path, name)          the text without it

A new member goes behind the last one of its object and is written as its neighbours are: on a line
of its own or not, indented alike, with the same line ends and the same space around the colon.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import jsonreader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_ctl.engine.jsonreader import Node


def changed(text: str, path: Sequence[str], value: Any, name: str) -> str:
    """Give the text with the key at `path` set to a JSON value, objects on the way made.

    Raises PlaceError for what is no JSON, and where something on the way is no object.
    """
    node = jsonreader.parse(text, name)
    style = _Style.around(text, node)
    if node.end == 0:
        return style.render(_nested(path, value)) + (text or style.newline)
    for index, key in enumerate(path):
        if not isinstance(node.value, dict):
            raise jsonreader.wrong(
                name, text, node.start, f"{'.'.join(path[:index])} must be an object"
            )
        style = style.inside(text, node)
        member = next((one for one in node.members if one.key == key), None)
        if member is None:
            return _inserted(
                text, node, style.member(key, _nested(path[index + 1 :], value)), style
            )
        node = member.node
    if _means(text[node.start : node.end], value):
        return text
    return text[: node.start] + style.render(value) + text[node.end :]


def removed(text: str, path: Sequence[str], name: str) -> str:
    """Give the text without the key at `path`, as it is where there is none."""
    parent = jsonreader.parse(text, name).at(path[:-1])
    members = parent.members if parent else ()
    index = next((i for i, member in enumerate(members) if member.key == path[-1]), None)
    if parent is None or index is None:
        return text
    if len(members) == 1:
        return text[: parent.start + 1] + text[parent.end - 1 :]
    if index == len(members) - 1:
        return text[: members[index - 1].node.end] + text[members[index].node.end :]
    return text[: members[index].start] + text[members[index + 1].start :]


def _means(text: str, value: Any) -> bool:
    """Tell whether a text is that value; 1 is not true, and not 1.0."""
    try:
        return json.dumps(json.loads(text)) == json.dumps(value)
    except ValueError:  # a number of thousands of digits, which no value of ours has
        return False


def _nested(path: Sequence[str], value: Any) -> Any:
    for step in reversed(path):
        value = {step: value}
    return value


def _inserted(text: str, parent: Node, member: str, style: _Style) -> str:
    if parent.members:
        end = parent.members[-1].node.end
        return f"{text[:end]},{style.lead}{member}{text[end:]}"
    start, end = parent.start + 1, parent.end - 1
    inner = text[start:end]
    before, after = (style.lead, style.closing) if style.newline else ("", "")
    return text[:start] + before + member + (inner if "\n" in inner else after) + text[end:]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    """How members of an object are written.

    `newline` is empty where they share a line; `gap` then stands behind a comma.
    """

    newline: str = "\n"
    indent: str = ""
    unit: str = "    "  # where a file has no indentation yet: the field's
    colon: str = ": "
    gap: str = " "

    @classmethod
    def around(cls, text: str, root: Node) -> _Style:
        """Give the style of the line the root object begins on, with the file's indentation."""
        plain = cls(newline="\r\n" if "\r\n" in text else "\n")
        if not root.members:
            return plain
        inner = plain.inside(text, root)
        return replace(inner, indent="", unit=inner.indent)

    def inside(self, text: str, node: Node) -> _Style:
        """Give the style of the members of an object whose own line has this style."""
        if not node.members:
            return replace(self, indent=self.indent + self.unit)
        *others, last = node.members
        lead = text[others[-1].node.end if others else node.start + 1 : last.start]
        lead = lead.partition(",")[2] if others else lead
        between = text[last.stop : last.node.start]
        colon = ": " if "\n" in between else between
        if "\n" in lead:
            indent = lead.rpartition("\n")[2]
            newline = "\r\n" if "\r\n" in lead else "\n"
            return replace(self, newline=newline, indent=indent, colon=colon)
        gap = lead if others or lead else " " if colon.endswith(" ") else ""
        return replace(self, newline="", colon=colon, gap=gap)

    @property
    def lead(self) -> str:
        """Give what stands between a comma and the next key."""
        return self.newline + self.indent if self.newline else self.gap

    @property
    def closing(self) -> str:
        """Give what stands between the last value and the closing brace."""
        return self.newline + self.indent.removesuffix(self.unit) if self.newline else ""

    def member(self, key: str, value: Any) -> str:
        """Give a member of this style."""
        return f"{json.dumps(key)}{self.colon}{self.render(value)}"

    def render(self, value: Any) -> str:
        """Give a value as it stands behind a key of this style."""
        if not isinstance(value, dict) or not value:
            return json.dumps(value)
        inner = replace(self, indent=self.indent + self.unit)
        words = f",{inner.lead}".join(inner.member(key, one) for key, one in value.items())
        return f"{{{inner.lead if self.newline else ''}{words}{inner.closing}}}"
