# SPDX-License-Identifier: Apache-2.0
"""No file names the machine it was written on, nor a host it may not name."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTS = {
    *("containers.dev", "docs.kernel.org", "docs.nvidia.com", "docs.python.org", "github.com"),
    *("json-schema.org", "keepachangelog.com", "kubernetes.io", "man7.org", "opencontainers.org"),
    *("refspecs.linuxfoundation.org", "semver.org", "spdx.org", "specs.opencontainers.org"),
    *(
        "sourceware.org",
        "www.apache.org",
        "www.debian.org",
        "www.kernel.org",
        "en.wikipedia.org",
        "yaml.org",
    ),
    *("example.com", "example.org", "gpubind.invalid"),
}
URL = re.compile(r"\b(?:https?|ftp|file)://([\w.-]*)", re.IGNORECASE)
HOME = re.compile(r"(?<![\w/.*-])/(?:home|Users)/(?!(?:user|kubernetes)\b)\w+|\.py" + r"env\b")
# /home/kubernetes is nobody's: Google's Container-Optimized OS has drivers there.
EVERYWHERE = ("/", "/home", "/opt", "/root", "/srv", "/tmp", "/usr/src", "/var/tmp")


def tracked(root: str) -> list[str]:
    """List the files git holds or would hold, or all files where there is no repository."""
    if not os.path.exists(os.path.join(root, ".git")):
        return checkout.files(root, ".")
    words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={root}", *words],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    names = (name for name in listed.stdout.split("\0") if name)
    return sorted(name for name in names if os.path.isfile(os.path.join(root, name)))


def places(root: str, machine: set[str]) -> Iterator[str]:
    """Give the lines that name a folder of `machine`, a home folder, or an unknown host."""
    inside = re.compile("|".join(rf"(?<![\w.]){re.escape(path)}(?![\w-])" for path in machine))
    for name in tracked(root):
        for number, line in enumerate(checkout.text(root, name).split("\n"), 1):
            if machine and inside.search(line):
                yield f"{name}:{number}: names a folder of this machine"
            if HOME.search(line):
                yield f"{name}:{number}: names somebody's home"
            for host in URL.findall(line):
                if host and host not in HOSTS:
                    yield f"{name}:{number}: names the host {host}"


def test_no_file_names_this_machine_or_an_unknown_host() -> None:
    above = {checkout.ROOT, os.path.dirname(checkout.ROOT)}
    assert list(places(checkout.ROOT, above - set(EVERYWHERE))) == []


def test_a_machine_path_and_an_unknown_host_are_seen(tmp_path: Path) -> None:
    lines = [
        "see /build" + "s/7/x",
        "see /ho" + "me/ada/x",
        "see https" + "://mirror.test/simple",
        "see https" + "://github.com/x and /builds-old and ~/.py" + "env/x",
        "see /var/builds" + "/7",
    ]
    root = checkout.grow(tmp_path, {"docs/a.md": "\n".join(lines)})
    assert list(places(root, {"/build" + "s/7"})) == [
        "docs/a.md:1: names a folder of this machine",
        "docs/a.md:2: names somebody's home",
        "docs/a.md:3: names the host mirror.test",
        "docs/a.md:4: names somebody's home",
    ]
