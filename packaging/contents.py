# SPDX-License-Identifier: Apache-2.0
"""What each package holds: path to file or link, the same for deb and rpm."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import activate
import install
import manual

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGING = os.path.join(install.CHECKOUT, "packaging")
SHARE = activate.SHARE
CURRENT = "../lib/gpubind/current/bin"
CARRIED = ("nvidia-ml-py",)  # what distributions have not got
PLUGIN = "gpubind-device-plugin"
COMPATIBLE = {
    "nvidia-ctk": "gpubind",
    "nvidia-cdi-hook": "gpubind-cdi-hook",
    "nvidia-container-runtime": "gpubind-runtime",
    "nvidia-container-runtime.cdi": "gpubind-runtime",
    "nvidia-container-runtime.legacy": "gpubind-runtime",
    "nvidia-container-runtime-hook": "gpubind-runtime-hook",
    "nvidia-container-toolkit": "gpubind-runtime-hook",
}
"""The field's names in /usr/bin, and the programs of ours that they are."""


@dataclass(slots=True)
class Tree:
    """Files and links by absolute path; `configuration` are those an operator may change."""

    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    configuration: tuple[str, ...] = ()

    def add(self, path: str, source: str, mode: int = 0o644) -> None:
        """Add a file of the checkout."""
        with open(os.path.join(install.CHECKOUT, source), "rb") as file:
            self.files[path] = (file.read(), mode)

    def copy(self, path: str, folder: str) -> None:
        """Add all files of a folder, which lies anywhere, below `path`."""
        for place, inner, names in os.walk(folder):
            inner[:] = sorted(name for name in inner if name != "__pycache__")
            for name in sorted(names):
                inside = os.path.relpath(os.path.join(place, name), folder)
                self.add(f"{path}/{inside}", os.path.join(place, name))

    def part(self, name: str, version: str, launchers: tuple[str, ...]) -> None:
        """Add the folder a part is made ready from, and the links of its programs."""
        self.files[f"{SHARE}/{name}/version"] = (f"{version}\n".encode(), 0o644)
        for launcher in launchers:
            base = os.path.basename(launcher)
            self.add(f"{SHARE}/{name}/bin/{base}", launcher, 0o755)
            self.links[f"/usr/bin/{base}"] = f"{CURRENT}/{base}"

    def page(self, name: str, text: str) -> None:
        """Add a manual page, named as `gpubind.1`."""
        section = name.rpartition(".")[2]
        self.files[f"/usr/share/man/man{section}/{name}.gz"] = (packed(text.encode()), 0o644)


def packed(data: bytes) -> bytes:
    """Give bytes as gzip does, without a time in them."""
    return gzip.compress(data, 9, mtime=0)


def _launchers(folder: str) -> Iterator[str]:
    for name in sorted(os.listdir(os.path.join(install.CHECKOUT, folder))):
        if not name.startswith("."):
            yield f"{folder}/{name}"


def runtime(version: str) -> Tree:
    """Give gpubind-runtime: what containers start, and what makes it ready."""
    tree = Tree()
    for room in install.START:
        base = os.path.basename(room)
        tree.copy(f"{SHARE}/runtime/lib/{base}", os.path.join(install.CHECKOUT, room))
    _stamped(tree, f"{SHARE}/runtime/lib/gpubind/__init__.py", version)
    tree.part("runtime", version, tuple(_launchers("hooks/bin")))
    for name in ("activate", "leave"):
        tree.add(f"{SHARE}/{name}", f"packaging/{name}.py", 0o755)
    tree.add(f"{SHARE}/hooks.d/oci-nvidia-hook.json", "hooks/hooks.d/oci-nvidia-hook.json")
    tree.add(f"{SHARE}/selinux/gpubind.te", "packaging/selinux/gpubind.te")
    for name in sorted(os.listdir(f"{PACKAGING}/man")):
        with open(f"{PACKAGING}/man/{name}", encoding="utf-8") as file:
            tree.page(name, manual.versioned(file.read(), version))
    return tree


def _stamped(tree: Tree, path: str, version: str) -> None:
    """Write another version into the package's own file."""
    data, mode = tree.files[path]
    text = re.sub(r'(?<=^VERSION = ").+(?="$)', version, data.decode(), flags=re.MULTILINE)
    tree.files[path] = (text.encode(), mode)


