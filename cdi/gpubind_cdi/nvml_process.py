# SPDX-License-Identifier: Apache-2.0
"""The process that asks NVML: started on a driver root's library, heard, and its answer judged."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from gpubind.errors import DocumentError, ToolkitError, UsageError
from gpubind.root import Root
from gpubind_cdi import asking, child, driver, fields, inventory, nvml
from gpubind_cdi.lookup import library

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAM = "from gpubind_cdi import nvml; nvml.answer({only})"
TIMEOUT = 30.0  # seconds; a node with 16 GPUs and no persistence daemon takes some ten
VARIABLE = "GPUBIND_NVML_TIMEOUT"

# nvmlReturn_t of nvmlInit_v2: ID, what it means, what to do.
MISMATCH = 18
REASONS = {
    4: ("DRV-NO-PERMISSION", "no permission to open the driver's device nodes", "run as root"),
    9: ("DRV-NOT-LOADED", "the kernel module nvidia is not loaded", "run modprobe nvidia"),
    13: (
        "DRV-NVML",
        "the library lacks a function (13)",
        "is it the driver's own, and not too old?",
    ),
}
ELSE = "does nvidia-smi work?"


class Driver(NamedTuple):
    """Which driver is asked: the library's place, and the version of the loaded kernel module."""

    library: str
    module: str

    @property
    def version(self) -> str:
        """The library's version, where its name has one."""
        _, _, end = self.library.rpartition("/")[2].partition(".so.")
        return end if driver.VERSION.fullmatch(end) else ""

    def __str__(self) -> str:
        module = f"kernel module {self.module}" if self.module else "no kernel module"
        return f"{self.library}, {module}"


def source(root: Root, search_paths: Sequence[str] = ()) -> inventory.Source:
    """Give the GPUs that the NVML library in a driver root reports.

    The process starts now, so that it works while this one goes on; the first question waits for
    it, `limit` seconds at most. Both raise ToolkitError: DRV-NOT-FOUND where the root has no such
    library, DRV-ARCH where it is for another machine, DRV-NOT-LOADED, DRV-MISMATCH,
    DRV-NO-PERMISSION and DRV-NVML as NVML says, DRV-TIMEOUT and DRV-CRASH where it said nothing.
    """
    limit_s = limit()
    fd, found = library_in(root, search_paths)

    def start(only: int | None) -> child.Child:
        return child.start(PROGRAM.format(only=only), fd, nvml.LIBRARY_FD, limit_s)

    try:
        first = start(None)
    except BaseException:
        os.close(fd)
        raise

    def look() -> inventory.Inventory:
        try:
            answer = asking.ask(first, start, limit_s)
        finally:
            os.close(fd)
        with _system(root) as system:
            return replace(judged(answer, found), present=driver.addresses(system))

    return inventory.Source(look)


def limit() -> float:
    """Give how long NVML may take, in seconds. Raises UsageError for a variable that is none."""
    said = os.environ.get(VARIABLE, "")
    try:
        seconds = float(said or TIMEOUT)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 600.0:
        raise UsageError(
            f"{VARIABLE} is {fields.quoted(said)}",
            identifier="USE-TIMEOUT",
            hint="give seconds from 0.1 to 600",
        )
    return seconds


def library_in(root: Root, search_paths: Sequence[str] = ()) -> tuple[int, Driver]:
    """Give a descriptor of the root's NVML library for this machine, and what it is.

    Raises ToolkitError DRV-NOT-FOUND where there is none, DRV-ARCH where it is for another machine.
    """
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
            return root.open(found.path), Driver(root.outer(found.path), _module(root))
    if refused:
        raise ToolkitError(
            f"NVML can't be used: {refused}",
            identifier="DRV-ARCH",
            hint=f"install the driver's {nvml.SONAME} for {os.uname().machine}",
        )
    raise _absent(root, folders)


def _absent(root: Root, folders: Sequence[library.Folder]) -> ToolkitError:
    places = ", ".join(one.path for one in folders) or "any library folder"
    return ToolkitError(
        f"no NVIDIA driver in {root.path}: no {nvml.SONAME} in {places}",
        identifier="DRV-NOT-FOUND",
        hint="install the driver there, or give its place with --driver-root",
    )


def driver_in(root: Root) -> Driver:
    """Give the driver of a simulated node, whatever machine that is on.

    Raises ToolkitError DRV-NOT-FOUND where it has no NVML.
    """
    folders = library.folders(root)
    for found in library.libraries(root, folders, lambda name: name == nvml.SONAME):
        if isinstance(found, library.Library):
            return Driver(root.outer(found.path), _module(root))
    raise _absent(root, folders)


def _module(root: Root) -> str:
    """Give the loaded kernel module's version, as the driver root or else the host knows it."""
    with _system(root) as system:
        return driver.kernel_version(system)


@contextlib.contextmanager
def _system(root: Root) -> Iterator[Root]:
    """Give the root of the kernel's /proc: the driver root where that has it, else the host."""
    if driver.holds_system(root):
        yield root
    else:
        with Root("/") as host:
            yield host


def judged(answer: asking.Answer, found: Driver) -> inventory.Inventory:
    """Give the inventory an answer holds. Raises ToolkitError as `source` where it holds none."""
    if answer.error:
        raise failed(*answer.error, found)
    if answer.driver is None:
        late = answer.silence.startswith("gave no")
        hint = "a GPU may hang: see dmesg" if late else "see dmesg; nvidia-smi may show the same"
        raise ToolkitError(
            f"NVML ({found}) {answer.silence}",
            identifier="DRV-TIMEOUT" if late else "DRV-CRASH",
            hint=hint,
        )
    try:
        return inventory.salvaged(answer.document())
    except DocumentError as error:
        raise ToolkitError(
            f"{found} gave what makes no sense: {error.message} at {error.path or 'its start'}",
            identifier="DRV-NVML",
        ) from error


def failed(code: int, said: str, found: Driver) -> ToolkitError:
    """Give what an nvmlReturn_t of the whole library means, in words and with the next step."""
    if code == MISMATCH:
        return ToolkitError(
            f"NVML ({found.library}) is of driver {found.version or 'unknown'}, the loaded kernel "
            f"module is {found.module or 'unknown'}",
            identifier="DRV-MISMATCH",
            hint="reboot, or unload and load the nvidia kernel modules",
        )
    identifier, meaning, hint = REASONS.get(code, ("DRV-NVML", f"{said} ({code})", ELSE))
    return ToolkitError(f"NVML ({found}): {meaning}", identifier=identifier, hint=hint)
