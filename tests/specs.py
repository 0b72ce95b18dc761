# SPDX-License-Identifier: Apache-2.0
"""Compiled specs as the start path finds them, for tests."""

from __future__ import annotations

import json
import os
from typing import Any

from gpubind import config

KIND = "nvidia.com/gpu"
CUDA = "/usr/lib/gpu/libcuda.so.1"
COMPUTE: dict[str, Any] = {"capabilities": ["compute"], "required": True, "why": "a test"}


def spec(**changes: Any) -> Any:
    """Give a spec of two GPUs, both of which are /dev/null, that mounts one library."""
    common = {
        "env": ["FROM_SPEC=1"],
        "mounts": [{"hostPath": "/etc/hostname", "containerPath": CUDA, **COMPUTE}],
    }
    node: Any = {"hostPath": "/dev/null", "required": True}
    given: Any = {
        "path": "/etc/cdi/nvidia.yaml",
        "priority": 0,
        "kind": KIND,
        "cdiVersion": "0.5.0",
        "containerEdits": common,
        "devices": {
            "0": {"deviceNodes": [{"path": "/dev/nvidia0", **node}]},
            "GPU-AbC": {"deviceNodes": [{"path": "/dev/nvidia1", **node}]},
        },
        "driver": None,
        "gpus": [],
        "links": [
            {"link": "/usr/lib/gpu/libcuda.so", "target": "libcuda.so.1", "devices": [], **COMPUTE}
        ],
        "libraries": [{"path": CUDA, "arch": "x86-64", "capabilities": ["compute"]}],
        "folders": ["/usr/lib/gpu"],
    }
    given |= changes
    return given


def compiled(*specs: Any, **changes: Any) -> Any:
    """Give a registry of these specs."""
    devices = {
        f"{one['kind']}={name}": index for index, one in enumerate(specs) for name in one["devices"]
    }
    given: Any = {
        "format": 1,
        "generator": "a test",
        "stamps": {},
        "specs": list(specs),
        "devices": devices,
        "conflicts": {},
        "errors": [],
    }
    given |= changes
    return given


def put(state: str, document: Any, *sources: str) -> None:
    """Write a registry where the start path looks for it, with the stamps of its sources."""
    os.makedirs(state, exist_ok=True)
    document["stamps"] |= {source: config.stamp(source) for source in sources}
    with open(f"{state}/compiled.json", "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.chmod(f"{state}/compiled.json", 0o644)


def settings(*folders: str, **values: Any) -> config.Config:
    """Give a configuration that reads specs from these folders."""
    return config.Config({config.SPEC_DIRS: list(folders), **values}, "/etc/gpubind/config.toml")
