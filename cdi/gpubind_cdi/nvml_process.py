# SPDX-License-Identifier: Apache-2.0
"""The process that asks NVML: started on a driver root's library, heard, and its answer judged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gpubind.errors import DocumentError, ToolkitError
from gpubind.root import Root
from gpubind_cdi import child, document, driver, inventory, nvml
from gpubind_cdi.lookup import library

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "from gpubind_cdi import nvml; nvml.answer()"

# nvmlReturn_t of nvmlInit_v2: ID, what it means, what to do.
REASONS = {
    4: ("DRV-NO-PERMISSION", "no permission to open the driver's device nodes", "run as root"),
    9: ("DRV-NOT-LOADED", "the kernel module nvidia is not loaded", "run modprobe nvidia"),
    18: (
        "DRV-MISMATCH",
        "the library and the loaded kernel module have different versions",
        "reboot, or unload and load the nvidia kernel modules",
    ),
}


def source(root: Root, search_paths: Sequence[str], timeout: float) -> inventory.Source:
    """Start the process and give the source that waits for it; errors as for `nvml.Nvml`."""
    fd, found = _library(root, search_paths)
    try:
        process = child.start(PROGRAM, fd, nvml.LIBRARY_FD)
    finally:
        os.close(fd)
    name = f"{root.outer(found.path)}, {_module(root)}"
    return inventory.Source(lambda: told(_heard(process, timeout), name))


def _library(root: Root, search_paths: Sequence[str]) -> tuple[int, library.Library]:
    """Give a descriptor of the root's NVML library for this machine, and what it is."""
    machine = driver.NATIVE.get(os.uname().machine)
    folders = library.folders(root, search_paths)
    refused = ""
    for found in library.libraries(root, folders, lambda name: name == nvml.SONAME):
        if isinstance(found, library.Rejected):
            refused = refused or f"{root.outer(found.path)}: {found.why}"
        elif found.machine != machine or found.soname != nvml.SONAME:
            what = found.machine or "another machine"
            refused = refused or f"{root.outer(found.path)} is {found.soname} for {what}"
        else:
            return root.open(found.path), found
    if refused:
        raise ToolkitError(
            f"NVML can't be used: {refused}",
            identifier="DRV-ARCH",
            hint=f"install the driver's {nvml.SONAME} for {os.uname().machine}",
        )
    places = ", ".join(one.path for one in folders) or "any library folder"
    raise ToolkitError(
        f"no NVIDIA driver in {root.path}: no {nvml.SONAME} in {places}",
        identifier="DRV-NOT-FOUND",
        hint="install the driver there, or give its place with --driver-root",
    )


def _module(root: Root) -> str:
    """Give the loaded kernel module in words, as the driver root or else the host knows it."""
    if driver.holds_system(root):
        version = driver.kernel_version(root)
    else:
        with Root("/") as host:
            version = driver.kernel_version(host)
    return f"kernel module {version}" if version else "no kernel module"


def _heard(process: child.Child, timeout: float) -> bytes:
    try:
        return process.heard(timeout)
    except TimeoutError:
        raise ToolkitError(
            f"NVML did not answer in {timeout:g} s",
            identifier="DRV-TIMEOUT",
            hint="see dmesg for a GPU that hangs",
        ) from None
    except ChildProcessError as error:
        raise ToolkitError(
            f"NVML's process {error}",
            identifier="DRV-CRASH",
            hint="see dmesg; nvidia-smi may show the same",
        ) from None


def told(data: bytes, name: str) -> inventory.Inventory:
    """Read the child's answer; `name` says which library and module, for the message."""
    try:
        answered = document.load(data, "NVML's answer.json")
        if isinstance(answered, dict) and "error" in answered:
            code, said = answered["error"]
            raise _failed(name, code, said)
        return inventory.salvaged(answered)
    except DocumentError as error:
        raise ToolkitError(
            f"{name} gave what makes no sense: {error.message} at {error.path or 'its start'}",
            identifier="DRV-NVML",
        ) from error


def _failed(name: str, code: int, said: str) -> ToolkitError:
    if code in REASONS:
        identifier, meaning, hint = REASONS[code]
        return ToolkitError(f"NVML ({name}): {meaning}", identifier=identifier, hint=hint)
    return ToolkitError(
        f"NVML ({name}): {said} ({code})", identifier="DRV-NVML", hint="does nvidia-smi work?"
    )
