# SPDX-License-Identifier: Apache-2.0
"""Specs without hooks, given to a runtime that knows nothing of CDI, or used in a container."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from system.engines.low_level import RUNC

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.engines.low_level import LowLevel
    from system.nodes import Node

pytestmark = pytest.mark.system

LOADER = "LD_TRACE_LOADED_OBJECTS=1 LD_PRELOAD=libcuda.so.1 cat | grep -o 'libcuda.so.1 => [^ ]*'"
FOLDER = "/lib/x86_64-linux-gnu"
SECCOMP = "/usr/lib/x86_64-linux-gnu/libseccomp.so.2"
MORE = ("CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
ALL = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "all"}


def spec(node: Node, shape: str, *words: str) -> list[dict[str, Any]]:
    """Generate the spec of a node in a shape; give the common edits and those of all devices."""
    dev_root = f"{node.prefix}/host"
    roots = [f"--driver-root={node.root}"]
    if os.path.isdir(dev_root):
        roots.append(f"--dev-root={dev_root}")
    text = node.gpubind("cdi", "generate", *roots, "--format=json", f"--shape={shape}", *words)
    known = json.loads(text)
    (every,) = [one for one in known["devices"] if one["name"] == "all"]
    return [known["containerEdits"], every["containerEdits"]]


def applied(edits: list[dict[str, Any]]) -> Callable[[dict[str, Any]], None]:
    """Give what puts edits into a config.json, as an engine without hooks would."""

    def change(config: dict[str, Any]) -> None:
        linux = config["linux"]
        linux["devices"] = []
        for one in edits:
            for mount in one.get("mounts", ()):
                place, source = mount["containerPath"], mount["hostPath"]
                bind = {"destination": place, "source": source, "options": mount["options"]}
                config["mounts"].append({**bind, "type": "bind"})
            for node in one.get("deviceNodes", ()):
                numbers = {"major": node["major"], "minor": node.get("minor", 0), "type": "c"}
                linux["devices"].append({"path": node["path"], **numbers})
                linux["resources"]["devices"].append({"allow": True, "access": "rwm", **numbers})

    return change


def test_the_loader_finds_the_driver_though_no_hook_ran(
    node: Node, low_level_runtime: Callable[[str], LowLevel]
) -> None:
    edits = spec(node, "hook-free")
    assert not any(one.get("hooks") for one in edits)
    size = os.stat(os.path.join(node.root, os.path.relpath(node.libcuda, "/"))).st_size
    script = (
        f"{LOADER}; env | grep -c ^LD_; stat -L -c %s {FOLDER}/libcuda.so.1 {node.libcuda} "
        "/usr/lib64/libcuda.so.1; probe open /dev/nvidia0 /dev/nvidiactl"
    )
    done = low_level_runtime(RUNC).run("sh", "-c", script, change=applied(edits))
    assert done.stdout.split("\n") == [
        f"libcuda.so.1 => {FOLDER}/libcuda.so.1",
        "0",
        *[str(size)] * 3,
        "/dev/nvidia0: allowed",
        "/dev/nvidiactl: allowed",
        "",
    ]


def test_hooks_alone_would_not_have_done(
    node: Node, low_level_runtime: Callable[[str], LowLevel]
) -> None:
    edits = spec(node, "hooks", "--disable-hook=all")
    done = low_level_runtime(RUNC).run("sh", "-c", LOADER, change=applied(edits), status=None)
    assert done.stdout == ""


def test_a_container_has_all_that_a_nested_spec_names(
    node: Node, low_level_runtime: Callable[[str], LowLevel]
) -> None:
    edits = spec(node, "nested")
    named = {mount["hostPath"] for one in edits for mount in one.get("mounts", ())}
    named |= {
        one.get("hostPath", one["path"]) for each in edits for one in each.get("deviceNodes", ())
    }
    script = 'for name; do test -e "$name" || echo "$name"; done; echo "$#"'
    runtime = low_level_runtime(node.runtime)
    done = runtime.run("sh", "-c", script, "sh", *sorted(named), environment=ALL)
    assert done.stdout == f"{len(named)}\n"
    assert len(named) > 40


def outermost(bundle: str) -> Callable[[dict[str, Any]], None]:
    """Give what makes a container one that runs containers: runc, cgroups, rights, their bundle."""
    places = {RUNC: RUNC, SECCOMP: SECCOMP, "/sys/fs/cgroup": "/sys/fs/cgroup", bundle: "/inner"}

    def change(config: dict[str, Any]) -> None:
        for source, place in places.items():
            bind = {"destination": place, "source": source, "options": ["rbind", "rw"]}
            config["mounts"].append({**bind, "type": "bind"})
        rights = [*config["process"]["capabilities"]["bounding"], *MORE]
        config["process"]["capabilities"] = dict.fromkeys(
            ("bounding", "effective", "permitted", "inheritable"), rights
        )
        config["process"]["noNewPrivileges"] = False
        config["linux"]["resources"]["devices"].insert(0, {"allow": True, "access": "rwm"})

    return change


def test_an_inner_runtime_starts_a_container_with_a_nested_spec(
    node: Node, low_level_runtime: Callable[[str], LowLevel]
) -> None:
    outer = low_level_runtime(node.runtime)
    script = f"{LOADER}; probe open /dev/nvidia0 /dev/nvidiactl"
    inner = outer.bundle(("sh", "-c", script), {}, applied(spec(node, "nested")))
    run = "runc --root /run/inner run --bundle /inner inner"
    done = outer.run("sh", "-c", run, environment=ALL, change=outermost(inner))
    assert done.stdout.split("\n") == [
        f"libcuda.so.1 => {FOLDER}/libcuda.so.1",
        "/dev/nvidia0: allowed",
        "/dev/nvidiactl: allowed",
        "",
    ]
