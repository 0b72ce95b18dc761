# SPDX-License-Identifier: Apache-2.0
"""Images of several kinds, and how a container of each looks for GPUs from the inside.

`debian` has a shell and glibc's ldconfig, `alpine` a busybox and musl's loader, `distroless`
glibc's loader and no shell, `scratch` nothing but a static program.
"""

from __future__ import annotations

import os
import re
import shutil

import image_roots
from system import debian, images

NAMES = ("debian", "alpine", "distroless", "scratch")
LIBCUDA = f"{image_roots.LIB}/libcuda.so.1"
GPUS = 8
NODES = (*(f"/dev/nvidia{number}" for number in range(GPUS)), "/dev/nvidiactl", "/dev/nvidia-uvm")
MUSL = "/lib/ld-musl-x86_64.so.1"
APPLICATION = "/app.so"  # what musl's loader is given to load beside the driver
FOUND = re.compile(r"libcuda\.so\.1 .*=> (\S+)")
NEW_NODE = f"probe make /other 195 {GPUS + 1}"

LOOKS: dict[str, tuple[tuple[str, ...], ...]] = {
    "debian": (
        ("sh", "-c", f"probe open {' '.join(NODES)}; {NEW_NODE}; ldconfig -p | grep libcuda.so.1"),
        ("sh", "-c", "LD_TRACE_LOADED_OBJECTS=1 LD_PRELOAD=libcuda.so.1 cat"),
    ),
    "alpine": (
        ("/bin/busybox", "sh", "-c", f"/probe open {' '.join(NODES)}; /{NEW_NODE}"),
        (MUSL, "--list", "--preload", "libcuda.so.1", APPLICATION),
    ),
    "distroless": (
        ("/probe", "open", *NODES),
        (image_roots.HOST_LOADER, "--list", "--preload", "libcuda.so.1", "/true"),
    ),
    "scratch": (("/probe", "open", *NODES, LIBCUDA),),
}
"""Each kind's commands, each the one of a container."""


def wanted(kind: str, gpus: str) -> list[str]:
    """Give what a container with these GPUs sees: all, 0, or none where it is empty."""
    given = {"all": NODES, "0": (NODES[0], *NODES[GPUS:]), "": ()}[gpus]
    lines = [f"{node}: {'allowed' if node in given else 'ENOENT'}" for node in NODES]
    if kind == "scratch":
        return [*lines, f"{LIBCUDA}: {'EROFS' if gpus else 'ENOENT'}"]
    if kind != "distroless":
        lines.append("/other: EPERM")
    loaders = 2 if kind == "debian" else 1  # the cache's listing, and what a program loads
    return [*lines, *([f"libcuda.so.1 => {LIBCUDA}"] * loaders if gpus else [])]


def seen(lines: list[str]) -> list[str]:
    """Give what containers said: of what their loaders say the driver alone."""
    found = []
    for line in lines:
        if line.startswith("/"):
            found.append(line)
        elif match := FOUND.search(line):
            found.append(f"libcuda.so.1 => {match[1]}")
    return found


def archives(minimal_root: str) -> dict[str, str]:
    """Give the archive of each kind's image, by kind."""
    return {kind: images.archive(_root(kind, minimal_root), name(kind)) for kind in NAMES}


def name(kind: str) -> str:
    """Give the name of a kind's image, without its tag."""
    return images.NAME if kind == "debian" else f"gpubind.test/{kind}"


def _root(kind: str, minimal_root: str) -> str:
    if kind == "debian":
        return minimal_root

    def build(root: str) -> None:
        image_roots.lay_out(kind, root, (f"{minimal_root}/usr/bin/probe",))
        os.makedirs(f"{root}/dev", exist_ok=True)
        if kind == "alpine":
            shutil.copy("/bin/busybox", f"{root}/bin")
            os.unlink(f"{root}{MUSL}")
            shutil.copy(MUSL, f"{root}{MUSL}")
            with open(f"{root}{APPLICATION}", "wb") as file:
                file.write(image_roots.library("app.so"))

    with open(__file__, "rb") as recipe, open(image_roots.__file__, "rb") as trees:
        key = repr((minimal_root, recipe.read(), trees.read()))
    return debian.cached(f"kind-{kind}", key, build)
