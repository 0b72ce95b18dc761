# SPDX-License-Identifier: Apache-2.0
"""The test containers' root: a minimal Debian with a shell, coreutils and glibc's ldconfig."""

from __future__ import annotations

import os
import shutil
import subprocess

from system import debian

PACKAGES = ("libc-bin", "dash", "coreutils", "base-files", "base-passwd", "dpkg", "grep")
NOT_NEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/lib/dpkg",
    "dev",
)
PROBE = os.path.join(os.path.dirname(__file__), "probe.c")


def minimal() -> str:
    """Give the cached folder of the root, never to be written to."""
    with open(__file__, "rb") as recipe, open(PROBE, "rb") as probe:
        key = repr((debian.archive_lines(debian.codename(), ["main"]), recipe.read(), probe.read()))
    return debian.cached("minimal", key, _build)


def _build(root: str) -> None:
    debian.strap(root, PACKAGES)
    for name in NOT_NEEDED:
        shutil.rmtree(os.path.join(root, name), ignore_errors=True)
    os.mkdir(os.path.join(root, "dev"))  # no device nodes in the checkout: who copies it reads them
    for name in ("passwd", "group"):
        shutil.copy(f"{root}/usr/share/base-passwd/{name}.master", f"{root}/etc/{name}")
    compile_c(PROBE, f"{root}/usr/bin/probe", "-static")
    subprocess.run(["/usr/sbin/chroot", root, "/sbin/ldconfig"], check=True)


def copy(source: str, target: str) -> str:
    """Copy a root with everything in it; gives the copy's folder."""
    subprocess.run(["/usr/bin/cp", "--archive", "--reflink=auto", source, target], check=True)
    return target


def compile_c(source: str, target: str, *words: str) -> None:
    """Compile one C file, warnings being errors."""
    flags = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror")
    subprocess.run(["/usr/bin/gcc", *flags, "-o", target, source, *words], check=True)
