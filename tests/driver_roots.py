# SPDX-License-Identifier: Apache-2.0
"""Driver roots for tests: folders grown from a dict, with small real libraries and device nodes."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from gpubind_cdi.gpu import Fault, Gpu, Mig

from gpubind_ctl.simulate import elf
from gpubind_ctl.simulate.elfformat import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Tree = Mapping[str, "bytes | str | Char | None"]

VERSION = "550.54.15"
FIFO = "a FIFO"
SOCKET = "a socket"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
KERNEL = (
    f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {VERSION}  Tue Mar  5 22:23:56 UTC 2024\n"
    "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
)

needs_nodes = pytest.mark.skipif(os.geteuid() != 0, reason="making device nodes needs root")


@dataclass(frozen=True, slots=True)
class Char:
    """A character device."""

    major: int
    minor: int
    mode: int = 0o666


def grow(folder: os.PathLike[str] | str, tree: Tree) -> str:
    """Make a tree: bytes and text are files, `-> x` a link, None a folder; give its name."""
    root = os.fspath(folder)
    for name, content in tree.items():
        path = root + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if content is None:
            os.makedirs(path, exist_ok=True)
        elif isinstance(content, Char):
            os.mknod(path, stat.S_IFCHR | content.mode, os.makedev(content.major, content.minor))
            os.chmod(path, content.mode)
        elif content == FIFO:
            os.mkfifo(path)
        elif content == SOCKET:
            _socket(path)
        elif isinstance(content, str) and content.startswith("-> "):
            os.symlink(content[3:], path)
        else:
            with open(path, "wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode())
            os.chmod(path, 0o755 if "/bin/" in name else 0o644)
    return root


def _socket(path: str) -> None:
    """Make a socket by a short relative name: a socket's address holds 107 bytes only."""
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(os.path.dirname(path), os.O_PATH)
        try:
            server.bind(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        finally:
            os.close(folder)


def lib(soname: str, machine: str = "x86-64") -> bytes:
    """Give a real shared library."""
    return elf.library(Machine(machine), soname, "a test's")


def driver(version: str = VERSION, at: str = LIBRARIES) -> dict[str, bytes | str | Char | None]:
    """Give the least of a driver: what CUDA and NVML need."""
    return {
        f"{at}/libcuda.so.{version}": lib("libcuda.so.1"),
        f"{at}/libcuda.so.1": f"-> libcuda.so.{version}",
        f"{at}/libcuda.so": "-> libcuda.so.1",
        f"{at}/libnvidia-ml.so.{version}": lib("libnvidia-ml.so.1"),
        f"{at}/libnvidia-ml.so.1": f"-> libnvidia-ml.so.{version}",
        f"{at}/libnvidia-ptxjitcompiler.so.{version}": lib("libnvidia-ptxjitcompiler.so.1"),
        "/proc/driver/nvidia/version": KERNEL.replace(VERSION, version),
    }


def control() -> dict[str, bytes | str | Char | None]:
    """Give the driver's control nodes."""
    return {
        "/dev/nvidiactl": Char(195, 255),
        "/dev/nvidia-uvm": Char(510, 0),
        "/dev/nvidia-uvm-tools": Char(510, 1),
        "/dev/nvidia-modeset": Char(195, 254),
    }


def gpu(index: int, *migs: Mig, mig_enabled: bool = False) -> Gpu:
    """Give a GPU whose minor number is its index."""
    return Gpu(
        index=index,
        uuid=f"GPU-{index}0000000-0000-4000-8000-000000000000",
        minor=index,
        pci=f"0000:0{index + 1}:00.0",
        name="NVIDIA Test GPU",
        brand="Nvidia",
        architecture="9.0",
        mig=migs,
        mig_enabled=mig_enabled or bool(migs),
    )


def mig(index: int, gi: int, profile: str = "1g.10gb") -> Mig:
    """Give a MIG device with its own GPU instance."""
    uuid = f"MIG-{index}0000000-0000-4000-8000-000000000000"
    return Mig(index=index, uuid=uuid, gi=gi, ci=0, profile=profile)


@dataclass(frozen=True)
class Known:
    """A source of GPUs that knows its answers."""

    known: Sequence[Gpu] = ()
    lost: Sequence[Fault] = ()
    version: str = VERSION

    def driver_version(self) -> str:
        return self.version

    def cuda_version(self) -> str:
        return "12.4"

    def gpus(self) -> Sequence[Gpu]:
        return self.known

    def faults(self) -> Sequence[Fault]:
        return self.lost
