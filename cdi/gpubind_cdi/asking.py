# SPDX-License-Identifier: Apache-2.0
"""GPUs asked about in processes of their own, so that none that hangs or crashes costs the others.

One process asks about all GPUs in turn and says each answer at once. Where it hangs or dies, the
GPU it was at is a fault, and each GPU not yet told of is asked about by a process of its own, all
at the same time: sixteen that hang take no longer than two. The lines a process says:

    ["driver", {"version": "550.54.15", "cuda": "12.4"}, 8]     and how many GPUs there are
    ["asking", 3]
    ["gpu", {...}]                       the GPU just asked about, as in the inventory
    ["fault", "GPU is lost"]             or why it can't be described
    ["links", [{...}]]                   how the GPUs reach each other, as in the inventory
    ["end", 8]                           how many GPUs there are now
    ["error", 18, "..."]                 an nvmlReturn_t and its text: nothing is known of any GPU
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpubind.errors import DocumentError
from gpubind_cdi import child, document, fields

if TYPE_CHECKING:
    from collections.abc import Callable

    Start = Callable[[int | None], child.Child]

FORMAT = 1  # of the inventory
MOST = 1 << 10  # GPUs; a library that speaks of more makes no sense


@dataclass(slots=True)
class Answer:
    """What was told so far. `count` is how many GPUs there were, and `now` how many at the end."""

    driver: dict[str, Any] | None = None
    count: int = 0
    now: int = 0
    asking: int | None = None
    gpus: dict[int, dict[str, Any]] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)
    links: list[object] = field(default_factory=list)
    error: tuple[int, str] | None = None
    ended: bool = False
    silence: str = ""

    def take(self, line: bytes) -> None:
        """Take in one line. Raises DocumentError where it is none of those above."""
        known = document.load(line, "answer.json")
        match known:
            case ["driver", dict(driver), int(count)] if 0 <= count <= MOST:
                self.driver, self.count, self.now = driver, count, count
            case ["asking", int(index)] if 0 <= index <= MOST:
                self.asking = index
            case ["gpu", dict(facts)] if self.asking is not None:
                self.gpus[self.asking] = facts
            case ["fault", str(message)] if self.asking is not None:
                self.faults[self.asking] = message
            case ["links", list(links)]:
                self.links = links
            case ["end", int(now)]:
                self.now, self.ended = now, True
            case ["error", int(code), str(said)]:
                self.error, self.ended = (code, said), True
            case _:
                raise DocumentError(
                    f"expected a line of an answer, found {fields.quoted(f'{known}')}"
                )

    def left(self) -> list[int]:
        """Give the GPUs not told of."""
        return [
            index
            for index in range(self.count)
            if index not in self.gpus and index not in self.faults
        ]

    def document(self) -> dict[str, Any]:
        """Give the inventory; a GPU that came or went meanwhile is a fault."""
        steady = min(self.count, self.now)
        faults = dict(self.faults)
        for index in range(steady, min(MOST, max(self.count, self.now))):
            faults[index] = "it came or went while NVML was asked"
        return {
            "format": FORMAT,
            "driver": self.driver,
            "gpus": [self.gpus[index] for index in sorted(self.gpus) if index < steady],
            "faults": [{"index": index, "message": faults[index]} for index in sorted(faults)],
            **({"links": self.links} if self.links else {}),
        }


def ask(first: child.Child, start: Start, limit_s: float) -> Answer:
    """Give what is told of all GPUs, within `limit_s` seconds from now.

    `first` asks about all of them; `start` starts another such process, or one that asks about the
    GPU with this index alone. No word for half of the time counts as a hang. Where the number of
    GPUs changed meanwhile all are asked once more. The answer has an `error`, or no `driver` and
    why in `silence`, where nothing could be told at all.
    """
    deadline = time.monotonic() + limit_s
    answer = _asked(first, start, limit_s / 2, deadline)
    if answer.now == answer.count or answer.error:
        return answer
    again = _asked(start(None), start, limit_s / 2, deadline)
    return answer if again.driver is None else again


def _asked(first: child.Child, start: Start, patience: float, deadline: float) -> Answer:
    answer = Answer()
    _hear(first, answer, patience, deadline)
    _close(first, answer)
    if not answer.ended and answer.driver is not None:
        if answer.asking in answer.left():
            answer.faults[answer.asking] = f"NVML {answer.silence} when asked about it"
        _each(answer, start, min(deadline, time.monotonic() + patience))
    return answer


def _hear(process: child.Child, answer: Answer, patience: float, deadline: float) -> None:
    """Take in what a process says to its end, or until it is ended for its silence."""
    try:
        while not answer.ended:
            line = process.line(min(deadline, time.monotonic() + patience))
            if not line:
                return
            answer.take(line)
    except TimeoutError:
        answer.silence = f"gave no answer within {patience:.2g} s"
        process.kill()
    except DocumentError as error:
        answer.silence = f"gave what makes no sense ({error.message})"
        process.kill()


def _close(process: child.Child, answer: Answer) -> None:
    how = process.ended()
    answer.silence = answer.silence or f"ended with {how or 'no answer'}"


def _each(answer: Answer, start: Start, until: float) -> None:
    """Ask about each GPU that is left by a process of its own, all at once."""
    patience = until - time.monotonic()
    asked = [(index, start(index), Answer()) for index in answer.left()]
    for _, process, own in asked:
        _hear(process, own, patience, until)
    for index, process, own in asked:
        _close(process, own)
        if index in own.gpus:
            answer.gpus[index] = own.gpus[index]
        else:
            said = own.error[1] if own.error else f"NVML {own.silence} when asked about it"
            answer.faults[index] = own.faults.get(index, said)
