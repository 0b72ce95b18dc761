# SPDX-License-Identifier: Apache-2.0
"""The sidecar of a generated spec, as it is written; `gpubind_cdi.sidecar` reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubind import VERSION
from gpubind.operation.compat import CudaCompat
from gpubind_cdi import hooks, sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpubind_cdi.discover.found import Entry, Found, Link
    from gpubind_cdi.gpu import Gpu
    from gpubind_cdi.libraries import Use
    from gpubind_cdi.modes.mode import Described


def tied(facts: Mapping[str, Any], spec: str, data: bytes) -> dict[str, Any]:
    """Give the document tied to the spec file `spec`, an absolute path, with the bytes `data`."""
    return {"format": sidecar.FORMAT, "spec": spec, "sha256": sidecar.digest(data), **facts}


def document(root: str, described: Described, names: Sequence[str]) -> dict[str, Any]:
    """Give the document of a spec before it is tied; `root` is the driver root.

    `names` are those of the hooks the spec may have. A link of a device names the devices it
    belongs to, a common one none.
    """
    common, devices, driver = described.common, described.devices, described.driver
    links = [_link(link, ()) for link in common.links]
    links += [_link(link, known) for known, found in devices.items() for link in found.links]
    offered = {hooks.LINKS, hooks.CACHE, *map(hooks.name, described.operations)}
    return {
        "generator": f"gpubind {VERSION}",
        "driver": {
            "version": driver.version if driver else "",
            "root": root,
            "cuda": described.cuda,
            **_compat(described),
        },
        "gpus": [_gpu(gpu) for gpu in described.gpus],
        "operations": [name for name in names if name in offered],
        "items": {
            place: _use(use)
            for found in (common, *devices.values())
            for place, use in _items(found)
        },
        "links": links,
        "libraries": [_library(entry) for entry in common.entries],
        "folders": list(common.folders),
        "inputs": [list(one) for one in common.inputs],
    }


def _compat(described: Described) -> dict[str, str]:
    """Give where images keep newer CUDA libraries, if those compare by CUDA's version alone."""
    every = (one for one in described.operations if isinstance(one, CudaCompat))
    return next(({"compat": one.folder} for one in every if one.cuda), {})


def _items(found: Found) -> Iterator[tuple[str, Use]]:
    yield from ((node.path, node.use) for node in found.nodes)
    yield from ((mount.container, mount.use) for mount in found.mounts)


def _library(entry: Entry) -> dict[str, Any]:
    return {
        "path": entry.path,
        "arch": entry.machine,
        "capabilities": list(entry.capabilities),
    }


def _link(link: Link, names: Sequence[str]) -> dict[str, Any]:
    return {
        "link": link.link,
        "target": link.target,
        "capabilities": list(link.capabilities),
        "devices": list(names),
        "why": link.why,
    }


def _use(use: Use) -> dict[str, Any]:
    return {"capabilities": list(use.capabilities), "required": use.required, "why": use.why}


def _gpu(gpu: Gpu) -> dict[str, Any]:
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "minor": gpu.minor,
        "pci": gpu.pci,
        "name": gpu.name,
        "brand": gpu.brand,
        "architecture": gpu.architecture,
        "migs": [
            {
                "index": mig.index,
                "uuid": mig.uuid,
                "gi": mig.gi,
                "ci": mig.ci,
                "profile": mig.profile,
            }
            for mig in gpu.mig
        ],
    }
