# SPDX-License-Identifier: Apache-2.0
"""The script of a simulated node: what happens to it, and when.

What NVML would say now (a GPU is lost, a call hangs) follows from the script and its clock alone.
An act that changes files, such as a driver's upgrade, has to be played: see
`gpubind_ctl.simulate.play`. In the node's root the script names GPUs by UUID, as a GPU's index
changes with those beside it.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpubind.errors import DocumentError
from gpubind_cdi import document, driver, fields, inventory, simulated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpubind.root import Root
    from gpubind_cdi.fields import Reader

FORMAT = 1
FILE = simulated.SCRIPT
PLAYED = "/gpubind-played.json"
LOOKS = "/gpubind-looks"  # one byte for each look at the GPUs

# Verbs by what comes of them, and what may stand beside them.
ILLS = ("lost", "hang", "abort")  # what NVML says of a GPU from then on, until it is back
TOLD = ("xid", "ecc")  # what watchers are told
LAID = ("plug", "unplug", "partition", "libraries", "driver", "gone")  # what files say
BESIDE = {
    "xid": ("gpu", "gi", "ci"),
    "ecc": ("gi", "ci"),
    "partition": ("mig",),
    "driver": ("cuda",),
}
NEEDED = {"xid": "gpu", "partition": "mig"}
WHEN = ("after", "look")
GONE = ("module", "driver")
NEVER_S = 10**7


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing that happens: `after` so many seconds, or from the `look` of this number on.

    `facts` are its verb with its object, and what stands beside it.
    """

    verb: str
    facts: Mapping[str, Any]
    after: float | None = None
    look: int | None = None

    @property
    def gpu(self) -> str:
        """The UUID of the GPU it happens to; for what happens to the driver it means nothing."""
        return str(self.facts["gpu" if self.verb == "xid" else self.verb])

    def due(self, played: Played) -> bool:
        """Tell whether it has happened by now."""
        if self.look is not None:
            return played.looks >= self.look
        return played.seconds >= (self.after or 0.0)

    def document(self) -> dict[str, Any]:
        """Give it as it is kept."""
        when = {"after": self.after} if self.look is None else {"look": self.look}
        return {**when, **self.facts}

    def __str__(self) -> str:
        return json.dumps(self.document())


@dataclass(slots=True, kw_only=True)
class Played:
    """How far a script is: since when its clock runs, looks so far, acts that files say already."""

    started: float = field(default_factory=time.time)
    looks: int = 0
    done: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """What the script's clock shows."""
        return time.time() - self.started

    def document(self) -> dict[str, Any]:
        """Give it as it is kept; the looks are kept apart."""
        return {"format": FORMAT, "started": self.started, "done": self.done}


def parse(loaded: object, gpus: Sequence[str] | None = None) -> tuple[Act, ...]:
    """Read a script. With `gpus`, the UUIDs a node has, a GPU may be its place among them.

    Raises DocumentError with the place of what is wrong.
    """
    readers = _readers(_gpu(gpus))

    def act(value: Any) -> Act:
        return _act(fields.members(value, {name: (name, read) for name, read in readers.items()}))

    known = {"format": ("format", fields.number(0, 1 << 20)), "acts": ("acts", fields.listed(act))}
    facts = fields.members(loaded, known)
    if facts.get("format", FORMAT) != FORMAT:
        raise DocumentError(f"expected {FORMAT}: written by another version", path="format")
    if "acts" not in facts:
        raise DocumentError('the key "acts" is missing')
    acts: tuple[Act, ...] = facts["acts"]
    return acts


def document_of(acts: Sequence[Act]) -> dict[str, Any]:
    """Give a script as it is kept."""
    return {"format": FORMAT, "acts": [act.document() for act in acts]}


def read(root: Root) -> tuple[Act, ...]:
    """Give the script in a node's root, () where it has none. Errors as for `parse`, or OSError."""
    try:
        data = root.read(FILE)
    except FileNotFoundError:
        return ()
    return parse(document.load(data, root.outer(FILE)))


def played(root: Root) -> Played:
    """Give how far the script in a node's root is."""
    loaded = document.load(root.read(PLAYED), root.outer(PLAYED))
    looks = len(root.read(LOOKS))
    return Played(started=loaded["started"], looks=looks, done=loaded["done"])


