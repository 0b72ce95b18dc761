# SPDX-License-Identifier: Apache-2.0
"""What the kernel and its driver show on a simulated node: /proc, /sys and /dev.

The device numbers must lead to no driver of the host, so that opening a simulated device gives
ENXIO. Majors 262 to 383 are never given out: the kernel's list of assigned numbers ends at 261
(Documentation/admin-guide/devices.txt), dynamic ones come from 234 to 254 and from 511 down to 384
(include/linux/fs.h, CHRDEV_MAJOR_DYN_*). The GPUs themselves keep the driver's own number, 195,
unless the host has a real driver there.
"""

from __future__ import annotations

import struct
from datetime import datetime
from typing import TYPE_CHECKING

from gpubind_ctl.simulate import interconnect
from gpubind_ctl.simulate.entries import Entry, File, Folder, Link, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_ctl.simulate.profile import Gpu, Hardware, Profile

GPU_MAJOR, GPU_MAJOR_ELSE = 195, 309
UVM_MAJOR, CAPS_MAJOR, DRM_MAJOR = 310, 311, 312  # 313 and up: see `interconnect`
VIDEO_GID, RENDER_GID = 44, 105  # Debian's video group; render's number differs between machines

_CONTROL_MINOR, _MODESET_MINOR = 255, 254
_CAPS_GPUS, _CAPS_GIS, _CAPS_CIS = 32, 15, 8  # what the driver numbers capabilities for
_CONFIG_CAP, _MONITOR_CAP, _FIRST_GI_CAP = 1, 2, 3
_FIRST_CAPABILITY = 0xD0  # where in PCI configuration space
_OPEN, _OWNER_READ, _ALL_READ, _GROUP = 0o666, 0o400, 0o444, 0o660
_PARAMETERS = (
    *(("ResmanDebugLevel", "4294967295"), ("RmLogonRC", "1"), ("ModifyDeviceFiles", "1")),
    *(("DeviceFileUID", "0"), ("DeviceFileGID", "0"), ("DeviceFileMode", "438")),
    *(("InitializeSystemMemoryAllocations", "1"), ("UsePageAttributeTable", "4294967295")),
    *(("EnableMSI", "1"), ("EnableStreamMemOPs", "0"), ("EnableUserNUMAManagement", "1")),
    *(("RegistryDwords", '""'), ("RmMsg", '""'), ("GpuBlacklist", '""'), ("ExcludedGpus", '""')),
)


def gpu_major(host_devices: str) -> int:
    """Give the GPUs' major, going by the text of the host's /proc/devices."""
    characters = host_devices.partition("Block devices:")[0]
    taken = any(line.split()[:1] == [str(GPU_MAJOR)] for line in characters.splitlines())
    return GPU_MAJOR_ELSE if taken else GPU_MAJOR


def plan(profile: Profile, major: int) -> Iterator[Entry]:
    """Give all that the kernel of the profile's machine shows; `major` is the GPUs' number."""
    yield from _proc(profile, major)
    yield from _capabilities(profile)
    yield from _sys(profile)
    yield from _nodes(profile, major)


def _proc(profile: Profile, major: int) -> Iterator[Entry]:
    folder = "/proc/driver/nvidia"
    built = datetime.fromisoformat(profile.built).strftime("%a %b %e %H:%M:%S UTC %Y")
    kind = profile.machine.replace("-", "_")
    version = (
        f"NVRM version: NVIDIA UNIX {kind} Kernel Module  {profile.version}  {built}\n"
        "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
    )
    yield _text(f"{folder}/version", version)
    yield _text(f"{folder}/params", "".join(f"{key}: {value}\n" for key, value in _PARAMETERS))
    for gpu in profile.gpus:
        yield _text(f"{folder}/gpus/{gpu.pci}/information", _information(profile, gpu))
    yield _text("/proc/devices", _devices(profile, major))


def _information(profile: Profile, gpu: Gpu) -> str:
    rows = (
        ("Model", gpu.name),
        ("IRQ", str(100 + gpu.index)),
        ("GPU UUID", gpu.uuid),
        ("Video BIOS", gpu.hardware.video_bios),
        ("Bus Type", "PCIe"),
        ("DMA Size", "47 bits"),
        ("DMA Mask", "0x7fffffffffff"),
        ("Bus Location", gpu.pci),
        ("Device Minor", str(gpu.minor)),
        ("GPU Firmware", profile.version),
        ("GPU Excluded", "No"),
    )
    return "".join(f"{name}: \t {value}\n" for name, value in rows)


def _devices(profile: Profile, major: int) -> str:
    """Give /proc/devices: drivers before 550 call themselves nvidia-frontend there."""
    old = int(profile.version.split(".", 1)[0]) < 550
    gpu_names = ("nvidia-frontend",) if old else ("nvidia", "nvidia-modeset", "nvidiactl")
    rows = sorted(
        [
            *((1, "mem"), (5, "/dev/tty"), (10, "misc")),
            *((major, name) for name in gpu_names),
            *((UVM_MAJOR, "nvidia-uvm"), (CAPS_MAJOR, "nvidia-caps"), (DRM_MAJOR, "drm")),
            *interconnect.majors(profile),
        ]
    )
    characters = "".join(f"{number:>3} {name}\n" for number, name in rows)
    return f"Character devices:\n{characters}\nBlock devices:\n259 blkext\n"


def _gi_minor(gpu: int, gi: int) -> int:
    return _FIRST_GI_CAP + (gpu * _CAPS_GIS + gi) * (_CAPS_CIS + 1)