def tools(version: str) -> Tree:
    """Give gpubind: the operator's program, its units, pages and completions."""
    tree = Tree()
    inside = f"{SHARE}/tools/lib/tools"
    for room in install.TOOLS:
        if os.path.basename(room) != "gpubind_plugin":
            source = os.path.join(install.CHECKOUT, room)
            tree.copy(f"{inside}/{os.path.basename(room)}", source)
    for distribution in install.needed([*CARRIED]):
        for path in distribution.files or ():
            if path.suffix == ".py" and path.parts[0] != ".." and "example" not in path.name:
                tree.add(f"{inside}/{path}", str(path.locate()))
    tree.part("tools", version, ("packaging/bin/gpubind",))
    for name in sorted(os.listdir(f"{PACKAGING}/systemd")):
        ending = name.rpartition(".")[2]
        folder = "system-preset" if ending == "preset" else "system"
        tree.add(f"/usr/lib/systemd/{folder}/{name}", f"packaging/systemd/{name}")
    for name in sorted(os.listdir(f"{PACKAGING}/udev")):
        tree.add(f"/usr/lib/udev/rules.d/{name}", f"packaging/udev/{name}")
    tree.add("/etc/gpubind/cdi-refresh.env", "packaging/cdi-refresh.env")
    tree.configuration = ("/etc/gpubind/cdi-refresh.env",)
    tree.add(f"{SHARE}/config.toml", "src/gpubind_ctl/default.toml")
    for name, text in manual.pages(version).items():
        tree.page(name, text)
    for shell, place in manual.COMPLETIONS.items():
        tree.files[place] = (manual.completion(shell).encode(), 0o644)
    return tree


def kubernetes(version: str) -> Tree:
    """Give gpubind-kubernetes: the device plugin."""
    from gpubind_plugin.main import command

    tree = Tree()
    source = os.path.join(install.CHECKOUT, "src/gpubind_plugin")
    tree.copy(f"{SHARE}/kubernetes/lib/tools/gpubind_plugin", source)
    launchers = tuple(one for one in _launchers("packaging/bin") if one.endswith(PLUGIN))
    tree.part("kubernetes", version, launchers)
    for name, text in manual.pages(version, command, PLUGIN).items():
        tree.page(name, text)
    return tree


def compatible(version: str) -> Tree:
    """Give gpubind-nvidia-compat: links, and pages that lead to ours."""
    tree = Tree(links={f"/usr/bin/{name}": to for name, to in COMPATIBLE.items()})
    for name, to in COMPATIBLE.items():
        section = "1" if to == "gpubind" else "8"
        tree.page(f"{name}.{section}", f".so man{section}/{to}.{section}\n")
    del version
    return tree


TREES = {
    "gpubind-runtime": runtime,
    "gpubind": tools,
    "gpubind-kubernetes": kubernetes,
    "gpubind-nvidia-compat": compatible,
}


def write(tree: Tree, folder: str, epoch: int) -> None:
    """Lay a tree out in an empty folder, every time being `epoch`."""
    for path, (data, mode) in tree.files.items():
        os.makedirs(os.path.dirname(f"{folder}{path}"), exist_ok=True)
        with open(f"{folder}{path}", "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
    for path, target in tree.links.items():
        os.makedirs(os.path.dirname(f"{folder}{path}"), exist_ok=True)
        os.symlink(target, f"{folder}{path}")
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            os.utime(f"{place}/{name}", (epoch, epoch), follow_symlinks=False)
        os.chmod(place, activate.FOLDER)
        os.utime(place, (epoch, epoch))


def checked_out(target: str) -> None:
    """Copy what git holds of the checkout into a folder; for the wheel, which is built there."""
    with tempfile.TemporaryFile() as archive:
        words = ["git", "-c", f"safe.directory={install.CHECKOUT}", "archive", "HEAD"]
        subprocess.run(words, cwd=install.CHECKOUT, stdout=archive, check=True)
        archive.seek(0)
        tar = shutil.which("tar") or "/bin/tar"
        subprocess.run([tar, "-x", "-C", target], stdin=archive, check=True)