def count_look(root: Root) -> None:
    """Count one more look, where the node may be written to."""
    try:
        fd = root.open(LOOKS, os.O_WRONLY | os.O_APPEND)
    except OSError:
        return
    try:
        os.write(fd, b".")
    finally:
        os.close(fd)


def ills(acts: Sequence[Act], now: Played) -> dict[str, str]:
    """Give which ill each GPU has now, by its UUID."""
    found: dict[str, str] = {}
    for act in acts:
        if act.verb in ILLS and act.due(now):
            found[act.gpu] = act.verb
        elif act.verb == "back" and act.due(now):
            found.pop(act.gpu, None)
    return found


def _act(facts: dict[str, Any]) -> Act:
    verbs = [name for name in facts if name in (*ILLS, *TOLD, *LAID, "back")]
    if len(verbs) != 1:
        every = ", ".join((*ILLS, "back", *TOLD, *LAID))
        raise DocumentError(f"expected one of {every}, found {' and '.join(verbs) or 'none'}")
    verb = verbs[0]
    when = {name: facts.pop(name) for name in WHEN if name in facts}
    if len(when) != 1:
        raise DocumentError(f"expected after or look, found {' and '.join(when) or 'neither'}")
    for name in facts:
        if name != verb and name not in BESIDE.get(verb, ()):
            raise DocumentError(f"{name} does not belong to {verb}", path=name)
    if NEEDED.get(verb, verb) not in facts:
        raise DocumentError(f"{verb} needs {NEEDED[verb]}")
    return Act(verb=verb, facts=facts, **when)


def _readers(gpu: Reader[str]) -> dict[str, Reader[Any]]:
    return {
        "after": _seconds,
        "look": fields.number(1, NEVER_S),
        **dict.fromkeys((*ILLS, "back", "ecc", "plug", "unplug", "partition", "gpu"), gpu),
        "xid": fields.number(1, 9999),
        "gi": fields.number(0, 255),
        "ci": fields.number(0, 255),
        "mig": _mig,
        "libraries": _version,
        "driver": _version,
        "cuda": _version,
        "gone": _one_of(GONE),
    }


def _gpu(known: Sequence[str] | None) -> Reader[str]:
    """Give a reader of GPUs: UUIDs, or also places among those known."""

    def read_gpu(value: Any) -> str:
        if known is None or value in known:
            return fields.text(value)
        try:
            return known[fields.number(0, len(known) - 1)(value)]
        except DocumentError as error:
            what = fields.quoted(value) if isinstance(value, str) else f"{value!r}"
            raise DocumentError(
                f"expected a GPU, 0 to {len(known) - 1} or its UUID, found {what}"
            ) from error

    return read_gpu


def _seconds(value: Any) -> float:
    try:
        seconds = float(value) if isinstance(value, int | float | fields.Plain) else -1.0
    except ValueError:
        seconds = -1.0
    if isinstance(value, bool) or not 0.0 <= seconds <= NEVER_S:
        raise DocumentError(f"expected seconds from 0 to {NEVER_S}, found {value!r}")
    return seconds


def _version(value: Any) -> str:
    word = fields.text(value)
    if not driver.VERSION.fullmatch(word):
        raise DocumentError(f"expected a version such as 550.54.15, found {fields.quoted(word)}")
    return word


def _one_of(words: Sequence[str]) -> Reader[str]:
    def read_word(value: Any) -> str:
        word = fields.text(value)
        if word not in words:
            raise DocumentError(f"expected {' or '.join(words)}, found {fields.quoted(word)}")
        return word

    return read_word


def _mig(value: Any) -> list[dict[str, Any]] | bool:
    """Read the MIG devices a GPU has from then on: false without MIG, else a list of them."""
    if not isinstance(value, list):
        if fields.truth(value):
            raise DocumentError("expected false or a list of MIG devices, found true")
        return False
    return [*fields.listed(_instance)(value)]


def _instance(value: Any) -> dict[str, Any]:
    small = fields.number(0, 255)
    readers: dict[str, tuple[str, Reader[Any]]] = {
        "profile": ("profile", fields.text),
        "gi": ("gi", small),
        "ci": ("ci", small),
        "uuid": ("uuid", inventory.mig_uuid),
    }
    facts = fields.members(value, readers)
    for name in ("profile", "gi"):
        if name not in facts:
            raise DocumentError(f"the key {fields.quoted(name)} is missing")
    return facts
