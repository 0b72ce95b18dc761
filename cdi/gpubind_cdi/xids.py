# SPDX-License-Identifier: Apache-2.0
"""What an Xid means and what becomes of a GPU that reports one: xids.yaml and an operator's file.

The operator's policy file, YAML or JSON, says what is to be otherwise:

    unknown: unhealthy          for Xids of which the table knows nothing
    xids: {94: unhealthy, 109: ignore}
    recover: {enabled: true, probes: 3, wait: 60}
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gpubind.errors import DocumentError
from gpubind_cdi import document, fields

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = os.path.join(os.path.dirname(__file__), "xids.yaml")
GREATEST = 9999
SOURCES = {
    "catalog": "https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html",
    "guide": "https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html",
    "ours": "a decision of gpubind",
    "policy": "the policy file",
}


class Action(StrEnum):
    """What becomes of a GPU, from nothing to the most."""

    IGNORE = "ignore"
    RESTART_APP = "restart-app"
    SUSPECT = "suspect"
    UNHEALTHY = "unhealthy"
    RESET = "reset"
    DRAIN = "drain"

    @property
    def serious(self) -> bool:
        """Whether nobody is to get the GPU."""
        return self in (Action.UNHEALTHY, Action.RESET, Action.DRAIN)


ADVICE = {
    Action.IGNORE: "nothing is to be done",
    Action.RESTART_APP: "restart the program that used the GPU; others are not touched",
    Action.SUSPECT: "watch the GPU; it goes on serving",
    Action.UNHEALTHY: "look at dmesg; the GPU is given to nobody until looks at it are clean",
    Action.RESET: "let the GPU's programs end, then reset it with nvidia-smi --gpu-reset",
    Action.DRAIN: "let the node's programs end, then reboot it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Xid:
    """One kind of error. `immediate` is the catalog's word, empty where it has none."""

    number: int
    name: str = ""
    meaning: str = "not in our table, or unused according to the catalog"
    action: Action
    immediate: str = ""
    todo: str = ""
    sources: tuple[str, ...] = ("ours",)

    @property
    def advice(self) -> str:
        """What an operator does."""
        return self.todo or ADVICE[self.action]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """When a GPU is given out again: after so many clean looks, `wait` seconds after the error."""

    enabled: bool = True
    probes: int = 3
    wait: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What an operator's file says."""

    unknown: Action = Action.UNHEALTHY
    actions: Mapping[int, Action] = field(default_factory=dict, hash=False)
    recovery: Recovery = Recovery()

    def xid(self, number: int) -> Xid:
        """Give what an Xid is, the operator's word before the table's."""
        known = table().get(number) or Xid(number=number, action=self.unknown)
        said = self.actions.get(number, known.action)
        if said is known.action:
            return known
        return replace(known, action=said, todo="", sources=("policy",))


@functools.cache
def table() -> Mapping[int, Xid]:
    """Give the table that comes with gpubind."""
    with open(FILE, "rb") as file:
        rows = document.settled(document.load(file.read(), FILE))
    return {
        number: Xid(
            number=number,
            name=row["name"],
            meaning=row["meaning"],
            action=Action(row["action"]),
            immediate=row.get("immediate", ""),
            todo=row.get("todo", ""),
            sources=tuple(row["source"]),
        )
        for row in rows
        for number in row["xids"]
    }


def load(path: str) -> Policy:
    """Read an operator's policy file; where `path` is empty, the table alone holds.

    Raises DocumentError XID-POLICY with the place of what is wrong, OSError where it can't be read.
    """
    if not path:
        return Policy()
    with open(path, "rb") as file:
        data = file.read(document.MAX_SIZE + 1)
    try:
        facts = fields.members(document.load(data, path), _POLICY)
    except DocumentError as error:
        known = DocumentError(error.message, path=error.path, identifier="XID-POLICY")
        raise known.of(path) from None
    return Policy(**facts)


def number(word: str) -> int:
    """Give the number of an Xid. Raises DocumentError for what is none."""
    if not (word.isascii() and word.isdigit() and 0 < int(word[:9]) <= GREATEST):
        raise DocumentError(f"expected an Xid from 1 to {GREATEST}, found {fields.quoted(word)}")
    return int(word)


def _action(value: Any) -> Action:
    word = fields.text(value)
    if word not in [*Action]:
        raise DocumentError(f"expected one of {', '.join(Action)}, found {fields.quoted(word)}")
    return Action(word)


def _actions(value: Any) -> dict[int, Action]:
    return {
        number(name): fields.under(name, _action, item)
        for name, item in fields.mapping(value).items()
    }


def _recovery(value: Any) -> Recovery:
    return Recovery(**fields.members(value, _RECOVERY))


_RECOVERY = {
    "enabled": ("enabled", fields.truth),
    "probes": ("probes", fields.number(1, 1000)),
    "wait": ("wait", fields.number(0, 86400)),
}
_POLICY: dict[str, tuple[str, fields.Reader[Any]]] = {
    "unknown": ("unknown", _action),
    "xids": ("actions", _actions),
    "recover": ("recovery", _recovery),
}
