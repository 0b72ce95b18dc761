# SPDX-License-Identifier: Apache-2.0
"""GPUs as the driver's own NVML library describes them. The only module that knows pynvml.

The library runs in a process of its own, which says what it learns line by line (`asking`): a call
that hangs or crashes in there costs what it was about, not this process. The child gets the driver
root's library as a descriptor and loads it before pynvml looks for one, which then finds it by its
SONAME. The child loads this module and little else; what the parent needs is in `nvml_process`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

from gpubind_cdi import child, gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SONAME = "libnvidia-ml.so.1"
LIBRARY_FD = 3
MIG_LOOKS = 3
GPU_IS_LOST = 15  # of nvmlReturn_t
ATS = 2  # of nvmlDeviceAddressingModeType_t: address translation services

NO_FABRIC = bytes(16)  # the UUID of a GPU in no fabric
FABRIC_COMPLETED = 3  # of nvmlGpuFabricState_t

# What `gpu.MigSize` has, as nvmlDeviceAttributes_t calls it.
SIZE = {
    "multiprocessors": "multiprocessorCount",
    "gi_slices": "gpuInstanceSliceCount",
    "ci_slices": "computeInstanceSliceCount",
    "copy": "sharedCopyEngineCount",
    "decoder": "sharedDecoderCount",
    "encoder": "sharedEncoderCount",
    "jpeg": "sharedJpegCount",
    "ofa": "sharedOfaCount",
}

# nvmlDeviceGpuRecoveryAction_t.
RECOVERY = {
    0: "none",
    1: "reset",
    2: "reboot",
    3: "drain",
    4: "drain and reset",
    5: "none",  # it is about the IMEX domain
    6: "bus reset",
    7: "reboot",
}

# nvmlBrandType_t, by the names the field's requirements use.
BRANDS = (
    *("Unknown", "Quadro", "Tesla", "NVS", "GRID", "GeForce", "Titan", "NvidiaVApps"),
    *("NvidiaVPC", "NvidiaVCS", "NvidiaVWS", "NvidiaCloudGaming", "QuadroRTX", "NvidiaRTX"),
    *("Nvidia", "GeForceRTX", "TitanRTX"),
)


def answer(only: int | None = None) -> None:
    """Say what the library on descriptor 3 knows of all GPUs, or of the one with this index."""
    try:
        nvml = load()
    except OSError as error:
        child.tell("error", 0, f"can't be loaded: {error}")
        return
    try:
        for words in read(nvml, only):
            child.tell(*words)
    except nvml.NVMLError as error:
        child.tell("error", getattr(error, "value", 0), _word(error))


def load() -> Any:
    """Give pynvml over the library on descriptor 3. Raises OSError where that can't be loaded."""
    import ctypes

    ctypes.CDLL(f"/proc/self/fd/{LIBRARY_FD}", mode=ctypes.RTLD_GLOBAL)
    import pynvml

    return pynvml


def read(nvml: Any, only: int | None = None) -> Iterable[tuple[object, ...]]:
    """Give NVML's answers as the lines of `asking`; `nvml` is the module pynvml.

    A GPU that can't be read becomes a fault. Raises NVMLError where nothing can be.
    """
    nvml.nvmlInit()
    count = nvml.nvmlDeviceGetCount()
    version = _text(nvml.nvmlSystemGetDriverVersion)
    cuda = _optional(nvml, nvml.nvmlSystemGetCudaDriverVersion, 0)
    named = f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else ""
    yield "driver", {"version": version, "cuda": named}, count
    for index in range(count) if only is None else (only,):
        yield "asking", index
        try:
            yield "gpu", _gpu(nvml, index)
        except Exception as error:  # noqa: BLE001 - whatever one GPU makes pynvml raise, the others are told of
            yield "fault", _word(error) or "no reason given"
    if only is None and count > 1:
        yield "links", [*_links(nvml, count)]
    with contextlib.suppress(nvml.NVMLError):  # all is told; a fault now is the next look's
        count = nvml.nvmlDeviceGetCount()
    yield "end", count


def _gpu(nvml: Any, index: int) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    brand = _optional(nvml, lambda: nvml.nvmlDeviceGetBrand(handle), 0)
    major, minor = _optional(nvml, lambda: nvml.nvmlDeviceGetCudaComputeCapability(handle), (0, 0))
    return {
        "index": index,
        "uuid": _text(lambda: nvml.nvmlDeviceGetUUID(handle)),
        "minor": _optional(nvml, lambda: nvml.nvmlDeviceGetMinorNumber(handle), index),
        "pci": _text(lambda: _optional(nvml, lambda: nvml.nvmlDeviceGetPciInfo(handle).busId, "")),
        "name": _text(lambda: _optional(nvml, lambda: nvml.nvmlDeviceGetName(handle), "")),
        "brand": BRANDS[brand] if brand < len(BRANDS) else BRANDS[0],
        "architecture": f"{major}.{minor}" if major else "",
        "coherent": _coherent(nvml, handle),
        "memory": _memory(nvml, handle),
        "clique": _clique(nvml, handle),
        "recovery": _recovery(nvml, handle),
        "mig": _mig(nvml, handle),
    }


def _coherent(nvml: Any, handle: Any) -> bool:
    """Tell whether a GPU uses the CPU's page tables; older releases of pynvml do not ask."""
    ask = getattr(nvml, "nvmlDeviceGetAddressingMode", None)
    return ask is not None and _optional(nvml, lambda: ask(handle), 0) == ATS


def _memory(nvml: Any, handle: Any) -> int:
    """Give a GPU's or MIG device's memory in bytes, 0 where it has none of its own or won't say."""
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:
        return 0


