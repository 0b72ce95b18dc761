# SPDX-License-Identifier: Apache-2.0
"""The driver of a root as it is now, described for container starts, with signs of its changes.

Times of files in /proc and /dev mean nothing, so the signs are what does: which names a folder
there has, what number and mode a node has, what the kernel module says of its version, and stamps
of the libraries and of all else that was read. `gpubind.jit` compares them at each start.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpubind import jit
from gpubind.errors import ToolkitError
from gpubind.root import Root
from gpubind_cdi import compile as compiler
from gpubind_cdi import driver as drivers
from gpubind_cdi import generate, libraries, sidecar, simulated, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gpubind_cdi.generate import Generated
    from gpubind_cdi.gpu import GpuSource
    from gpubind_cdi.modes.mode import Options

    Signs = dict[str, dict[str, Any]]

GPUS = "/proc/driver/nvidia/gpus"
CAPABILITIES = "/proc/driver/nvidia/capabilities"
FOLDERS = ("/dev/dri", "/dev/nvidia-caps")  # nodes that come and go with GPUs and their parts
CONTROL = "/dev/nvidiactl"
LOOKS = 4
VENDOR, CLASS = jit.KIND.split("/")
_CTIME = 3  # in a stamp


def document(
    options: Options,
    driver_root: str,
    source: Callable[[Root], GpuSource],
    config_files: Iterable[str] = (),
    clock: Callable[[], int] = time.time_ns,
) -> dict[str, Any]:
    """Give what `jit.json` holds: the spec, and the signs of what it depends on.

    `config_files` are those the options come from. Looked at again where something changed
    meanwhile, or may have by the times of files; `clock` gives the time, in ns. Raises
    ToolkitError as `generate.generate` does, and DRV-CHANGING where it never rests.
    """
    wanted = replace(options, vendor=VENDOR, device_class=CLASS)
    before: Signs = {}
    with Root(driver_root) as root, Root(_dev_root(driver_root)) as nodes, Root("/") as host:
        system = root if drivers.holds_system(root) else host
        for _ in range(LOOKS):
            began = clock()
            known = (jit.text(system.outer(drivers.KERNEL_FILE)), jit.names(system.outer(GPUS)))
            generated = generate.generate(wanted, source(root), root, nodes, system)
            signs = taken(generated, root, nodes, system, config_files)
            rests = signs == before or not _moved(signs, began)
            if rests and known == (
                signs["texts"][system.outer(drivers.KERNEL_FILE)],
                signs["names"][system.outer(GPUS)],
            ):
                return _described(generated, driver_root, signs)
            before = signs
    raise ToolkitError(
        f"the driver in {driver_root} changed each of {LOOKS} times it was looked at",
        identifier="DRV-CHANGING",
        hint="wait until it is installed or its GPUs are set up, then start again",
    )


def taken(
    generated: Generated, root: Root, nodes: Root, system: Root, config_files: Iterable[str] = ()
) -> Signs:
    """Give the signs of all that the generated spec depends on, by kind and host path."""
    facts = generated.sidecar
    folders = [system.outer(GPUS), *(nodes.outer(name) for name in FOLDERS)]
    for gpu in facts["gpus"]:
        folders += _partitions(system.outer(f"{CAPABILITIES}/gpu{gpu['minor']}/mig"))
    files = [path for path, *_ in facts["inputs"]]
    files += [root.outer(name) for name in (*facts["folders"], simulated.FILE)]
    paths = {
        "texts": [system.outer(drivers.KERNEL_FILE)],
        "names": folders,
        "nodes": [*_nodes(generated, root, nodes)],
        "stamps": [*files, *config_files],
    }
    return {kind: {path: look(path) for path in paths[kind]} for kind, look in jit.SIGNS.items()}


def write(state: str, facts: dict[str, Any]) -> None:
    """Put the document where starts look for it, whole or not at all."""
    facts["specs"][0]["path"] = f"{state}/{jit.FILE}"
    compiler.make_folder(state)
    compiler.put(state, jit.FILE, facts)


def _dev_root(driver_root: str) -> str:
    """Give where the device nodes are: in the driver root if it has some, else on the host."""
    with Root(driver_root) as root:
        return driver_root if root.exists(CONTROL) or not os.path.exists(CONTROL) else "/"


def _partitions(folder: str) -> Iterator[str]:
    """Give the folder of a GPU's instances and those of the instances' own parts."""
    yield folder
    yield from (f"{folder}/{name}" for name in jit.names(folder) or () if name.startswith("gi"))


def _nodes(generated: Generated, root: Root, nodes: Root) -> Iterator[str]:
    """Give the nodes and sockets there are and those there could be."""
    spec = generated.spec
    for edits in (spec.container_edits, *(device.container_edits for device in spec.devices)):
        yield from (node.host_path or node.path for node in edits.device_nodes)
    table = libraries.table()
    yield from (nodes.outer(path) for path in table.nodes)
    yield from (nodes.outer(f"/dev/nvidia{gpu['minor']}") for gpu in generated.sidecar["gpus"])
    yield from (root.outer(path) for use in table.sockets for path in use.files)


def _moved(signs: Signs, began: int) -> bool:
    """Tell whether anything may have changed since the look began, by the clock of the kernel."""
    times = [stamp[_CTIME] for stamp in signs["stamps"].values() if stamp]
    for path, known in signs["nodes"].items():
        if known is not None:
            try:
                times.append(os.stat(path).st_ctime_ns)
            except OSError:
                return True
    return any(moment >= began - sources.TICK_NS for moment in times)


def _described(generated: Generated, driver_root: str, signs: Signs) -> dict[str, Any]:
    beside = sidecar.Sidecar(facts=generated.sidecar)
    spec = generated.spec
    devices = {
        device.name: sidecar.woven(device.container_edits, beside, _no_table)
        for device in spec.devices
    }
    return {
        "format": jit.FORMAT,
        "generator": compiler.GENERATOR,
        "root": driver_root,
        "made": time.time(),
        "signs": signs,
        "missing": [str(one) for one in generated.missing],
        "specs": [
            {
                "path": "",
                "priority": 0,
                "kind": spec.kind,
                "cdiVersion": spec.cdi_version,
                "containerEdits": sidecar.woven(spec.container_edits, beside, _no_table),
                "devices": devices,
                **beside.beside(),
            }
        ],
        "devices": {f"{jit.KIND}={name}": 0 for name in devices},
        "conflicts": {},
        "errors": [],
    }


def _no_table(path: str) -> tuple[str, ...]:
    del path
    return ()
