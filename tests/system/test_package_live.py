# SPDX-License-Identifier: Apache-2.0
"""Containers go on starting while the packages are installed, upgraded, downgraded, removed.

Every module of the versions installed here refuses to work with a core of another version, so that
one start that mixes two of them fails.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import contents
import debs
import package
import pytest
from system import packaged
from system.place import Place

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = pytest.mark.system

VERSIONS = ("1.0", "2.0")
REFUSES = """
from gpubind import VERSION as _core

if _core != "{version}":
    raise ImportError(f"mixed: {{__name__}} of {version} with {{_core}}")
"""
CONFIG = {
    "ociVersion": "1.0.2",
    "process": {"args": ["true"], "env": ["NVIDIA_VISIBLE_DEVICES=0"]},
    "root": {"path": "rootfs"},
    "linux": {},
}
LOOP = """\
import json, os, subprocess, sys
bundle, config = sys.argv[1], sys.argv[2]
os.makedirs(bundle + "/rootfs/etc")
phase = lambda: open("/run/phase").read()
with open(bundle + "/starts", "w") as told:
    while (before := phase()) != "end":
        with open(bundle + "/config.json", "w") as file:
            file.write(config)
        try:
            words = ["/usr/bin/gpubind-runtime", "create", "--bundle", bundle, "id"]
            done = subprocess.run(words, capture_output=True, text=True)
            end = [done.returncode, done.stderr, "nvidia0" in open(bundle + "/config.json").read()]
        except FileNotFoundError:
            end = [127, "there is none", False]
        told.write(json.dumps([before, phase(), *end]) + "\\n")
        told.flush()
"""


@pytest.fixture(scope="module")
def packages(scratch: str) -> dict[str, list[str]]:
    """Give runtime and tools of both versions."""
    made: dict[str, list[str]] = {}
    for version in VERSIONS:
        os.makedirs(folder := f"{scratch}/live-{version}")
        for name, about in list(package.packages(version))[:2]:
            tree = contents.TREES[name](version)
            for path, (data, mode) in tree.files.items():
                if path.endswith(".py") and not path.endswith(
                    ("/pynvml.py", "gpubind/__init__.py")
                ):
                    tree.files[path] = (data + REFUSES.format(version=version).encode(), mode)
            made.setdefault(version, []).append(debs.build(tree, name, about, folder, 0))
    return made


@pytest.fixture
def host() -> Iterator[Place]:
    with Place(root=packaged.root("bookworm")) as place:
        yield place


def say(host: Place, phase: str) -> None:
    """Let the loops know what goes on, in one step."""
    host.run("sh", "-c", f"printf {phase} >/run/new; mv /run/new /run/phase")


def install(host: Place, packages: list[str]) -> None:
    host.run("/usr/bin/dpkg", "-i", *packages, timeout=300)


def settle(bundles: list[str]) -> None:
    """Wait until each loop has made two more starts."""
    reached = {bundle: len(starts(bundle)) + 2 for bundle in bundles}
    deadline = time.monotonic() + 120
    while any(len(starts(bundle)) < reached[bundle] for bundle in bundles):
        assert time.monotonic() < deadline, "the loops stand still"
        time.sleep(0.1)


def starts(bundle: str) -> list[Any]:
    """Give what a loop has told of each start so far."""
    with open(f"{bundle}/starts", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def prepare(host: Place) -> None:
    """Name a runtime that only ends, so that a start is the shim's work alone."""
    config = 'nvidia-container-runtime.runtimes = ["ends"]'
    script = 'mkdir -p /etc/gpubind; echo "$1" >/etc/gpubind/config.toml; cd /usr/bin'
    script += "; echo '#!/bin/sh' >ends; chmod 755 ends"
    host.run("sh", "-ec", script, "sh", config)
    say(host, "absent")


def loop(host: Place, bundle: str) -> subprocess.Popen[bytes]:
    """Start containers one after the other in a bundle, until the last phase."""
    os.makedirs(bundle)
    with open(f"{bundle}/starts", "x", encoding="utf-8"):
        pass
    words = ("/usr/bin/python3", "-c", LOOP, bundle, json.dumps(CONFIG))
    return host.start(*words, log=f"{bundle}/log")


def test_no_start_fails_and_none_mixes_versions(
    host: Place, packages: dict[str, list[str]], scratch: str
) -> None:
    one, two = (packages[version] for version in VERSIONS)
    prepare(host)
    bundles = [f"{scratch}/loop-{number}" for number in range(2)]
    loops = [loop(host, bundle) for bundle in bundles]
    settle(bundles)
    install(host, one)
    host.run("gpubind", "simulate", "--profile", "t4", "--root", "/opt/node")
    host.run("gpubind", "cdi", "generate", "--driver-root=/opt/node", "--output=/etc/cdi/x.yaml")
    say(host, "installed")
    for other in (two, one, two, two):
        install(host, other)
        settle(bundles)
    say(host, "leaving")
    host.run("/usr/bin/dpkg", "-P", "gpubind", "gpubind-runtime")
    settle(bundles)
    say(host, "end")
    assert [running.wait(60) for running in loops] == [0, 0]
    told = [start for bundle in bundles for start in starts(bundle)]
    whole = [end for first, last, *end in told if first == last == "installed"]
    assert len(whole) > 20
    assert [end for end in whole if end != [0, "", True]] == []
    early = [end for first, _, *end in told if first == "absent"]
    assert [end for end in early if end[0] not in (0, 127) or "mixed" in end[1]] == []
    assert told[-1][2] == 127
