# SPDX-License-Identifier: Apache-2.0
"""Small roots as images of several kinds have them, and the library caches they come with.

A root holds what gpubind looks at, the static programs that are given, and for kinds with glibc the
machine's own loader with libc and /bin/true, so that containers of it can be started.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import trees

from gpubind.ldcache import FLAGS, Entry, merge
from gpubind_ctl.simulate import elf
from gpubind_ctl.simulate.elfformat import Machine

LIB = "/usr/lib/x86_64-linux-gnu"
OLDER = "535.104.05"
STORE = "/nix/store/1zy01hjzwvvia6h9dq5xar88v77fgh9x"
HOST_LOADER = "/lib64/ld-linux-x86-64.so.2"
X86 = FLAGS["x86-64"]

RELEASE = 'ID={kind}\nPRETTY_NAME="laid out by a test"\n'
TREES: dict[str, trees.Tree] = {
    "alpine": {
        "/etc/alpine-release": "3.20.3\n",
        "/lib/ld-musl-x86_64.so.1": "musl's loader and C library",
        "/lib/libc.musl-x86_64.so.1": "-> ld-musl-x86_64.so.1",
        "/usr/lib/libz.so.1": "a library",
        "/bin/sh": "-> /bin/busybox",
    },
    "alpine with a path file": {
        "/etc/alpine-release": "3.20.3\n",
        "/etc/ld-musl-x86_64.path": "/lib:/usr/lib\n/opt/lib\n",
        "/lib/ld-musl-x86_64.so.1": "musl's loader and C library",
    },
    "fedora": {
        "/etc/fedora-release": "Fedora release 40\n",
        "/etc/ld.so.conf": "include ld.so.conf.d/*.conf\n",
        "/etc/ld.so.conf.d/mariadb-x86_64.conf": "/usr/lib64/mariadb\n",
        "/usr/lib64/mariadb": trees.FOLDER,
        "/usr/bin/x": "",
        "/usr/lib": trees.FOLDER,
        "/bin": "-> usr/bin",
        "/lib": "-> usr/lib",
        "/lib64": "-> usr/lib64",
    },
    "nixos": {
        f"{STORE}-etc/etc/nix.conf": "",
        f"{STORE}-glibc-2.39/lib/libc.so.6": "",
        f"{STORE}-bash-5.2/bin/bash": "",
        "/etc/static": f"-> {STORE}-etc/etc",
        "/bin/sh": f"-> {STORE}-bash-5.2/bin/bash",
        "/usr/bin/env": f"-> {STORE}-coreutils/bin/env",
    },
    "nixos with a linked cache": {
        f"{STORE}-etc/etc/ld.so.cache": merge(
            b"", [Entry(b"libc.so.6", f"{STORE}-glibc-2.39/lib/libc.so.6".encode(), X86)]
        ),
        "/etc/static": f"-> {STORE}-etc/etc",
        "/etc/ld.so.cache": "-> /etc/static/ld.so.cache",
    },
    "distroless": {
        "/etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\n",
        "/etc/debian_version": "12.5\n",
        "/var/lib/dpkg/status.d/base": "",
        "/lib": "-> usr/lib",
        "/lib64": "-> usr/lib64",
        "/usr/lib64": trees.FOLDER,
        f"{LIB}/libssl.so.3": "",
    },
    "scratch": {},
}
GLIBC = {"fedora": "/usr/lib64", "distroless": LIB}
"""Kinds in which a program of glibc can run, with the folder of their libc."""

NEVER_CACHED = tuple(kind for kind in TREES if kind not in GLIBC)
CACHES = ("absent", "old", "compat", "new", "damaged", "older driver")
MINE = "/opt/image/lib"
LEVEL = "glibc-hwcaps/x86-64-v2"


def lay_out(kind: str, root: str, programs: tuple[str, ...] = ()) -> str:
    """Lay out a root of a kind, with these programs of the host in its top folder; gives `root`."""
    trees.build(root, TREES[kind])
    for program in programs:
        shutil.copy(program, root)
    if kind in GLIBC:
        for name, place in ((libc(), GLIBC[kind]), (HOST_LOADER, "/usr/lib64")):
            os.makedirs(root + place, exist_ok=True)
            shutil.copy(name, root + place)
        shutil.copy("/bin/true", root)
    return root


def libc() -> str:
    """Give the path of the host's own C library."""
    words = [HOST_LOADER, "--list", "/bin/true"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    match = re.search(r"libc\.so\.6 => (\S+)", said)
    assert match, said
    return match[1]


def with_cache(root: str, kind: str) -> bytes:
    """Give a root the library cache of a kind; gives its bytes, b"" where there is none."""
    cache = f"{root}/etc/ld.so.cache"
    if os.path.lexists(cache):
        os.unlink(cache)
    if kind == "absent":
        return b""
    trees.build(root, {**_libraries(), **(_older() if kind == "older driver" else {})})
    words = ["/sbin/ldconfig", "-r", root, "-c", kind if kind in ("old", "compat") else "new"]
    if not os.path.exists(f"{root}/etc/ld.so.conf"):
        words += ["-f", "/opt/image/conf"]
    else:
        trees.build(root, {"/etc/ld.so.conf.d/image.conf": f"{MINE}\n/usr/lib64\n"})
    subprocess.run(words, check=True, capture_output=True)
    with open(cache, "r+b") as file:
        data = file.read()
        if kind == "damaged":
            data = data[:-37]
            file.seek(0)
            file.truncate()
            file.write(data)
    return data


def library(soname: str) -> bytes:
    """Give a small library that the loader opens."""
    return elf.library(Machine("x86-64"), soname, "of a test")


def _libraries() -> dict[str, str | bytes | trees.Special]:
    mine = library("libmine.so.1")
    return {
        "/opt/image/conf": f"{MINE}\n{LIB}\n",
        f"{MINE}/libmine.so.1": mine,
        f"{MINE}/{LEVEL}/libmine.so.1": mine,
        f"{MINE}/libaaa.so.10": library("libaaa.so.10"),
    }


def _older() -> dict[str, str | bytes | trees.Special]:
    """Give what a container with an older driver leaves in an image that is committed from it."""
    names = {"libcuda.so": "libcuda.so.1", "libnvidia-ml.so": "libnvidia-ml.so.1"}
    tree: dict[str, str | bytes | trees.Special] = {"/etc/ld.so.conf.d/00-gpubind.conf": f"{LIB}\n"}
    for base, soname in names.items():
        tree[f"{LIB}/{base}.{OLDER}"] = library(soname)
        tree[f"{LIB}/{soname}"] = f"-> {base}.{OLDER}"
    glcore = f"libnvidia-glcore.so.{OLDER}"
    return tree | {f"{LIB}/{glcore}": library(glcore)}
