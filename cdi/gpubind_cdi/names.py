# SPDX-License-Identifier: Apache-2.0
"""Names in CDI: vendor, class, device, and the qualified `vendor/class=device` (R6, R9, R18).

Each `_fault` function says in one clause what is wrong with a name, "" where nothing is.
"""

from __future__ import annotations

import re

from gpubind_cdi.fields import quoted

KIND_PART = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
DEVICE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?")


def kind_fault(kind: str) -> str:
    """Say what is wrong with a kind, `vendor/class`."""
    vendor, slash, device_class = kind.partition("/")
    if not slash:
        return f"kind {quoted(kind)} must be vendor/class, such as nvidia.com/gpu"
    return vendor_fault(vendor) or class_fault(device_class)


def vendor_fault(vendor: str) -> str:
    """Say what is wrong with a vendor."""
    return _part_fault("vendor", vendor)


def class_fault(device_class: str) -> str:
    """Say what is wrong with a class."""
    return _part_fault("class", device_class)


def _part_fault(what: str, name: str) -> str:
    if len(name) == 1 and KIND_PART.fullmatch(name):
        # CDI allows it, but its library up to 1.1.0 ends the engine: a running dockerd too.
        return f"{what} {quoted(name)} is a single letter, which makes container engines crash"
    if KIND_PART.fullmatch(name):
        return ""
    return (
        f"{what} {quoted(name)} must start with a letter, end with a letter or digit and hold "
        "only letters, digits, '_', '-' and '.'"
    )


def device_fault(name: str) -> str:
    """Say what is wrong with a device's name."""
    if DEVICE.fullmatch(name):
        return ""
    return (
        f"device name {quoted(name)} must start and end with a letter or digit and hold only "
        "letters, digits, '_', '-', '.' and ':'"
    )


def qualified(kind: str, device: str) -> str:
    """Give a device's qualified name."""
    return f"{kind}={device}"
