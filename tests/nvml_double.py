# SPDX-License-Identifier: Apache-2.0
"""A double of pynvml: its functions over a list of GPUs, each a dict of what it answers."""

from __future__ import annotations

import ctypes
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from gpubind_cdi import asking, inventory, nvml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Failed(Exception):  # noqa: N818 - stands for pynvml's NVMLError
    """What the double raises, as pynvml's errors do."""


class NotSupported(Failed):
    """The GPU has no such thing."""


class NotFound(Failed):
    """Nothing is at that index."""


class Fabric(ctypes.Structure):
    """What pynvml calls c_nvmlGpuFabricInfo_t."""

    _fields_: ClassVar = [
        ("clusterUuid", ctypes.c_uint8 * 16),
        ("status", ctypes.c_uint),
        ("cliqueId", ctypes.c_uint32),
        ("state", ctypes.c_ubyte),
    ]


class Library:
    """pynvml's functions over a list of GPUs; `faults` says which call fails for which GPU."""

    NVML_DEVICE_MIG_ENABLE = 1
    c_nvmlGpuFabricInfo_t = Fabric  # noqa: N815 - pynvml's name
    NVML_NVLINK_MAX_LINKS = 18
    NVML_FI_DEV_GET_GPU_RECOVERY_ACTION = 274
    NVMLError = Failed
    NVMLError_NotSupported = NotSupported
    NVMLError_FunctionNotFound = NotSupported
    NVMLError_NotFound = NotFound
    NVMLError_InvalidArgument = NotFound

    def __init__(
        self, gpus: list[dict[str, Any]], faults: Mapping[tuple[str, int], Failed]
    ) -> None:
        self.gpus = gpus
        self.failing = faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(handle: Any = None, index: int = 0) -> Any:
            place = handle if isinstance(handle, int) else (handle or {}).get("at", -1)
            if (name, place) in self.failing:
                raise self.failing[name, place]
            return ANSWERS[name](self, handle, index)

        return call


def _mig_at(_: Library, handle: dict[str, Any], index: int) -> dict[str, Any]:
    parts: list[dict[str, Any] | None] = handle["mig"]
    part = parts[index]
    if part is None:
        raise NotFound("Not Found")
    return part


def _fabric(_: Library, handle: dict[str, Any], said: Any) -> None:
    uuid, said._obj.status, said._obj.cliqueId, said._obj.state = handle["fabric"]
    said._obj.clusterUuid[:] = uuid


def _mig_mode(_: Library, handle: dict[str, Any], __: int) -> tuple[int, int]:
    if "mig" not in handle:
        raise NotSupported("Not Supported")
    return 1, 1


def _ancestor(_: Library, one: dict[str, Any], other: Any) -> int:
    level: int = one["near"][other["at"]]
    return level


ANSWERS: dict[str, Callable[[Library, Any, int], Any]] = {
    "nvmlInit": lambda *_: None,
    "nvmlDeviceGetCount": lambda library, *_: len(library.gpus),
    "nvmlDeviceGetHandleByIndex": lambda library, handle, _: library.gpus[handle],
    "nvmlSystemGetDriverVersion": lambda *_: b"550.54.15",
    "nvmlSystemGetCudaDriverVersion": lambda *_: 12040,
    "nvmlDeviceGetUUID": lambda _, handle, __: handle["uuid"],
    "nvmlDeviceGetMinorNumber": lambda _, handle, __: handle["minor"],
    "nvmlDeviceGetPciInfo": lambda _, handle, __: SimpleNamespace(busId=handle["pci"]),
    "nvmlDeviceGetName": lambda _, handle, __: handle["name"],
    "nvmlDeviceGetBrand": lambda _, handle, __: handle.get("brand", 14),
    "nvmlDeviceGetCudaComputeCapability": lambda *_: (9, 0),
    "nvmlDeviceGetAddressingMode": lambda _, handle, __: handle.get("addressing", 1),
    "nvmlDeviceGetMemoryInfo": lambda _, handle, __: SimpleNamespace(total=handle["memory"]),
    "nvmlDeviceGetFieldValues": lambda _, handle, __: [
        SimpleNamespace(
            nvmlReturn=0 if "recovery" in handle else 3,
            value=SimpleNamespace(uiVal=handle.get("recovery")),
        )
    ],
    "nvmlDeviceGetMigMode": _mig_mode,
    "nvmlDeviceGetMaxMigDeviceCount": lambda _, handle, __: len(handle["mig"]),
    "nvmlDeviceGetMigDeviceHandleByIndex": _mig_at,
    "nvmlDeviceGetGpuInstanceId": lambda _, handle, __: handle["gi"],
    "nvmlDeviceGetComputeInstanceId": lambda _, handle, __: handle["ci"],
    "nvmlDeviceGetTopologyCommonAncestor": _ancestor,
    "nvmlDeviceGetNvLinkState": lambda _, handle, link: link in handle["nvlinks"],
    "nvmlDeviceGetNvLinkRemotePciInfo": lambda _, handle, link: SimpleNamespace(
        busId=handle["nvlinks"][link]
    ),
    "nvmlDeviceGetAttributes_v2": lambda *_: SimpleNamespace(
        gpuInstanceSliceCount=3,
        computeInstanceSliceCount=2,
        multiprocessorCount=42,
        sharedCopyEngineCount=3,
        sharedDecoderCount=4,
        sharedEncoderCount=5,
        sharedJpegCount=6,
        sharedOfaCount=7,
        memorySizeMB=40448,
    ),
    "nvmlDeviceGetGpuFabricInfo": _fabric,
}


def whole(at: int, **changes: Any) -> dict[str, Any]:
    facts = {
        "at": at,
        "uuid": f"GPU-{at}",
        "minor": at,
        "pci": f"00000000:0{at + 1}:00.0",
        "name": b"NVIDIA H100",
        "memory": 80 << 30,
        "fabric": (bytes(16), 0, 0, 0),
    }
    return facts | changes


def part(uuid: str, name: str) -> dict[str, Any]:
    return {"uuid": uuid, "gi": 1, "ci": 2, "name": name, "memory": 10 << 30}


def read(
    *gpus: dict[str, Any], faults: Mapping[tuple[str, int], Failed] | None = None
) -> inventory.Inventory:
    answer = asking.Answer()
    for words in nvml.read(Library(list(gpus), faults or {})):
        answer.take(json.dumps(words).encode())
    return inventory.salvaged(answer.document())
