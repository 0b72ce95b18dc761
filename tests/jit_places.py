# SPDX-License-Identifier: Apache-2.0
"""A driver root of a few files, and generators that tell how often they ran."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

import checkout
import specs
import trees

from gpubind import VERSION, jit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION_FILE = "/proc/driver/nvidia/version"
TREE: trees.Tree = {
    VERSION_FILE: "NVRM version: 550\n",
    "/proc/driver/nvidia/gpus/0000:01:00.0/information": "",
    "/lib/libcuda.so.550": "library",
    "/dev/nvidia0": "-> /dev/zero",
    "/other": "-> /dev/full",
    "/dev/nvidiactl": "stands for a node",
    "/state": trees.FOLDER,
}
MAKES = """
import json, os, sys, time
sys.path.insert(0, {src!r})
from gpubind import jit
state, root = sys.argv[4], sys.argv[7]
with open(root + "/runs", "a") as file:
    file.write("x")
time.sleep({seconds})
with open(root + "/wanted.json") as file:
    document = json.load(file)
signs = {{kind: {{path: look(path) for path in document["signs"][kind]}}
         for kind, look in jit.SIGNS.items()}}
fd = os.open(state + "/new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
os.write(fd, json.dumps({{**document, "signs": signs, "made": time.time()}}).encode())
os.rename(state + "/new", state + "/jit.json")
sys.exit({status})
"""


def program(place: Path, text: str) -> str:
    path = f"{place}/generator"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/usr/bin/python3 -IS\n{text}")
    os.chmod(path, 0o755)
    return path


def makes(place: Path, seconds: float = 0, status: int = 0) -> str:
    src = f"{checkout.ROOT}/src"
    return program(place, MAKES.format(src=src, seconds=seconds, status=status))


def spec(place: Path) -> Any:
    """Give a spec of two GPUs with nodes of their own and one library."""
    node: Any = {"type": "c", "major": 1, "minor": 3, "required": True}
    library: Any = {
        "hostPath": f"{place}/lib/libcuda.so.550",
        "containerPath": specs.CUDA,
        **specs.COMPUTE,
    }
    devices = {
        name: {"deviceNodes": [{"path": f"/dev/nvidia{name}", "hostPath": host, **node}]}
        for name, host in (("0", "/dev/null"), ("1", "/dev/zero"))
    }
    control = {"path": "/dev/nvidiactl", "hostPath": "/dev/full", **node}
    common = {"mounts": [library], "deviceNodes": [control]}
    return specs.spec(kind=jit.KIND, containerEdits=common, devices=devices)


def wanted(place: Path, **changes: Any) -> None:
    """Write what the generator will give."""
    given = specs.compiled(spec(place), format=jit.FORMAT, generator=f"gpubind {VERSION}")
    given |= {"root": str(place), "made": time.time()}
    given["signs"] = {
        "texts": {f"{place}{VERSION_FILE}": None},
        "names": {f"{place}/proc/driver/nvidia/gpus": None},
        "nodes": {f"{place}/dev/{name}": None for name in ("nvidia0", "nvidia1", "nvidiactl")},
        "stamps": {f"{place}/lib": None, f"{place}/lib/libcuda.so.550": None},
    }
    (place / "wanted.json").write_text(json.dumps({**given, **changes}))


def made(folder: Path) -> Path:
    """Give a folder that is driver root, state and the generator's place."""
    trees.build(folder, TREE)
    wanted(folder)
    makes(folder)
    return folder


def serve(place: Path, *names: str, notes: list[str] | None = None, **more: Any) -> jit.Served:
    words = (str(place), f"{place}/state", notes, f"{place}/generator")
    return jit.serve(names or ("0",), *words, **more)


def runs(place: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(place / "runs").st_size
    return 0


def rewritten(place: Path, name: str, text: str) -> None:
    (place / name).write_text(text)


CHANGES: dict[str, Callable[[Path], object]] = {
    "another kernel module": lambda place: rewritten(place, VERSION_FILE[1:], "560\n"),
    "no kernel module": lambda place: os.unlink(f"{place}{VERSION_FILE}"),
    "another GPU": lambda place: os.mkdir(place / "proc/driver/nvidia/gpus/0000:02:00.0"),
    "one GPU for another": lambda place: os.rename(
        place / "proc/driver/nvidia/gpus/0000:01:00.0",
        place / "proc/driver/nvidia/gpus/0000:02:00.0",
    ),
    "a node that is gone": lambda place: os.unlink(place / "dev/nvidia0"),
    "a node that came": lambda place: rewritten(place, "dev/nvidia1", ""),
    "a node with another mode": lambda place: os.chmod(place / "dev/nvidiactl", 0o600),
    "a node of another number": lambda place: os.rename(place / "other", place / "dev/nvidia0"),
    "a library that was replaced": lambda place: rewritten(place, "lib/libcuda.so.550", "new"),
    "one more library": lambda place: rewritten(place, "lib/libnvcuvid.so.550", ""),
}


def aged(place: Path) -> None:
    """Make what was found a minute older."""
    file = place / "state/jit.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "made": document["made"] - 60}))
