# SPDX-License-Identifier: Apache-2.0
"""What an engine says of a CDI document: it is put where the engine looks, and a container asks.

No container is started: the device asked for is in no document, and the engines read all of them
before they say so.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from typing import TYPE_CHECKING

from system import images
from system.engines.docker import Docker
from system.engines.podman import LIMITS, Podman

from gpubind_ctl import engine_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.engines.containerd import Containerd

    Engine = Podman | Docker | Containerd

MISSING = "--device=nowhere.example/device=missing"
UNRESOLVED = "unresolvable CDI devices nowhere.example/device=missing"
ERROR = re.compile(r'(?:refreshing the CDI registry|registry refresh failed): (.*)"$', re.MULTILINE)
REVIEWED = os.path.join(os.path.dirname(__file__), "verdicts.tsv")


def release(engine: Engine) -> str:
    """Give an engine's version, as its program says it."""
    words = engine_versions.table()[engine.name]["programs"]
    found = engine_versions.NUMBER.search(engine.place.run(*words, "--version").stdout)
    assert found is not None
    return found[1]


def reads(engine: Engine) -> str:
    """Give the CDI version that our table says this engine reads, "" for none."""
    return engine_versions.known(engine.name, "", release(engine)).reads


def measured(engine: Engine) -> bool:
    """Say whether it is one of the releases, patches apart, that the table was measured with."""
    of = f"{engine.name} {release(engine).rpartition('.')[0]}."
    rows = engine_versions.table()[engine.name]["releases"]
    return any(row["of"].startswith(of) for row in rows)


def reviewed(cdi: str) -> dict[str, str]:
    """Give the documents on which engines that read this version do not agree with us: its verdict.

    The table's columns: CDI version, document, the engines' verdict, why.
    """
    with open(REVIEWED, encoding="utf-8") as stream:
        rows = [line.rstrip("\n").split("\t") for line in stream]
    return {name: verdict for version, name, verdict, _ in rows if version == cdi}


@contextlib.contextmanager
def given(engine: Engine, data: bytes, form: str) -> Iterator[None]:
    """Put a document where the engine looks; `form` is yaml or json."""
    path = f"/etc/cdi/document.{form}"
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(data)
        stream.flush()
        engine.place.run("cp", stream.name, path)
    yield
    engine.place.run("rm", path)


def fault(engine: Engine, data: bytes, form: str) -> str:
    """Give why an engine refuses a document, "" where it takes it."""
    with given(engine, data, form):
        return _of_docker(engine) if isinstance(engine, Docker) else _told(engine)


def devices(docker: Docker) -> list[str]:
    """List the devices that docker knows, by their qualified names."""
    known = json.loads(docker.call("info", "--format={{json .DiscoveredDevices}}").stdout)
    return sorted(device["ID"] for device in known or [])


def _of_docker(docker: Docker) -> str:
    """Docker never says what is wrong with a document."""
    return "" if devices(docker) else "no device of it is known"


def _told(engine: Podman | Containerd) -> str:
    if isinstance(engine, Podman):
        words = ("--log-level=debug", "run", "--rm", "--network=none", *LIMITS, MISSING)
        told = engine.call(*words, images.TAG, "true", status=None).stderr
    else:
        told = engine.run("true", options=[MISSING], status=None).stderr
    assert UNRESOLVED in told
    found = ERROR.search(told)
    return found[1] if found else ""
