#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""Put into use what the packages brought: a folder of compiled code, behind one link.

    SHARE/PART/{version,lib,bin}    what dpkg and rpm unpack; nothing is started from there
    LIB/VERSION-HASH/               made of it by this host's interpreter; its launchers name it
    LIB/current                     the link that those in /usr/bin go through

A container start opens one launcher, through one link, and that names one folder that nothing is
changed in: it never sees two versions. The folder before stays until the next one comes, for starts
that are under way. Packages run this when they are set up, and after the interpreter has changed.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import MAGIC_NUMBER
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = "/usr/bin/python3"
SHARE = "/usr/share/gpubind"
LIB = "/usr/lib/gpubind"
LINK = "current"
FIRST = "runtime"  # the part the others go with
NEW = ".new-"
FOLDER = 0o755  # the mode of folders, and of programs
PACK = (
    "import sys; sys.path.insert(0, sys.argv[1]); from gpubind import packing; "
    "packing.main(sys.argv)"
)


def finish(folder: str, shown: str) -> None:
    """Compile and pack the code in `folder`, which will be at `shown`, and give all its modes."""
    words = ["-q", "--invalidation-mode", "unchecked-hash", "-s", folder, "-p", shown, folder]
    subprocess.run([PYTHON, "-I", "-m", "compileall", *words], check=True)
    words = ["-X", "no_debug_ranges", "-c", PACK, folder, shown]
    subprocess.run([PYTHON, "-IS", *words], check=True)
    for place, _, names in os.walk(folder):
        os.chmod(place, FOLDER)
        for name in names:
            os.chmod(f"{place}/{name}", FOLDER if place == f"{folder}/bin" else 0o644)


def parts(share: str) -> Iterator[str]:
    """Give the folders of the parts that are of the first one's version, that one first."""
    version = _text(f"{share}/{FIRST}/version")
    yield f"{share}/{FIRST}"
    for name in sorted(os.listdir(share)):
        if name != FIRST and _text(f"{share}/{name}/version") == version:
            yield f"{share}/{name}"


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def name_of(folders: list[str]) -> str:
    """Give the name of what these parts and this interpreter make: the version, and a hash."""
    digest = hashlib.sha256(MAGIC_NUMBER + repr(libraries()).encode())
    for path in (path for folder in folders for path in _files(folder)):
        with open(path, "rb") as file:
            digest.update(path.encode() + b"\0" + hashlib.sha256(file.read()).digest())
    return f"{_text(f'{folders[0]}/version')}-{digest.hexdigest()[:12]}"


def _files(folder: str) -> Iterator[str]:
    for place, inner, names in os.walk(folder):
        inner.sort()
        yield from (f"{place}/{name}" for name in sorted(names))


def libraries() -> tuple[str, ...]:
    """Give the folders of the distribution's Python packages: Debian's, or Fedora's."""
    number = f"{sys.version_info.major}.{sys.version_info.minor}"
    known = [f"/usr/{lib}/python{number}/site-packages" for lib in ("lib64", "lib")]
    known.insert(0, "/usr/lib/python3/dist-packages")
    return tuple(folder for folder in known if os.path.isdir(folder))


def lay_out(folders: list[str], target: str, shown: str) -> None:
    """Copy the parts into `target`; launchers name `shown`, and where the host's packages are."""
    for folder in folders:
        shutil.copytree(f"{folder}/lib", target, dirs_exist_ok=True)
        os.makedirs(f"{target}/bin", exist_ok=True)
        for name in os.listdir(f"{folder}/bin") if os.path.isdir(f"{folder}/bin") else ():
            with open(f"{folder}/bin/{name}", encoding="utf-8") as file:
                text = file.read().replace(f'LIB = "{LIB}"', f'LIB = "{shown}"')
            with open(f"{target}/bin/{name}", "w", encoding="utf-8") as file:
                file.write(text.replace("SHARED = ()", f"SHARED = {libraries()!r}"))


def activate(share: str = SHARE, lib: str = LIB) -> str:
    """Make the folder of what is in `share`, where it is not there yet, and use it; give its name.

    Raises OSError and CalledProcessError, and what was in use stays in use.
    """
    os.makedirs(lib, exist_ok=True)
    folders = list(parts(share))
    name = name_of(folders)
    if not os.path.isdir(f"{lib}/{name}"):
        new = tempfile.mkdtemp(prefix=NEW, dir=lib)
        try:
            lay_out(folders, new, f"{lib}/{name}")
            finish(new, f"{lib}/{name}")
            _to_disk(new)
            os.rename(new, f"{lib}/{name}")
        finally:
            shutil.rmtree(new, ignore_errors=True)
    before = flip(lib, name)
    for other in os.listdir(lib):
        if other not in (LINK, name, before):
            _remove(f"{lib}/{other}")
    return name


def _remove(path: str) -> None:
    """Remove a version's folder, or what an installation without packages left here."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def flip(lib: str, name: str) -> str:
    """Have the link name another folder, in one step; give the one that stays beside it."""
    try:
        before = os.readlink(f"{lib}/{LINK}")
    except FileNotFoundError:
        before = ""
    if before == name:
        kept = [other for other in os.listdir(lib) if other not in (LINK, name)]
        return next((other for other in kept if not other.startswith(NEW)), "")
    beside = f"{lib}/{NEW}link"
    if os.path.lexists(beside):
        os.unlink(beside)
    os.symlink(name, beside)
    os.rename(beside, f"{lib}/{LINK}")
    _to_disk(lib)
    return before


def _to_disk(folder: str) -> None:
    """Have the file system write what it holds back, see syncfs(2): one call for all files."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        ctypes.CDLL(None).syncfs(fd)
    finally:
        os.close(fd)


def main() -> int:
    """Put into use what is installed and give the exit status."""
    os.umask(0o022)
    try:
        activate()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"gpubind: {LIB} could not be made anew: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
