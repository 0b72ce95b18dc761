#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""Refuse the removal of programs that engines still start; then take back the specs that we wrote.

    leave [--check] NAME...     programs of /usr/bin, such as gpubind-runtime

Looked at are the engines' files, those that our journal names, what runs, and what docker has
loaded. Exit status 1: something names a program still, each a line. With --check nothing is taken
back. GPUBIND_REMOVE_ANYWAY=1 removes all the same.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = "/usr/bin"
PYTHON = f"{BIN}/python3"
CONFIGURED = {
    "docker": ("/etc/docker/daemon.json",),
    "containerd": ("/etc/containerd/config.toml", "/etc/containerd/conf.d/*.toml"),
    "crio": ("/etc/crio/crio.conf", "/etc/crio/crio.conf.d/*"),
    "podman": ("/etc/containers/containers.conf", "/etc/containers/containers.conf.d/*"),
}
HOOKS = ("/etc/containers/oci/hooks.d/*.json", "/usr/share/containers/oci/hooks.d/*.json")
JOURNALS = "/var/lib/gpubind/engines/*.json"
TIES = ("/var/lib/gpubind/receipts/*", "/run/gpubind/sidecars/*")
SHIM = "containerd-shim"  # its folder is the container's bundle, with what it was started with
OPTIONS = "options.json"
DOCKER = "/run/docker.sock"
PATIENCE = 5.0
LIMIT = 1 << 24
ANYWAY = "GPUBIND_REMOVE_ANYWAY"


def pattern(names: list[str]) -> re.Pattern[str]:
    """Give what finds these programs in a text: alone, or in /usr/bin, and never another's."""
    either = "|".join(map(re.escape, names))
    return re.compile(rf"(?<![\w./-])(?:{re.escape(BIN)}/)?(?:{either})(?![\w.-])")


def text_of(path: str) -> str:
    """Give a file's text without comment lines; one that is not there or none is empty."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(LIMIT).splitlines()
    except OSError:
        return ""
    return "\n".join(line for line in lines if not line.lstrip().startswith(("#", "//")))


def started_by(words: list[str], names: re.Pattern[str]) -> bool:
    """Tell whether a command line names one of the programs by its place, also behind a `=`.

    A start that is under way is none: it is the program, and has it in hand.
    """
    if words[0].startswith(PYTHON):
        return False
    last = [word.rpartition("=")[2] for word in words[1:]]
    return any(word.startswith(f"{BIN}/") and names.fullmatch(word) for word in last)


def configured(names: re.Pattern[str]) -> Iterator[str]:
    """Give a line for each engine's file that names one of the programs."""
    places = {path: engine for engine, found in CONFIGURED.items() for path in _found(*found)}
    for journal in _found(JOURNALS):
        known = _json(journal)
        main = known.get("main")
        if isinstance(main, str):
            places.setdefault(main, str(known.get("engine")))
    for path, engine in sorted(places.items()):
        if names.search(text_of(path)):
            words = f"gpubind runtime unconfigure --runtime {engine}"
            words += "" if path in _found(*CONFIGURED.get(engine, ())) else f" --config {path}"
            yield f"{path} names it: run '{words}' and restart {engine}"
    for path in _found(*HOOKS):
        if names.search(text_of(path)):
            yield f"{path} names it: run 'gpubind runtime unconfigure --oci-hook-path {path}'"


def _found(*patterns: str) -> list[str]:
    return sorted(path for one in patterns for path in glob.glob(one))


def _json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def started(names: re.Pattern[str]) -> Iterator[str]:
    """Give a line for each process that will start one of the programs, and each such container."""
    for number in filter(str.isdecimal, os.listdir("/proc")):
        if int(number) not in (os.getpid(), os.getppid()):
            words = text_of(f"/proc/{number}/cmdline").split("\0")
            name = os.path.basename(words[0])
            if started_by(words, names):
                yield f"process {number}, {name}, would start it: end its container or restart it"
            elif name.startswith(SHIM) and names.search(text_of(f"/proc/{number}/cwd/{OPTIONS}")):
                name = os.path.basename(os.path.realpath(f"/proc/{number}/cwd"))
                yield f"container {name} was started by it: end that container"


def loaded(names: re.Pattern[str], path: str = DOCKER) -> Iterator[str]:
    """Give a line for each of the programs that a running dockerd has among its runtimes."""
    for name, runtime in asked(path).get("Runtimes", {}).items():
        if names.fullmatch(str(runtime.get("path", ""))):
            yield f"dockerd has it loaded as runtime '{name}': restart docker"


def asked(path: str) -> dict[str, Any]:
    """Give what dockerd tells of itself, nothing where none answers."""
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(PATIENCE)
            link.connect(path)
            link.sendall(b"GET /info HTTP/1.0\r\nHost: docker\r\n\r\n")
            while part := link.recv(1 << 16):
                answer += part
        value = json.loads(answer.partition(b"\r\n\r\n")[2])
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def withdraw() -> None:
    """Remove the CDI specs that gpubind wrote and that nobody has changed since."""
    for path in _found(*TIES):
        tie = _json(path)
        spec = tie.get("spec")
        if isinstance(spec, str) and spec.startswith("/"):
            try:
                with open(spec, "rb") as file:
                    same = hashlib.sha256(file.read(LIMIT)).hexdigest() == tie.get("sha256")
                if same:
                    os.unlink(spec)
            except OSError:
                continue


def main(words: list[str]) -> int:
    """Look, and take back what is ours where nobody needs us; give the exit status."""
    names = pattern([word for word in words if not word.startswith("-")])
    found = [*configured(names), *started(names), *loaded(names)]
    if found and os.environ.get(ANYWAY) != "1":
        for line in found:
            print(f"gpubind: still in use: {line} [PKG-IN-USE]", file=sys.stderr)
        return 1
    if "--check" not in words:
        withdraw()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