def _clique(nvml: Any, handle: Any) -> str:
    """Give the fabric and the clique in it that a GPU is registered in, empty for none."""
    import ctypes
    import uuid

    kind = getattr(nvml, "c_nvmlGpuFabricInfo_t", None)  # older releases do not ask
    if kind is None:
        return ""
    said = kind()
    try:
        nvml.nvmlDeviceGetGpuFabricInfo(handle, ctypes.byref(said))
    except nvml.NVMLError:
        return ""
    known = bytes(said)[: len(NO_FABRIC)]
    if said.state != FABRIC_COMPLETED or said.status or known == NO_FABRIC:
        return ""
    return f"{uuid.UUID(bytes=known)}.{said.cliqueId}"


def _recovery(nvml: Any, handle: Any) -> str:
    """Give what the driver asks for so that the GPU works again; drivers before 565 do not say."""
    field = getattr(nvml, "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION", None)
    with contextlib.suppress(nvml.NVMLError):
        told = nvml.nvmlDeviceGetFieldValues(handle, [field])[0] if field is not None else None
        if told is not None and told.nvmlReturn == 0:
            return RECOVERY.get(told.value.uiVal, "unknown")
    return ""


def _mig(nvml: Any, handle: Any) -> dict[str, Any]:
    """Give the GPU's MIG devices, once two looks in a row saw the same."""
    seen = _partitions(nvml, handle)
    for _ in range(MIG_LOOKS if seen["enabled"] else 0):
        before, seen = seen, _partitions(nvml, handle)
        if seen == before:
            return seen
    if seen["enabled"]:
        raise ValueError("its MIG devices changed each time they were looked at")
    return seen


def _partitions(nvml: Any, handle: Any) -> dict[str, Any]:
    mode = _optional(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle), None)
    if mode is None or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        return {"enabled": False, "capable": mode is not None, "instances": []}
    instances = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
            continue  # a place that no MIG device takes
        try:
            instances.append(_instance(nvml, index, part))
        except Exception as error:
            if getattr(error, "value", 0) == GPU_IS_LOST:
                raise
            # whatever one MIG device makes pynvml raise, the others are told of
            instances.append({"index": index, "fault": _word(error) or "no reason given"})
    return {"enabled": True, "instances": instances}


def _instance(nvml: Any, index: int, part: Any) -> dict[str, Any]:
    return {
        "index": index,
        "uuid": _text(lambda: nvml.nvmlDeviceGetUUID(part)),
        "gi": nvml.nvmlDeviceGetGpuInstanceId(part),
        "ci": nvml.nvmlDeviceGetComputeInstanceId(part),
        "profile": _profile(nvml, part),
        "memory": _memory(nvml, part),
        **_size(nvml, part),
    }


def _size(nvml: Any, part: Any) -> dict[str, dict[str, int]]:
    """Give what a MIG device has of its GPU, as `size`, if that is known."""
    try:
        known = nvml.nvmlDeviceGetAttributes_v2(part)
    except nvml.NVMLError:
        return {}
    return {"size": {name: int(getattr(known, attribute)) for name, attribute in SIZE.items()}}


def _profile(nvml: Any, part: Any) -> str:
    """Give a MIG device's profile, from its name (`NVIDIA A100 MIG 1g.10gb`) or its size."""
    name = _text(lambda: _optional(nvml, lambda: nvml.nvmlDeviceGetName(part), ""))
    if " MIG " in name:
        return name.rpartition(" MIG ")[2]
    size = nvml.nvmlDeviceGetAttributes_v2(part)
    return f"{size.gpuInstanceSliceCount}g.{round(size.memorySizeMB / 1024)}gb"


def _links(nvml: Any, count: int) -> Iterator[dict[str, Any]]:
    """Give how the GPUs reach each other, without what fails: it is for advice only."""
    known: list[tuple[Any, str, Counter[str]]] = []
    for index in range(count):
        with contextlib.suppress(Exception):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(functools.partial(nvml.nvmlDeviceGetUUID, handle))
            known.append((handle, uuid, _joined(nvml, handle)))
    for (one, uuid, joined), (other, peer, _) in itertools.combinations(known, 2):
        with contextlib.suppress(Exception):
            level = nvml.nvmlDeviceGetTopologyCommonAncestor(one, other)
            nvlinks = joined[_word(nvml.nvmlDeviceGetPciInfo(other).busId)] if joined else 0
            yield {"gpus": [uuid, peer], "path": gpu.PATHS[level], "nvlinks": nvlinks}


def _joined(nvml: Any, handle: Any) -> Counter[str]:
    """Count the active NVLinks of a GPU by what is at their other end, a PCI bus id."""
    found: Counter[str] = Counter()
    with contextlib.suppress(nvml.NVMLError):  # no more links, or none at all
        for link in range(getattr(nvml, "NVML_NVLINK_MAX_LINKS", 18)):
            if nvml.nvmlDeviceGetNvLinkState(handle, link):
                found[_word(nvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link).busId)] += 1
    return found


def _optional(nvml: Any, ask: Callable[[], Any], otherwise: Any) -> Any:
    """Give an answer that older drivers or other GPUs do not have."""
    try:
        return ask()
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        return otherwise


def _text(ask: Callable[[], Any]) -> str:
    """Give the text an answer holds. What can't be read in it becomes `?`, as in `_word`."""
    try:
        return _word(ask())
    except UnicodeDecodeError as error:  # pynvml decodes strictly; the bytes are still there
        return _word(error.object)


def _word(value: Any) -> str:
    """Give text; older releases of pynvml give bytes. What can't be printed becomes `?`."""
    word = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in word)
