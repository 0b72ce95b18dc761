# SPDX-License-Identifier: Apache-2.0
"""GPUs as the driver's own NVML library describes them. The only module that knows pynvml.

The library runs in a process of its own, which prints an inventory: a call that hangs or crashes
in there costs an error message, not this process. The child gets the driver root's library as a
descriptor and loads it before pynvml looks for one, which then finds it by its SONAME. The child
loads this module and little else, so whatever only the parent needs is in `nvml_process`.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpubind.root import Root
    from gpubind_cdi import inventory
    from gpubind_cdi.gpu import Fault, Gpu

FORMAT = 1  # of the inventory
SONAME = "libnvidia-ml.so.1"
TIMEOUT = 30.0  # seconds; a node with 16 GPUs and no persistence daemon takes some ten
LIBRARY_FD = 3

# nvmlBrandType_t, by the names the field's requirements use.
BRANDS = (
    *("Unknown", "Quadro", "Tesla", "NVS", "GRID", "GeForce", "Titan", "NvidiaVApps"),
    *("NvidiaVPC", "NvidiaVCS", "NvidiaVWS", "NvidiaCloudGaming", "QuadroRTX", "NvidiaRTX"),
    *("Nvidia", "GeForceRTX", "TitanRTX"),
)


class Nvml:
    """The GPUs that the NVML library in a driver root reports.

    Making one starts the child, so that it works while this process goes on; the first question
    waits for it, `timeout` seconds at most. Both raise ToolkitError: DRV-NOT-FOUND where the root
    has no such library, DRV-ARCH where it is for another machine, DRV-NOT-LOADED, DRV-MISMATCH,
    DRV-NO-PERMISSION and DRV-NVML as NVML says, DRV-TIMEOUT and DRV-CRASH where it said nothing.
    """

    __slots__ = ("_source",)

    def __init__(
        self, root: Root, search_paths: Sequence[str] = (), timeout: float = TIMEOUT
    ) -> None:
        from gpubind_cdi import nvml_process

        self._source = nvml_process.source(root, search_paths, timeout)

    def inventory(self) -> inventory.Inventory:
        """Give all that NVML told."""
        return self._source.inventory()

    def driver_version(self) -> str:
        """Give the driver's version."""
        return self._source.driver_version()

    def cuda_version(self) -> str:
        """Give the CUDA version the driver serves at most."""
        return self._source.cuda_version()

    def gpus(self) -> Sequence[Gpu]:
        """Give the GPUs that could be read, by index."""
        return self._source.gpus()

    def faults(self) -> Sequence[Fault]:
        """Give the GPUs that could not be read."""
        return self._source.faults()


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
    try:
        while data:
            data = data[os.write(1, data) :]
    except BrokenPipeError:
        return  # nobody asked in the end


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
            known.append(_gpu(nvml, index))
        except nvml.NVMLError as error:
            faults.append({"index": index, "message": _word(error) or "no reason given"})
    version = _word(nvml.nvmlSystemGetDriverVersion())
    cuda = _optional(nvml, nvml.nvmlSystemGetCudaDriverVersion, 0)
    return {
        "format": FORMAT,
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
        "uuid": _word(nvml.nvmlDeviceGetUUID(handle)),
        "minor": nvml.nvmlDeviceGetMinorNumber(handle),
        "pci": _word(nvml.nvmlDeviceGetPciInfo(handle).busId),
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
                "uuid": _word(nvml.nvmlDeviceGetUUID(part)),
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


def _word(value: Any) -> str:
    """Give text; older releases of pynvml give bytes. What can't be printed becomes `?`."""
    word = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in word)
