# SPDX-License-Identifier: Apache-2.0
"""Put gpubind where its packages would: `./dev install [--prefix DIR]`.

    DIR/bin                  the launchers, each naming the folder below
    DIR/lib/gpubind          start-path code, compiled; it needs nothing but the interpreter
    DIR/lib/gpubind/tools    the operator's program with copies of the packages it needs

Under a prefix, configuration and state are there too (DIR/etc/gpubind, DIR/run/gpubind), so that
an installation never touches another. Everything is built beside its place and then exchanged with
what was there, in one step where the kernel can.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from typing import TYPE_CHECKING

import activate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
USR = "/usr"
START = ("src/gpubind", "hooks/gpubind_hooks")
TOOLS = ("src/gpubind_ctl", "src/gpubind_plugin", "cdi/gpubind_cdi")
LAUNCHERS = ("hooks/bin", "packaging/bin")
PLACES = re.compile(r'"(/usr/(?:bin|lib)/gpubind|/(?:etc|run|var/lib)/gpubind)(?=["/-])')
PEER = re.compile(r'(?<=^PEER_CONFIG = )".+"$', re.MULTILINE)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")
AT_FDCWD = -100
RENAME_EXCHANGE = 2  # renameat2(2)


class InstallError(Exception):
    """What keeps the installation from being made, in one line."""


def moved(text: str, prefix: str) -> str:
    """Give a source text with our own places under `prefix` instead of `/usr`.

    The configuration of the field's toolkit is read by an installation in /usr alone.
    """
    if prefix == USR:
        return text
    text = PEER.sub('""', text)
    return PLACES.sub(lambda place: f'"{prefix}{place[1].removeprefix(USR)}', text)


def needed(names: list[str]) -> list[importlib.metadata.Distribution]:
    """Give the installed distributions behind requirements `names` and all that those require."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        requirement, _, marker = waiting.pop().partition(";")
        name = re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0].lower().replace("_", "-")
        if name in found or "extra" in marker:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if not marker:
                raise InstallError(f"{name} is not in .venv; run ./dev setup") from None
            continue
        waiting += found[name].requires or []
    return [found[name] for name in sorted(found)]


def copy_tools(folder: str) -> None:
    """Copy the operator's packages and what they need into `folder`."""
    for room in TOOLS:
        shutil.copytree(
            os.path.join(CHECKOUT, room), f"{folder}/{os.path.basename(room)}", ignore=LEFT_OUT
        )
    with open(os.path.join(CHECKOUT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    about = f"{folder}/{project['name']}-{project['version']}.dist-info"
    os.mkdir(about)
    with open(f"{about}/METADATA", "w", encoding="utf-8") as text:
        text.write(f"Metadata-Version: 2.1\nName: gpubind\nVersion: {project['version']}\n")
    wanted = [*project["dependencies"], *project["optional-dependencies"]["kubernetes"]]
    for distribution in needed(wanted):
        for path in distribution.files or ():
            if path.parts[0] == ".." or "__pycache__" in path.parts:
                continue
            target = os.path.join(folder, *path.parts)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(str(path.locate()), target)


def build(folder: str, prefix: str, *, tools: bool) -> None:
    """Lay out lib/gpubind in `folder`, compiled and with the modes it keeps."""
    for room in START:
        shutil.copytree(
            os.path.join(CHECKOUT, room), f"{folder}/{os.path.basename(room)}", ignore=LEFT_OUT
        )
    _rewrite(f"{folder}/gpubind/paths.py", prefix)
    if tools:
        os.mkdir(f"{folder}/tools")
        copy_tools(f"{folder}/tools")
    activate.finish(folder, f"{prefix}/lib/gpubind")


def _rewrite(path: str, prefix: str) -> None:
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if prefix != USR and moved(text, prefix) == text:
        raise InstallError(f"{path} names no place that could be put under {prefix}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(moved(text, prefix))


def launchers(prefix: str, *, tools: bool) -> Mapping[str, str]:
    """Give the texts of the launchers by name."""
    texts = {}
    for folder in LAUNCHERS if tools else LAUNCHERS[:1]:
        for name in sorted(os.listdir(os.path.join(CHECKOUT, folder))):
            if not name.startswith("."):
                with open(os.path.join(CHECKOUT, folder, name), encoding="utf-8") as file:
                    texts[name] = moved(file.read(), prefix)
    return texts


def exchange(new: str, old: str) -> None:
    """Put the folder `new` at `old`; what was there is at `new` afterwards."""
    if not os.path.lexists(old):
        os.rename(new, old)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(new), os.fsencode(old))
    if libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        return
    aside = f"{new}.old"  # a file system without exchange: two steps
    os.rename(old, aside)
    os.rename(new, old)
    os.rename(aside, new)


def write(path: str, text: str) -> None:
    """Write one launcher beside its place, then put it there."""
    beside = f"{path}.new"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o755)
    os.rename(beside, path)


def exposed(prefix: str) -> Iterator[str]:
    """Give a warning for each folder on the way to `prefix` that somebody else can change."""
    path = prefix
    while True:
        found = os.stat(path)
        loose = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        sticky = found.st_mode & stat.S_ISVTX and path != prefix
        if found.st_uid not in {0, os.geteuid()} or (loose and not sticky):
            yield f"{path} can be changed by others than root, and with it what containers start"
        if path == "/":
            return
        path = os.path.dirname(path)


def install(prefix: str, *, tools: bool = True) -> None:
    """Install under `prefix`, in place of what an earlier installation left there."""
    umask = os.umask(0o022)
    try:
        _install(prefix, tools=tools)
    finally:
        os.umask(umask)


def _install(prefix: str, *, tools: bool) -> None:
    for folder in ("bin", "lib"):
        os.makedirs(f"{prefix}/{folder}", exist_ok=True)
    new = tempfile.mkdtemp(prefix=".gpubind-", dir=f"{prefix}/lib")
    try:
        build(new, prefix, tools=tools)
        exchange(new, f"{prefix}/lib/gpubind")
    finally:
        shutil.rmtree(new, ignore_errors=True)
    for name, text in launchers(prefix, tools=tools).items():
        write(f"{prefix}/bin/{name}", text)


def main(words: list[str]) -> int:
    """Install as the command line says and say what was put where."""
    parser = argparse.ArgumentParser(prog="./dev install", description="install gpubind")
    parser.add_argument("--prefix", default=USR, help="where to put it (default: /usr)")
    parser.add_argument("--no-tools", action="store_true", help="only what containers start")
    options = parser.parse_args(words)
    prefix = os.path.abspath(options.prefix)
    if '"' in prefix or "\\" in prefix or not prefix.isprintable():
        parser.error("--prefix: a folder whose name is plain text is needed")
    try:
        install(prefix, tools=not options.no_tools)
    except PermissionError as error:
        print(f"{error.filename}: {error.strerror}; run as root or give --prefix", file=sys.stderr)
        return 1
    except (InstallError, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    for warning in exposed(prefix):
        print(f"warning: {warning}", file=sys.stderr)
    names = ", ".join(launchers(prefix, tools=not options.no_tools))
    print(f"installed in {prefix}/bin: {names}\nand their code in {prefix}/lib/gpubind")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
