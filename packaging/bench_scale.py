# SPDX-License-Identifier: Apache-2.0
"""What `bench` measures at scale: generation for many GPUs, the registry with many specs.

Each number of specs and of GPUs is a row, so that growth is seen: it must be linear at most.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import bench_starts
import demo

from gpubind_ctl.simulate import layout, profile

if TYPE_CHECKING:
    from collections.abc import Callable

NODES = {"generate 1": (1, 0), "generate 16": (16, 0), "generate 16x7": (16, 7)}
"""GPUs and MIG devices on each, by what is measured; eight GPUs are the bench's own node."""

FILES = {"registry 0": (0, 1), "registry 10": (10, 1), "registry 1000": (1000, 1)}
DEVICES = {"registry devices": (1, 10_000)}
"""Foreign spec files, and devices in each, by what is measured."""

PYTHON = ("/usr/bin/python3", "-IS", "-c")
NO_ENGINES = ("--cdi-version-max", "0.5.0")
STATS = "import sys, posix; [posix.stat(f'{sys.argv[1]}/s{n}.json') for n in range(1000)]"
READ = (
    "import gc, sys; gc.disable(); sys.path.insert(0, sys.argv[1]); "
    "from gpubind import pack; pack.use(sys.argv[1]); from gpubind import registry; "
    "found = registry.current([sys.argv[2]], sys.argv[3]); "
    "registry.resolve(found, sys.argv[4:]) if found else sys.exit(1)"
)


def node(gpus: int, migs: int) -> profile.Profile:
    """Give a machine with so many GPUs, each in so many MIG devices."""
    known = profile.load(demo.PROFILE)
    return replace(known, gpus=tuple(_gpu(known.gpus[0], index, migs) for index in range(gpus)))


def _gpu(known: profile.Gpu, index: int, migs: int) -> profile.Gpu:
    hardware = replace(known.hardware, card=index + 1, render=128 + index)
    parts = tuple(
        profile.Instance(
            index=number,
            uuid=f"MIG-{index:08x}-{number:04x}-4000-8000-000000000000",
            gi=number + 7,
            ci=0,
            profile="1g.10gb",
        )
        for number in range(migs)
    )
    return replace(
        known,
        index=index,
        minor=index,
        uuid=f"GPU-{index:08x}-0000-4000-8000-000000000000",
        pci=f"0000:{index + 16:02x}:00.0",
        hardware=hardware,
        mig_enabled=migs > 0,
        instances=parts,
    )


def spec(number: int, devices: int) -> dict[str, Any]:
    """Give a foreign spec."""
    edits = {"deviceNodes": [{"path": "/dev/null"}]}
    return {
        "cdiVersion": "0.5.0",
        "kind": f"vendor{number}.org/thing",
        "devices": [{"name": f"d{index}", "containerEdits": edits} for index in range(devices)],
    }


def prepare(home: str) -> None:
    """Lay out nodes and compiled folders of specs below `home`. Raises DemoError."""
    for name, (gpus, migs) in NODES.items():
        layout.lay_out(node(gpus, migs), _place(home, name, "node"))
    for name, (files, devices) in {**FILES, **DEVICES}.items():
        folder = _place(home, name, "cdi")
        os.makedirs(folder, mode=0o755)
        for number in range(files):
            with open(f"{folder}/s{number}.json", "w", encoding="ascii") as file:
                json.dump(spec(number, devices), file)
        state = ("--state-dir", _place(home, name, "state"))
        bench_starts.call(f"{home}/bin/gpubind", "cdi", "compile", "--spec-dir", folder, *state)


def measures(home: str) -> dict[str, Callable[[], float]]:
    """Give what is measured, by name."""
    generated = {
        name: lambda name=name: generate(home, _place(home, name, "node"), *NO_ENGINES)
        for name in NODES
    }
    read = {name: lambda name=name: registry(home, name) for name in (*FILES, *DEVICES)}
    folder = _place(home, "registry 1000", "cdi")
    return {
        "stat 1000": lambda: bench_starts.call(*PYTHON, STATS, folder),
        "generate": lambda: generate(home, f"{home}/node", *NO_ENGINES),
        "foreign 1000": lambda: _read(home, "registry 1000"),
        "generate asking": lambda: generate(home, f"{home}/node"),
        **generated,
        **read,
    }


def generate(home: str, root: str, *words: str) -> float:
    """Time `gpubind cdi generate` as a whole."""
    output = ("--output", f"{home}/scale/nvidia.yaml", "--state-dir", f"{home}/scale/state")
    program = f"{home}/bin/gpubind"
    return bench_starts.call(program, "cdi", "generate", "--driver-root", root, *output, *words)


def registry(home: str, name: str) -> float:
    """Time an interpreter that reads compiled specs, looks at their files, and finds a device."""
    files, devices = {**FILES, **DEVICES}[name]
    wanted = [f"vendor{files - 1}.org/thing=d{devices - 1}"] if files else []
    return _read(home, name, *wanted)


def _read(home: str, name: str, *wanted: str) -> float:
    places = (_place(home, name, "cdi"), _place(home, name, "state"))
    return bench_starts.call(*PYTHON, READ, f"{home}/lib/gpubind", *places, *wanted)


def _place(home: str, name: str, what: str) -> str:
    return f"{home}/scale/{name.replace(' ', '-')}/{what}"
