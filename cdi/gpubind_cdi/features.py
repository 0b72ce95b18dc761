# SPDX-License-Identifier: Apache-2.0
"""The field's feature flags: what each changes in the options of generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubind.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

FLAGS: dict[str, dict[str, Any]] = {
    "disable-ipc-discoverer": {"ipc": False},
    "disable-multiple-csv-devices": {"csv_multiple": False},
    "disable-nvsandbox-utils": {},
    "disable-nvsandboxutils": {},
    "enable-coherent-annotations": {"by_coherence": True},
    "enable-explicit-driver-libraries": {"vendor_neutral": True},
    "no-additional-gids-for-device-nodes": {"additional_gids": False},
}


def options(flags: Iterable[str]) -> dict[str, Any]:
    """Give the options that the flags change. Raises UsageError for one that is none."""
    changed: dict[str, Any] = {}
    for flag in flags:
        if flag not in FLAGS:
            raise UsageError(
                f"the feature flag {flag!r} is none",
                identifier="USE-FEATURE",
                hint=f"there are: {', '.join(FLAGS)}",
            )
        changed |= FLAGS[flag]
    return changed
