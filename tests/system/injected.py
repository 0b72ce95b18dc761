# SPDX-License-Identifier: Apache-2.0
"""What injection makes of a root: done by the shim or by the CDI hook, and what is to be expected.

No container is started: the low-level runtime of the node is /usr/bin/true, so that only what
gpubind itself does is seen. Real ones are started by the tests.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import trees
import yaml
from system import nodes
from system.engines.low_level import CONFIG

from gpubind import ldcache, plan
from gpubind.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from system.nodes import Node

GPU_0 = {"NVIDIA_VISIBLE_DEVICES": "0", "NVIDIA_DRIVER_CAPABILITIES": "all"}
WAYS = ("shim", "hook")
CACHE = plan.CACHE[1:]
PROFILE = "etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf"
PROFILE_TEXT = (
    b'{"profiles":[{"name":"_container_","settings":["EGLVisibleDGPUDevices",0x1]}],'
    b'"rules":[{"pattern":[],"profile":"_container_"}]}'
)
X86 = ldcache.FLAGS["x86-64"]
State = dict[str, tuple[object, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Driver:
    """What the node's hook is told to make: links (path to text), libraries, their one folder."""

    links: dict[str, str]
    libraries: list[str]
    folder: str


def node(scratch: str, runtime: str = "/usr/bin/true") -> Node:
    """Make a simulated node with a low-level runtime, by default one that does nothing."""
    made = nodes.make("simulated", scratch)
    config = f"{made.prefix}/etc/gpubind/config.toml"
    with open(config, encoding="utf-8") as stream:
        text = stream.read()
    with open(config, "w", encoding="utf-8") as stream:
        stream.write(text.replace("/usr/sbin/runc", runtime))
    return made


def hook(of: Node) -> dict[str, Any]:
    """Give the common hook of the node's spec."""
    with open(of.spec, "rb") as stream:
        found: dict[str, Any] = yaml.safe_load(stream)["containerEdits"]["hooks"][0]
    return found


def driver(of: Node) -> Driver:
    """Read what the hook is told."""
    words = hook(of)["args"]
    given = [(words[at], words[at + 1]) for at in range(len(words) - 1)]
    links = (value.split("::") for option, value in given if option == "--link")
    [folder] = [value for option, value in given if option == "--folder"]
    libraries = [value for option, value in given if option == "--library"]
    return Driver({link: target for target, link in links}, libraries, folder)


def bundle(rootfs: str) -> str:
    """Write the config.json of a container that asks for GPU 0, beside its root."""
    folder = os.path.dirname(rootfs)
    values = [f"{key}={value}" for key, value in GPU_0.items()]
    process = {**CONFIG["process"], "args": ["/probe"], "env": values}
    with open(f"{folder}/config.json", "w", encoding="utf-8") as stream:
        json.dump({**CONFIG, "process": process}, stream)
    return folder


def inject(
    of: Node, way: str, rootfs: str, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Inject into a root; `before` is a program that runs the shim or the hook."""
    done = call(of, way, bundle(rootfs), before)
    assert done.returncode == 0, done.stderr
    return done


def call(
    of: Node, way: str, folder: str, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Start the shim or the hook for a bundle."""
    given, data = hook(of), ""
    words = [of.runtime, "create", "--bundle", folder, "id"]
    if way == "hook":
        words = [given["path"], *given["args"][1:]]
        data = json.dumps({"ociVersion": "1.0.2", "bundle": folder, "root": "rootfs"})
    return subprocess.run(
        [*before, *words],
        input=data,
        env=dict(value.split("=", 1) for value in given["env"]),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def state(root: str) -> State:
    """Give a root's names with mode, owner and content, without what differs between copies."""
    return {name: (*found[:3], found[5]) for name, found in trees.seen(root).items()}


def expected(before: State, of: Driver, conf: bytes | None) -> State:
    """Give the state after injection; the cache's content is left to `libraries`.

    `conf` is what /etc/ld.so.conf says then.
    """
    after = dict(before)
    texts = {plan.DROP_IN[1:]: f"{of.folder}\n".encode()}
    if conf is not None:
        texts[plan.CONF[1:]] = conf
    for name, text in texts.items():
        _folders(after, name, 0o755)
        after[name] = (_file(before, name), 0, 0, text)
    _folders(after, PROFILE, 0o555)
    after[PROFILE] = (stat.S_IFREG | 0o444, 0, 0, PROFILE_TEXT)
    for link, target in of.links.items():
        _folders(after, link[1:], 0o755)
        after[link[1:]] = (stat.S_IFLNK | 0o777, 0, 0, target)
    after[CACHE] = (_file(before, CACHE), 0, 0, None)
    if "lib/ld-musl-x86_64.so.1" in before:
        path = "etc/ld-musl-x86_64.path"
        own = before[path][-1] if path in before else b"/lib:/usr/local/lib:/usr/lib\n"
        assert isinstance(own, bytes)
        after[path] = (_file(before, path), 0, 0, f"{of.folder}\n".encode() + own)
    return after


def _file(before: State, name: str) -> object:
    mode = before.get(name, (0,))[0]
    assert isinstance(mode, int)
    return mode if stat.S_ISREG(mode) else stat.S_IFREG | 0o644


def _folders(after: State, name: str, mode: int) -> None:
    """Add the folders above a name that are not there yet."""
    while name := os.path.dirname(name):
        if name in after:
            return
        for own in (name, f"{name}/."):
            after[os.path.normpath(own)] = (stat.S_IFDIR | mode, 0, 0, None)


def without_cache(found: State) -> State:
    """Leave the cache's content out."""
    return {n: (*known[:3], None) if n == CACHE else known for n, known in found.items()}


def libraries(cache: bytes, of: Driver) -> list[str]:
    """Give the cache's libraries after injection, sorted, as ldconfig lists them.

    Those of the image stay, but for names of the driver's in the driver's own folder.
    """
    try:
        known = ldcache.read(cache)
    except DocumentError:
        known = []
    ours = {path.rpartition("/")[2] for path in of.libraries}
    kept = [
        entry
        for entry in known
        if entry.path.decode() not in [f"{of.folder}/{name}" for name in ours]
    ]
    lines = [f"{one.name.decode()} => {one.path.decode()}" for one in kept]
    return sorted([*lines, *(f"{path.rpartition('/')[2]} => {path}" for path in of.libraries)])


def listed(cache: str) -> list[str]:
    """Give a cache's libraries as ldconfig reads them, in the cache's order."""
    words = ["/sbin/ldconfig", "-p", "-C", cache]
    # Of a compat cache, glibc 2.36 prints a level of the processor as whatever bytes it finds.
    said = subprocess.run(words, check=True, capture_output=True, env={"LC_ALL": "C"}).stdout
    found = re.findall(rb"^\t(\S+) \([^)]*\) => (\S+)$", said, re.MULTILINE)
    return [f"{name.decode()} => {path.decode()}" for name, path in found]


def read(cache: str) -> list[str]:
    """Give a cache's libraries as our reader has them."""
    with open(cache, "rb") as stream:
        known = ldcache.read(stream.read())
    return [f"{one.name.decode()} => {one.path.decode()}" for one in known]
