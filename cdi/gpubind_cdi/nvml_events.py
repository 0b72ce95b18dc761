# SPDX-License-Identifier: Apache-2.0
"""What NVML tells of events, line by line, in a process of its own: see `listening`."""

from __future__ import annotations

import select
import signal
from typing import TYPE_CHECKING, Any

from gpubind_cdi import child, events, nvml

if TYPE_CHECKING:
    from collections.abc import Collection

TURN_MS = 1000  # after each the process looks whether somebody still listens
CALL_S = 20  # the longest a call may take; then the process ends itself
WHOLE = 0xFFFF_FFFF  # a GPU instance that is none

# nvmlEventType*: double-bit memory error, critical Xid, changed MIG devices.
KINDS = {0x2: events.ECC, 0x8: events.XID, 0x100: events.MIG}


def watch(skip: Collection[int] = ()) -> None:
    """Tell of each event until nobody listens; GPUs with these indices are not watched."""
    try:
        library = nvml.load()
    except OSError as error:
        child.tell("error", 0, f"can't be loaded: {error}")
        return
    try:
        _watch(library, skip)
    except library.NVMLError as error:
        child.tell("error", getattr(error, "value", 0), str(error))


def _watch(library: Any, skip: Collection[int]) -> None:
    signal.alarm(CALL_S)
    library.nvmlInit()
    wanted = library.nvmlEventSetCreate()
    uuids: dict[int, str] = {}
    for index in range(library.nvmlDeviceGetCount()):
        if index not in skip:
            signal.alarm(CALL_S)
            child.tell("asking", index)
            _register(library, index, wanted, uuids)
    child.tell("ready")
    listener = select.poll()
    listener.register(1, 0)  # an error only: nobody reads any more
    while not listener.poll(0):
        signal.alarm(CALL_S)
        try:
            found = library.nvmlEventSetWait(wanted, TURN_MS)
        except library.NVMLError_Timeout:
            continue
        signal.alarm(0)  # whoever listens may take long
        child.tell("event", _event(found, uuids))


def _register(library: Any, index: int, wanted: Any, uuids: dict[int, str]) -> None:
    uuid = ""
    try:
        handle = library.nvmlDeviceGetHandleByIndex(index)
        uuid = library.nvmlDeviceGetUUID(handle)
        known = library.nvmlDeviceGetSupportedEventTypes(handle)
        library.nvmlDeviceRegisterEvents(handle, known & sum(KINDS), wanted)
        uuids[_address(handle)] = uuid
    except (library.NVMLError, UnicodeDecodeError) as error:
        child.tell("event", {"kind": events.UNWATCHED, "uuid": uuid, "message": str(error)})


def _event(found: Any, uuids: dict[int, str]) -> dict[str, Any]:
    kind = KINDS.get(found.eventType, "")
    parts = {"gi": found.gpuInstanceId, "ci": found.computeInstanceId}
    return {
        "kind": kind,
        "uuid": uuids.get(_address(found.device), ""),
        "code": found.eventData if kind == events.XID else 0,
        **{name: part for name, part in parts.items() if part != WHOLE},
    }


def _address(handle: Any) -> int:
    import ctypes

    return ctypes.cast(handle, ctypes.c_void_p).value or 0