def _capabilities(profile: Profile) -> Iterator[Entry]:
    """Give the MIG capabilities: the list of all minors, and what exists below each GPU."""
    lines = [f"config {_CONFIG_CAP}", f"monitor {_MONITOR_CAP}"]
    for number in range(_CAPS_GPUS):
        for gi in range(_CAPS_GIS):
            first, instance = _gi_minor(number, gi), f"gpu{number}/gi{gi}"
            lines.append(f"{instance}/access {first}")
            lines += [f"{instance}/ci{ci}/access {first + 1 + ci}" for ci in range(_CAPS_CIS)]
    yield _text("/proc/driver/nvidia-caps/mig-minors", "\n".join(lines) + "\n")
    folder = "/proc/driver/nvidia/capabilities"
    yield _capability(f"{folder}/mig/config", _CONFIG_CAP, _OWNER_READ)
    yield _capability(f"{folder}/mig/monitor", _MONITOR_CAP, _ALL_READ)
    for gpu in profile.gpus:
        yield Folder(path=f"{folder}/gpu{gpu.minor}/mig")
        for path, minor in _instances(gpu):
            yield _capability(f"{folder}/{path}", minor, _ALL_READ)


def _instances(gpu: Gpu) -> list[tuple[str, int]]:
    """Give path and minor of the access file of each GPU instance and compute instance."""
    found = {}
    for mig in gpu.instances:
        folder, minor = f"gpu{gpu.minor}/mig/gi{mig.gi}", _gi_minor(gpu.minor, mig.gi)
        found[f"{folder}/access"] = minor
        found[f"{folder}/ci{mig.ci}/access"] = minor + 1 + mig.ci
    return list(found.items())


def _capability(path: str, minor: int, mode: int) -> File:
    return _text(
        path, f"DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n", _ALL_READ
    )


def _sys(profile: Profile) -> Iterator[Entry]:
    for gpu in profile.gpus:
        bus = gpu.pci[:7]
        folder = f"/sys/devices/pci{bus}/{gpu.pci}"
        target = f"../../../devices/pci{bus}/{gpu.pci}"
        yield Link(path=f"/sys/bus/pci/devices/{gpu.pci}", target=target)
        rows = (
            ("vendor", "0x10de"),
            ("device", gpu.hardware.device),
            ("class", gpu.hardware.pci_class),
            ("numa_node", str(gpu.hardware.numa_node)),
        )
        for name, value in rows:
            yield _text(f"{folder}/{name}", f"{value}\n")
        yield File(path=f"{folder}/config", data=configuration(gpu.hardware), mode=0o644)
        for prefix, minor in (("card", gpu.hardware.card), ("renderD", gpu.hardware.render)):
            yield _text(f"{folder}/drm/{prefix}{minor}/dev", f"{DRM_MAJOR}:{minor}\n")
    yield _text("/sys/module/nvidia/version", f"{profile.version}\n")
    firmware = f"{profile.prefix}/firmware" if profile.prefix else ""
    yield _text("/sys/module/firmware_class/parameters/path", f"{firmware}\n")


def configuration(hardware: Hardware) -> bytes:
    """Give the PCI configuration space: ids, and what a virtual GPU says of its host's driver.

    See `gpubind_ctl.labels.vgpu`.
    """
    space = bytearray(256)
    struct.pack_into("<HH", space, 0, 0x10DE, int(hardware.device, 16))
    space[0x09:0x0C] = int(hardware.pci_class, 16).to_bytes(3, "little")
    version, branch = (word.encode() for word in hardware.below)
    if version:
        record = struct.pack("<BB10s10s", 0, 22, version, branch)
        space[0x06], space[0x34] = 0x10, _FIRST_CAPABILITY
        capability = struct.pack("<BBB2s", 0x09, 0, 5 + len(record), b"VF") + record
        space[_FIRST_CAPABILITY : _FIRST_CAPABILITY + len(capability)] = capability
    return bytes(space)


def _nodes(profile: Profile, major: int) -> Iterator[Entry]:
    yield Node(path="/dev/nvidiactl", major=major, minor=_CONTROL_MINOR, mode=_OPEN)
    yield Node(path="/dev/nvidia-modeset", major=major, minor=_MODESET_MINOR, mode=_OPEN)
    yield Node(path="/dev/nvidia-uvm", major=UVM_MAJOR, minor=0, mode=_OPEN)
    yield Node(path="/dev/nvidia-uvm-tools", major=UVM_MAJOR, minor=1, mode=_OPEN)
    yield _cap(_CONFIG_CAP, _OWNER_READ)
    yield _cap(_MONITOR_CAP, _ALL_READ)
    for gpu in profile.gpus:
        yield Node(path=f"/dev/nvidia{gpu.minor}", major=major, minor=gpu.minor, mode=_OPEN)
        for _, minor in _instances(gpu):
            yield _cap(minor, _ALL_READ)
        yield from _drm(gpu)
    yield from interconnect.plan(profile)


def _cap(minor: int, mode: int) -> Node:
    path = f"/dev/nvidia-caps/nvidia-cap{minor}"
    return Node(path=path, major=CAPS_MAJOR, minor=minor, mode=mode)


def _drm(gpu: Gpu) -> Iterator[Entry]:
    rows = (
        ("card", f"card{gpu.hardware.card}", gpu.hardware.card, VIDEO_GID),
        ("render", f"renderD{gpu.hardware.render}", gpu.hardware.render, RENDER_GID),
    )
    for kind, name, minor, gid in rows:
        yield Node(path=f"/dev/dri/{name}", major=DRM_MAJOR, minor=minor, mode=_GROUP, gid=gid)
        yield Link(path=f"/dev/dri/by-path/pci-{gpu.pci}-{kind}", target=f"../{name}")


def _text(path: str, text: str, mode: int = 0o444) -> File:
    return File(path=path, data=text.encode(), mode=mode)
