# SPDX-License-Identifier: Apache-2.0
"""Build the packages: `./dev package [--output DIR]`.

A deb and an rpm of each package in packages.toml, a wheel and an sdist. All times in them are the
last commit's, so two builds of it give the same bytes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import contents
import debs
import install
import rpms
import wheels

from gpubind import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = os.path.join(install.CHECKOUT, "packaging/packages.toml")
REVISION = "1"
FORMS = ("deb", "rpm", "wheel")


def epoch() -> int:
    """Give the last commit's time in seconds, or what SOURCE_DATE_EPOCH says."""
    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    if said.isdecimal():
        return int(said)
    words = ["git", "-c", f"safe.directory={install.CHECKOUT}", "log", "-1", "--format=%ct"]
    done = subprocess.run(words, cwd=install.CHECKOUT, check=True, capture_output=True, text=True)
    return int(done.stdout)


def packages(version: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each package's name and what packages.toml says of it."""
    with open(TABLE, "rb") as file:
        table = tomllib.load(file)
    for name in contents.TREES:
        told = {**table[name], "version": f"{version}-{REVISION}"}
        yield name, {**told, "maintainer": table["maintainer"]}


def build(output: str, version: str, forms: tuple[str, ...] = FORMS) -> list[str]:
    """Build into the folder `output` and give the files. Raises CalledProcessError, OSError."""
    time = epoch()
    os.makedirs(output, exist_ok=True)
    makers = [maker for form, maker in (("deb", debs), ("rpm", rpms)) if form in forms]
    made = [
        maker.build(contents.TREES[name](version), name, about, output, time)
        for maker in makers
        for name, about in packages(version)
    ]
    return [*made, *(wheels.build(output, time) if "wheel" in forms else ())]


def main(words: list[str]) -> int:
    """Build as the command line says and name the files."""
    parser = argparse.ArgumentParser(prog="./dev package", description="build the packages")
    output = os.path.join(install.CHECKOUT, "dist")
    parser.add_argument("--output", default=output, help="where to put them (default: dist)")
    parser.add_argument("--version", default=VERSION, help="another version than the code's own")
    parser.add_argument("--only", choices=FORMS, action="append", help="these forms alone")
    options = parser.parse_args(words)
    before = os.umask(0o022)
    try:
        folder = os.path.abspath(options.output)
        for path in build(folder, options.version, tuple(options.only or FORMS)):
            print(path)
    except (install.InstallError, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        os.umask(before)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
