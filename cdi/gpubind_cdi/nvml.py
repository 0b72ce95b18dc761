# SPDX-License-Identifier: Apache-2.0
"""GPUs as the driver's own NVML library describes them. The only module that knows pynvml.

The library runs in a process of its own, which prints an inventory: a call that hangs or crashes
in there costs an error message, not this process. The child gets the driver root's library as a
descriptor and loads it before pynvml looks for one, which then finds it by its SONAME.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from gpubind.errors import DocumentError, ToolkitError
from gpubind.root import Root
from gpubind_cdi import child, document, driver, gpu, inventory
from gpubind_cdi.lookup import library

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SONAME = "libnvidia-ml.so.1"
TIMEOUT = 30.0  # seconds; a node with 16 GPUs and no persistence daemon takes some ten
LIBRARY_FD = 3
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

# nvmlBrandType_t, by the names the field's requirements use.
BRANDS = (
    *("Unknown", "Quadro", "Tesla", "NVS", "GRID", "GeForce", "Titan", "NvidiaVApps"),
    *("NvidiaVPC", "NvidiaVCS", "NvidiaVWS", "NvidiaCloudGaming", "QuadroRTX", "NvidiaRTX"),
    *("Nvidia", "GeForceRTX", "TitanRTX"),
)


class Nvml(inventory.Source):
    """The GPUs that the NVML library in a driver root reports.

    Making one starts the child, so that it works while this process goes on; the first question
    waits for it, `timeout` seconds at most. Both raise ToolkitError: DRV-NOT-FOUND where the root
    has no such library, DRV-ARCH where it is for another machine, DRV-NOT-LOADED, DRV-MISMATCH,
    DRV-NO-PERMISSION and DRV-NVML as NVML says, DRV-TIMEOUT and DRV-CRASH where it said nothing.
    """

    __slots__ = ()

    def __init__(
        self, root: Root, search_paths: Sequence[str] = (), timeout: float = TIMEOUT
    ) -> None:
        fd, found = _library(root, search_paths)
        try:
            process = child.start(PROGRAM, fd, LIBRARY_FD)
        finally:
            os.close(fd)
        name = f"{root.outer(found.path)}, {_module(root)}"
        super().__init__(lambda: told(_heard(process, timeout), name))


def _library(root: Root, search_paths: Sequence[str]) -> tuple[int, library.Library]:
    """Give a descriptor of the root's NVML library for this machine, and what it is."""
    machine = driver.NATIVE.get(os.uname().machine)
    folders = library.folders(root, search_paths)
    refused = ""
    for found in library.libraries(root, folders, lambda name: name == SONAME):
        if isinstance(found, library.Rejected):
            refused = refused or f"{root.outer(found.path)}: {found.why}"
        elif found.machine != machine or found.soname != SONAME:
            what = found.machine or "another machine"
            refused = refused or f"{root.outer(found.path)} is {found.soname} for {what}"
        else:
            return root.open(found.path), found
    if refused:
        raise ToolkitError(
            f"NVML can't be used: {refused}",
            identifier="DRV-ARCH",
            hint=f"install the driver's {SONAME} for {os.uname().machine}",
        )
    raise ToolkitError(
        f"no NVIDIA driver in {root.path}: no {SONAME} in {', '.join(one.path for one in folders)}",
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
        return inventory.parse(answered)
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


def answer() -> None:
    """Print the inventory that the library on descriptor 3 gives: the whole of the child."""
    import ctypes

    try:
        ctypes.CDLL(f"/proc/self/fd/{LIBRARY_FD}", mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        told: dict[str, Any] = {"error": [0, f"can't be loaded: {error}"]}
    else:
        import pynvml

        try:
            told = read(pynvml)
        except pynvml.NVMLError as error:
            told = {"error": [getattr(error, "value", 0), str(error)]}
    data = memoryview(json.dumps(told).encode())
    while data:
        data = data[os.write(1, data) :]


def read(nvml: Any) -> dict[str, Any]:
    """Give the inventory document of NVML's answers; `nvml` is the module pynvml.

    A GPU that can't be read becomes a fault. Raises NVMLError where nothing can be.
    """
    nvml.nvmlInit()
    count = nvml.nvmlDeviceGetCount()
    known: list[dict[str, Any]] = []
    faults: list[dict[str, Any]] = []
    for index in range(count):
        try:
            known.append(_distinct(_gpu(nvml, index), known))
        except (nvml.NVMLError, ValueError, DocumentError) as error:
            faults.append({"index": index, "message": _reason(error)})
    version = _word(nvml.nvmlSystemGetDriverVersion())
    cuda = _optional(nvml, nvml.nvmlSystemGetCudaDriverVersion, 0)
    return {
        "format": inventory.FORMAT,
        "driver": {
            "version": version,
            "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        },
        "gpus": known,
        "faults": faults,
    }


def _gpu(nvml: Any, index: int) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    brand = _optional(nvml, lambda: nvml.nvmlDeviceGetBrand(handle), 0)
    major, minor = _optional(nvml, lambda: nvml.nvmlDeviceGetCudaComputeCapability(handle), (0, 0))
    return {
        "index": index,
        "uuid": inventory.uuid("GPU-", _word(nvml.nvmlDeviceGetUUID(handle))),
        "minor": nvml.nvmlDeviceGetMinorNumber(handle),
        "pci": gpu.pci_address(_word(nvml.nvmlDeviceGetPciInfo(handle).busId)),
        "name": _word(_optional(nvml, lambda: nvml.nvmlDeviceGetName(handle), "")),
        "brand": BRANDS[brand] if brand < len(BRANDS) else BRANDS[0],
        "architecture": f"{major}.{minor}" if major else "",
        "mig": _mig(nvml, handle),
    }


def _mig(nvml: Any, handle: Any) -> dict[str, Any]:
    current, _ = _optional(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle), (0, 0))
    if current != nvml.NVML_DEVICE_MIG_ENABLE:
        return {"enabled": False, "instances": []}
    instances = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
            continue  # a place that no MIG device takes
        instances.append(
            {
                "index": index,
                "uuid": inventory.uuid("MIG-", _word(nvml.nvmlDeviceGetUUID(part))),
                "gi": nvml.nvmlDeviceGetGpuInstanceId(part),
                "ci": nvml.nvmlDeviceGetComputeInstanceId(part),
                "profile": _profile(nvml, part),
            }
        )
    return {"enabled": True, "instances": instances}


def _profile(nvml: Any, part: Any) -> str:
    """Give a MIG device's profile, from its name (`NVIDIA A100 MIG 1g.10gb`) or its size."""
    name = _word(_optional(nvml, lambda: nvml.nvmlDeviceGetName(part), ""))
    if " MIG " in name:
        return name.rpartition(" MIG ")[2]
    size = nvml.nvmlDeviceGetAttributes_v2(part)
    return f"{size.gpuInstanceSliceCount}g.{round(size.memorySizeMB / 1024)}gb"


def _optional(nvml: Any, ask: Callable[[], Any], otherwise: Any) -> Any:
    """Give an answer that older drivers or other GPUs do not have."""
    try:
        return ask()
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        return otherwise


def _distinct(one: dict[str, Any], known: list[dict[str, Any]]) -> dict[str, Any]:
    for key in ("uuid", "minor"):
        if any(one[key] == other[key] for other in known):
            raise ValueError(f"its {key} {one[key]} is another GPU's")
    if not 0 <= one["minor"] < 1 << 20:
        raise ValueError(f"its minor number is {one['minor']}")
    return one


def _reason(error: Exception) -> str:
    said = error.message if isinstance(error, DocumentError) else str(error)
    return _word(said) or "no reason given"


def _word(value: Any) -> str:
    """Give text; older releases of pynvml give bytes. What can't be printed becomes `?`."""
    word = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in word)
