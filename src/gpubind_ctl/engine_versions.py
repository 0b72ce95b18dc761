# SPDX-License-Identifier: Apache-2.0
"""The container engines installed here, their spec directories, and the CDI version each reads.

What is known of their releases is in engine_versions.yaml. An engine's own program is asked for its
version, so no container start may come here: `gpubind cdi compile` does not.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubind_cdi import document, version

from gpubind import config
from gpubind_ctl import inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Find = Callable[[str], str | None]
    Ask = Callable[[Sequence[str]], Sequence[str]]

FILE = os.path.join(os.path.dirname(__file__), "engine_versions.yaml")
LIMIT_S = 5.0
NUMBER = re.compile(r"(?<![\w.])v?(\d{1,9}(?:\.\d{1,9})+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that is installed. `reads` is the highest cdiVersion, "" where it reads no CDI.

    `version` is "" where its program did not tell; then it counts as its oldest known release.
    `source` and `note` are those of the row that says so.
    """

    name: str
    program: str
    version: str
    reads: str
    folders: tuple[str, ...]
    source: str = ""
    note: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()


def installed(find: Find = shutil.which, ask: Ask | None = None) -> tuple[Engine, ...]:
    """Give the engines whose programs are on PATH, in the table's order."""
    found = {}
    for name, engine in table().items():
        paths = (find(program) for program in engine["programs"])
        program = next((path for path in paths if path), None)
        if program is not None:
            found[name] = program
    answers = (ask or _asked)(list(found.values()))
    return tuple(
        known(name, program, _number(said))
        for (name, program), said in zip(found.items(), answers, strict=True)
    )


def lowest(engines: Iterable[Engine]) -> tuple[str, Engine | None]:
    """Give the highest CDI version that all engines read and who limits it; "" where none does."""
    reading = [engine for engine in engines if engine.reads]
    least = min(reading, key=lambda engine: version.order(engine.reads), default=None)
    return (least.reads, least) if least else ("", None)


def known(name: str, program: str, release: str) -> Engine:
    """Give what the table says of one release of an engine."""
    engine = table()[name]
    row: Mapping[str, str] = next(iter(engine["releases"]), {}) if not release else {}
    for candidate in engine["releases"]:
        if release and _order(candidate["since"]) <= _order(release):
            row = candidate
    return Engine(
        name=name,
        program=program,
        version=release,
        reads=row.get("reads", ""),
        folders=_folders(engine["folders"]),
        source=row.get("source", ""),
        note=row.get("note", ""),
    )


@functools.cache
def table() -> Mapping[str, Any]:
    """Give the table of engines by name."""
    with open(FILE, "rb") as file:
        engines: Mapping[str, Any] = document.settled(document.load(file.read(), FILE))["engines"]
    return engines


def _folders(place: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the spec directories an engine's settings name, else the ones CDI has by default."""
    for file in reversed(place["files"]):
        named = _settings(file)
        for step in place["key"]:
            inner = named if isinstance(named, dict) else {}
            named = next((inner[key] for key in step.split("|") if key in inner), None)
        if isinstance(named, list) and all(isinstance(one, str) for one in named):
            return tuple(named)
    default: Any = config.DEFAULTS[config.SPEC_DIRS]
    return tuple(default)


def _settings(file: str) -> Any:
    """Give an engine's settings; nothing where there are none or they are damaged."""
    import json
    import tomllib

    try:
        text = inputs.read(file).decode("utf-8-sig")
        return json.loads(text) if file.endswith(".json") else tomllib.loads(text)
    except (OSError, ValueError, RecursionError):
        return None


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


def _number(said: str) -> str:
    found = NUMBER.search(said)
    return found[1] if found else ""


def _asked(programs: Sequence[str]) -> list[str]:
    """Give what each program says to --version, "" where it does not answer in time.

    Even for that a user's podman makes folders in TMPDIR: they go when it has answered.
    """
    deadline = time.monotonic() + LIMIT_S
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        children = [_started(program, scratch) for program in programs]
        return [_answer(child, deadline) for child in children]


def _started(program: str, scratch: str) -> subprocess.Popen[str] | None:
    try:
        return subprocess.Popen(
            [program, "--version"],
            env={**os.environ, "TMPDIR": scratch},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )
    except OSError:
        return None


def _answer(child: subprocess.Popen[str] | None, deadline: float) -> str:
    if child is None:
        return ""
    with child:
        try:
            return child.communicate(timeout=max(0.1, deadline - time.monotonic()))[0]
        except subprocess.TimeoutExpired:
            child.kill()
            return ""
