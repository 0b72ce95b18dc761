# SPDX-License-Identifier: Apache-2.0
"""What a request has besides GPUs: the image's requirements, features such as GDS, IMEX channels.

Loaded only where a container asks for such a thing.
"""

from __future__ import annotations

from gpubind import registry
from gpubind.errors import ToolkitError

VENDOR = "nvidia.com"
CHANNEL = f"{VENDOR}/imex-channel"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubind.oci.types import Compiled, CompiledSpec
    from gpubind.request import Request

    Chosen = list[tuple[CompiledSpec, list[str]]]


def of(wanted: Request, chosen: Chosen, load: Callable[[], Compiled], notes: list[str]) -> Chosen:
    """Give the specs of features and channels; `chosen` are those of the GPUs. Takes notes.

    `load` gives the compiled specs, where they are needed. Raises ToolkitError for a requirement
    that a chosen GPU does not meet, and for a channel that is in no spec.
    """
    if wanted.requirements:
        from gpubind import requirement

        notes += requirement.check(wanted.requirements, chosen)
    if not wanted.features and not wanted.imex:
        return []
    compiled = load()
    names = [*_features(compiled, wanted, notes), *_channels(compiled, wanted, notes)]
    found = registry.resolve(compiled, names)
    return [(compiled["specs"][index], devices) for index, devices in found.items()]


def _features(compiled: Compiled, wanted: Request, notes: list[str]) -> list[str]:
    """Give the names of the features there are specs of; take a note of the others."""
    names = []
    for feature in wanted.features:
        name = f"{VENDOR}/{feature}=all"
        if name in compiled["devices"]:
            names.append(name)
        else:
            notes.append(f"{feature} is asked for, but no CDI spec has {name} [REQ-FEATURE]")
    return names


def _channels(compiled: Compiled, wanted: Request, notes: list[str]) -> list[str]:
    """Give the names of the IMEX channels. Raises ToolkitError for one that is in no spec."""
    if wanted.imex == ("all",):
        names = [name for name in compiled["devices"] if name.startswith(f"{CHANNEL}=")]
        if not names:
            notes.append(f"all IMEX channels are asked for, but no CDI spec has one of {CHANNEL}")
        return [f"{CHANNEL}=all"] if f"{CHANNEL}=all" in names else names
    names = [f"{CHANNEL}={number}" for number in wanted.imex]
    for number, name in zip(wanted.imex, names, strict=True):
        if name not in compiled["devices"]:
            raise ToolkitError(
                f"IMEX channel {number} is asked for, but no CDI spec has {name}",
                identifier="REQ-IMEX",
                hint="see 'gpubind cdi list' and /dev/nvidia-caps-imex-channels",
            )
    return names
