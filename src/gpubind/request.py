# SPDX-License-Identifier: Apache-2.0
"""What a container asks for. Pure.

Most containers of a host ask for nothing; this module is what finding that out takes. Whoever asks
for something is read by `asked`. docs/requests.md describes the sources and their order.
"""

from __future__ import annotations

from gpubind.config import PREFIXES, SWARM
from gpubind.oci import spec as oci

CAPABILITIES = ("compat32", "compute", "display", "graphics", "ngx", "utility", "video")
"""Every driver capability there is."""

DEVICES_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
CAPABILITIES_VARIABLE = "NVIDIA_DRIVER_CAPABILITIES"
LEGACY_VARIABLE = "CUDA_VERSION"
MARKER = "/nvidia-container-devices"
"""What the destination of every mount that asks for a device contains."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind.config import Config
    from gpubind.oci.types import Spec


class Request:
    """What one container asks for and may have.

    `devices` is () for nothing at all, ("none",) for the driver without a GPU, ("all",), or names
    in the order asked for, each once. `capabilities` is sorted. `source` says who asked
    (`annotations`, `volume-mounts`, `swarm-resource`, `environment`), `origin` names it for
    messages, and `explicit` is whether an operator did, not just an image. `imex` are channels,
    `features` names such as `gds`, `requirements` pairs of a variable and its expression,
    `all_lists` is whether of a Tegra more than the usual lists of files are wanted. `notes` are
    lines for the log, one for each request that was denied; `left` are lines for who wants an
    explanation, about what gave way.
    """

    __slots__ = (
        *("all_lists", "capabilities", "devices", "explicit", "features", "imex", "left"),
        *("notes", "origin", "requirements", "source"),
    )

    def __init__(self, devices: tuple[str, ...] = (), capabilities: tuple[str, ...] = ()) -> None:
        self.devices = devices
        self.capabilities = capabilities
        self.source = ""
        self.origin = DEVICES_VARIABLE
        self.explicit = False
        self.imex: tuple[str, ...] = ()
        self.features: tuple[str, ...] = ()
        self.requirements: tuple[tuple[str, str], ...] = ()
        self.all_lists = False
        self.notes: list[str] = []
        self.left: list[str] = []


def of(document: Spec, settings: Config, file: str = "config.json") -> Request:
    """Give the request in a container's config.json; `file` is its name, for messages.

    Raises ToolkitError naming variable, annotation or mount, and the element that is wrong.
    """
    env = oci.environment(document, file)
    if not _asks(document, env, settings):
        return Request()
    from gpubind import asked

    return asked.of(document, env, settings)


def variables(env: Sequence[str]) -> dict[str, str]:
    """Give the environment as a dict; of a name that comes twice the last counts, as in runc."""
    return dict(entry.split("=", 1) for entry in env if "=" in entry)


def swarm(settings: Config) -> list[str]:
    """Give the names of variables that count before NVIDIA_VISIBLE_DEVICES."""
    text = settings.text(SWARM)
    return [name for part in text.split(",") if (name := part.strip())] if text else []


def _asks(document: Spec, env: list[str], settings: Config) -> bool:
    """Tell whether anything in the document could be a request."""
    names = (DEVICES_VARIABLE, LEGACY_VARIABLE, *swarm(settings))
    starts = tuple(f"{name}=" for name in names)
    if any(entry.startswith(starts) for entry in env):
        return True
    annotations: object = document.get("annotations")
    if annotations and isinstance(annotations, dict):
        prefixes = tuple(settings.texts(PREFIXES))
        if any(key.startswith(prefixes) for key in annotations):
            return True
    mounts: object = document.get("mounts")
    for mount in mounts if isinstance(mounts, list) else ():
        place = mount.get("destination") if isinstance(mount, dict) else None
        if isinstance(place, str) and MARKER in place:
            return True
    return False
