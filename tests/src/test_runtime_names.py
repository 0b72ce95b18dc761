# SPDX-License-Identifier: Apache-2.0
"""The shim under the names of the field's three runtimes: two of them say the mode."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import specs

if TYPE_CHECKING:
    from installed import Prefix

ASKS: dict[str, Any] = {
    "root": {"path": "rootfs"},
    "process": {"env": ["NVIDIA_VISIBLE_DEVICES=0"]},
    "linux": {},
}


def started(prefix: Prefix, name: str, mode: str) -> Any:
    """Start the shim by a name of its own, a mode configured, and give the container's config."""
    prefix.runtime()
    prefix.specs(specs.spec())
    place = f"{prefix.path}/etc/gpubind/config.toml"
    with open(place, "a", encoding="utf-8") as file:
        file.write(f'nvidia-container-runtime.mode = "{mode}"\n')
    os.symlink(f"{prefix.path}/bin/gpubind-runtime", f"{prefix.path}/runtimes/{name}")
    bundle = prefix.bundle(ASKS)
    done = prefix.start(f"../runtimes/{name}", ["create", "--bundle", bundle, "id"])
    assert done.returncode == 0, done.stderr
    with open(f"{bundle}/config.json", encoding="utf-8") as text:
        return json.load(text)


def injected(document: Any) -> list[str]:
    """Give what brings the GPU: nodes, or the program of a prestart hook."""
    hooks = document.get("hooks", {}).get("prestart", [])
    nodes = [node["path"] for node in document["linux"].get("devices", [])]
    return [*nodes, *(os.path.basename(hook["path"]) for hook in hooks)]


NODES, HOOK = ["/dev/nvidia0"], ["gpubind-runtime-hook"]


@pytest.mark.parametrize(
    ("name", "mode", "wanted"),
    [
        ("nvidia-container-runtime", "cdi", NODES),
        ("nvidia-container-runtime", "legacy", HOOK),
        ("nvidia-container-runtime.cdi", "legacy", NODES),
        ("nvidia-container-runtime.legacy", "cdi", HOOK),
        ("nvidia-container-runtime.experimental", "cdi", NODES),
    ],
)
def test_a_name_that_says_a_mode_counts_more_than_the_configuration(
    prefix: Prefix, name: str, mode: str, wanted: list[str]
) -> None:
    assert injected(started(prefix, name, mode)) == wanted
