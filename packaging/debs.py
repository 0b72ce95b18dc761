# SPDX-License-Identifier: Apache-2.0
"""Write a .deb of a tree: control files, documents Debian asks for, dpkg-deb."""

from __future__ import annotations

import email.utils
import hashlib
import os
import subprocess
import tempfile
import textwrap
from typing import TYPE_CHECKING, Any

import contents
import install

if TYPE_CHECKING:
    from contents import Tree

DOCS = "/usr/share/doc"
ZSH, ZSH_HERE = "/usr/share/zsh/site-functions", "/usr/share/zsh/vendor-completions"
SCRIPTS = {
    "postinst": {"installed": "configure | triggered | abort-*"},
    "prerm": {"leaving": "remove"},
    "postrm": {"left": "remove", "forgotten": "purge", "purged": "purge"},
}
"""Maintainer scripts, their functions, and the first word that dpkg calls those with."""
TRIGGERS = "interest-noawait /usr/bin/python3\n"  # another interpreter: compile again
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: gpubind

Files: *
Copyright: {year} The gpubind developers
License: Apache-2.0
 On Debian systems the text of the licence is in /usr/share/common-licenses/Apache-2.0.
{carried}"""
CARRIED = """
Files: {path}
Copyright: 2011-2025 NVIDIA Corporation
License: BSD-3-clause
{licence}
"""
CHANGELOG = """\
{name} ({version}) unstable; urgency=medium

  * The changes of this version are in changelog.gz.

 -- {maintainer}  {date}
"""


def functions(name: str) -> str:
    """Give the shell functions of a package, the same for deb and rpm; empty where it has none."""
    path = f"{contents.PACKAGING}/scripts/{name}.sh"
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def scripts(name: str) -> dict[str, str]:
    """Give the maintainer scripts of a package."""
    known = functions(name)
    made = {}
    for script, calls in SCRIPTS.items():
        cases = [f'    {on}) {call} "$@" ;;' for call, on in calls.items() if f"{call}()" in known]
        if cases:
            case = "\n".join(['case "$1" in', *cases, "esac"])
            made[script] = f"#!/bin/sh\nset -e\n{known}\n{case}\n"
    return made


def placed(tree: Tree) -> None:
    """Move what Debian has elsewhere: its zsh looks for completions in a folder of its own."""
    for path in [path for path in tree.files if path.startswith(ZSH)]:
        tree.files[path.replace(ZSH, ZSH_HERE)] = tree.files.pop(path)


def document(tree: Tree, name: str, about: dict[str, Any], epoch: int) -> None:
    """Add what Debian wants in /usr/share/doc."""
    carried = "".join(
        CARRIED.format(path=path[1:], licence=licence(data.decode()))
        for path, (data, _) in tree.files.items()
        if path.endswith("/pynvml.py")
    )
    year = email.utils.formatdate(epoch).split()[3]
    told = COPYRIGHT.format(year=year, carried=carried)
    tree.files[f"{DOCS}/{name}/copyright"] = (told.encode(), 0o644)
    with open(os.path.join(install.CHECKOUT, "CHANGELOG.md"), "rb") as file:
        tree.files[f"{DOCS}/{name}/changelog.gz"] = (contents.packed(file.read()), 0o644)
    entry = CHANGELOG.format(name=name, date=email.utils.formatdate(epoch), **about)
    tree.files[f"{DOCS}/{name}/changelog.Debian.gz"] = (contents.packed(entry.encode()), 0o644)


def licence(source: str) -> str:
    """Give the licence at the top of a source, between two lines of #####, as a field's text."""
    lines = source.split("#####")[1].strip("\n").splitlines()
    return "\n".join(f" {line.lstrip('# ') or '.'}" for line in lines)


def control(tree: Tree, name: str, about: dict[str, Any]) -> dict[str, str]:
    """Give the control files of a package by name."""
    size = sum(len(data) for data, _ in tree.files.values()) // 1024 + 1
    lines = [f"Package: {name}", f"Version: {about['version']}", "Architecture: all"]
    lines += [f"Maintainer: {about['maintainer']}", f"Installed-Size: {size}"]
    lines += [f"{key}: {text.format(**about)}" for key, text in about["deb"].items()]
    lines += ["Section: admin", "Priority: optional", f"Description: {about['summary']}"]
    lines += [f" {line}" for line in textwrap.wrap(about["description"], 76)]
    sums = [
        f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}  {path[1:]}\n"
        for path, (data, _) in sorted(tree.files.items())
        if path not in tree.configuration
    ]
    made = {"control": "\n".join(lines) + "\n", "md5sums": "".join(sums), **scripts(name)}
    if tree.configuration:
        made["conffiles"] = "".join(f"{path}\n" for path in tree.configuration)
    if name == "gpubind-runtime":
        made["triggers"] = TRIGGERS
    return made


def build(tree: Tree, name: str, about: dict[str, Any], output: str, epoch: int) -> str:
    """Build the package from its tree into the folder `output` and give the file."""
    placed(tree)
    document(tree, name, about, epoch)
    made = control(tree, name, about)
    with tempfile.TemporaryDirectory(prefix="gpubind-") as folder:
        for file, text in made.items():
            mode = 0o755 if file in SCRIPTS else 0o644
            tree.files[f"/DEBIAN/{file}"] = (text.encode(), mode)
        contents.write(tree, folder, epoch)
        target = f"{output}/{name}_{about['version']}_all.deb"
        words = ["--root-owner-group", "--threads-max=1", "--build", folder, target]
        env = {"PATH": os.defpath, "SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"}
        subprocess.run(["/usr/bin/dpkg-deb", *words], check=True, env=env, stdout=subprocess.PIPE)
    return target
