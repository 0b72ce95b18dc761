# SPDX-License-Identifier: Apache-2.0
"""Our part of somebody's TOML file, as a marked block of lines at its end.

What is changed above the block is noted in it as a diff is, so that the block alone is enough to
give the file back byte for byte, by any release of ours and without the journal:

    # gpubind:nvidia begin ("gpubind runtime unconfigure" takes this block out)
    # gpubind:nvidia changed above
    # -  default_runtime_name = "runc"
    # +  default_runtime_name = "nvidia"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
    ...
    # gpubind:nvidia end
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MADE = "# made by gpubind, which removes it once none of its blocks is in here"
"""The first line of a file that we make."""
_BEGIN = re.compile(r"# gpubind:(\S+) begin\b")
_REST = ' begin ("gpubind runtime unconfigure" takes this block out)'


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that stand where others stood, as a diff has them: each begins with ` `, `-` or `+`."""

    lines: tuple[str, ...]

    @property
    def was(self) -> list[str]:
        """Give the former lines, those around that tell the place included."""
        return [line[1:] for line in self.lines if line[:1] in " -"]

    @property
    def now(self) -> list[str]:
        """Give the present lines, those around that tell the place included."""
        return [line[1:] for line in self.lines if line[:1] in " +"]


def lines_of(text: str) -> list[str]:
    """Give the lines with their ends, which are LF or CRLF and nothing else."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def names(text: str) -> tuple[str, ...]:
    """Give the names of our blocks in a text, in their order."""
    found = (_BEGIN.match(line) for line in lines_of(text))
    return tuple(one[1] for one in found if one)


def left_over(text: str) -> bool:
    """Tell whether a file that we made has nothing left but the one line it began with."""
    start, *rest = text.splitlines() or [""]
    return start == MADE and len(rest) <= 1 and not any(line.startswith("#") for line in rest)


def content(text: str, name: str) -> str:
    """Give the lines of a block, empty where there is none."""
    lines = lines_of(text)
    begin, end = _span(lines, name)
    return "".join(lines[begin + 1 : end]) if 0 <= begin < end else ""


def hunk(old: str, new: str) -> Hunk | None:
    """Give what differs between two texts, None where nothing does.

    Unchanged lines above are added until the place is told beyond doubt.
    """
    if old == new:
        return None
    before, after = _bare(old), _bare(new)
    top = 0
    while top < min(len(before), len(after)) and before[top] == after[top]:
        top += 1
    low = 0
    while low < min(len(before), len(after)) - top and before[-1 - low] == after[-1 - low]:
        low += 1
    removed, added = before[top : len(before) - low], after[top : len(after) - low]
    start = top
    while start and _places(after, [*after[start:top], *added]) != [start]:
        start -= 1
    around = [f" {line}" for line in before[start:top]]
    return Hunk((*around, *(f"-{line}" for line in removed), *(f"+{line}" for line in added)))


def added(text: str, name: str, lines: Sequence[str], hunks: Sequence[Hunk] = ()) -> str:
    """Give the text with a block of these lines at its end; `removed` gives the text back."""
    end = "\r\n" if "\r\n" in text else "\n"
    notes = []
    for one in hunks:
        notes += [f"# gpubind:{name} changed above", *(f"# {line}" for line in one.lines)]
    block = end.join([f"# gpubind:{name}{_REST}", *notes, *lines, f"# gpubind:{name} end"])
    return f"{text}{end}{block}" if text and not text.endswith("\n") else f"{text}{block}{end}"


def removed(text: str, name: str) -> tuple[str, tuple[Hunk, ...]]:
    """Give the text without the block and what it changed, and the changes somebody changed since.

    A text without such a block is given back as it is.
    """
    lines = lines_of(text)
    begin, end = _span(lines, name)
    if begin < 0 or end < 0:
        return text, ()
    above, below = lines[:begin], lines[end + 1 :]
    if above and not lines[end].endswith("\n"):
        above[-1] = above[-1].rstrip("\r\n")
    kept = [*above, *below]
    left = []
    for one in reversed(_hunks(lines[begin + 1 : end], name)):
        places = _places([line.rstrip("\r\n") for line in kept], one.now)
        if len(places) == 1:
            kept = _undone(kept, places[0], one)
        elif not _inherited(kept, one):
            left.append(one)
    return "".join(kept), tuple(left)


def _bare(text: str) -> list[str]:
    return [line.rstrip("\r\n") for line in lines_of(text)]


def _index(lines: Sequence[str], start: str, first: int) -> int:
    """Give the index of the line that is `start`, alone or with more behind a blank; else -1."""
    for index in range(max(first, 0), len(lines)):
        line = lines[index].rstrip("\r\n")
        if line == start or line.startswith(f"{start} "):
            return index
    return -1


def _span(lines: Sequence[str], name: str) -> tuple[int, int]:
    """Give the indices of a block's first and last line, -1 for one that is not there.

    A first line that has lost its last one, with another block below, is none.
    """
    start = f"# gpubind:{name} begin"
    begin = _index(lines, start, 0)
    end = _index(lines, f"# gpubind:{name} end", begin)
    while end >= 0 and (later := _index(lines[:end], start, begin + 1)) >= 0:
        begin = later
    return begin, end


def _places(lines: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Give the indices at which these lines stand in a row."""
    size = len(wanted)
    return [at for at in range(len(lines) - size + 1) if list(lines[at : at + size]) == wanted]


def _hunks(lines: Sequence[str], name: str) -> list[Hunk]:
    """Give the changes a block notes."""
    found: list[list[str]] = []
    inside = False
    for line in lines:
        bare = line.rstrip("\r\n")
        if bare == f"# gpubind:{name} changed above":
            found.append([])
            inside = True
        elif inside and bare[:3] in ("#  ", "# -", "# +"):
            found[-1].append(bare[2:])
        else:
            inside = False
    return [Hunk(tuple(one)) for one in found]


def _inherited(lines: list[str], change: Hunk) -> bool:
    """Let a later block that changed the same lines again know what stood there before both."""
    added, was = ([f"# -{x[1:]}" for x in change.lines if x[0] == sign] for sign in "+-")
    places = _places([line.rstrip("\r\n") for line in lines], added)
    if not places:
        return False
    end = lines[places[0]][len(lines[places[0]].rstrip("\r\n")) :]
    lines[places[0] : places[0] + len(added)] = [line + end for line in was]
    return True


def _undone(lines: Sequence[str], at: int, change: Hunk) -> list[str]:
    """Give the lines with the former ones back, each with the line end that stands there."""
    there = lines[at : at + len(change.now)]
    ends = [line[len(line.rstrip("\r\n")) :] for line in there]
    usual = "\r\n" if lines[0].endswith("\r\n") else "\n"
    was = change.was
    inner = [end or usual for end in [*ends, *([usual] * len(was))]][: len(was) - 1]
    back = [line + end for line, end in zip(was, [*inner, ends[-1]], strict=True)] if was else []
    return [*lines[:at], *back, *lines[at + len(change.now) :]]
