# SPDX-License-Identifier: Apache-2.0
"""The driver of a root as it is now, described for container starts, with signs of its changes.

`gpubind.jit` compares the signs at each start.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpubind import jit
from gpubind.root import Root
from gpubind_cdi import compile as compiler
from gpubind_cdi import driver as drivers
from gpubind_cdi import generate, sidecar, signs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gpubind_cdi.generate import Generated
    from gpubind_cdi.gpu import GpuSource
    from gpubind_cdi.modes.mode import Options
    from gpubind_cdi.signs import Signs

CONTROL = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg")  # a driver's, a Tegra's, WSL2's
VENDOR, CLASS = jit.KIND.split("/")


def document(
    options: Options,
    driver_root: str,
    source: Callable[[Root], GpuSource],
    config_files: Iterable[str] = (),
    clock: Callable[[], int] = time.time_ns,
    dev_root: str = "",
) -> dict[str, Any]:
    """Give what a start reads: the spec, and the signs of what it depends on.

    `config_files` are those the options come from, `clock` gives the time, in ns, `dev_root` is
    the folder above /dev where that is known. Raises ToolkitError as `generate.generate` and
    `signs.settled` do.
    """
    wanted = replace(options, vendor=VENDOR, device_class=CLASS)
    places = (driver_root, dev_root or _dev_root(driver_root))
    with Root(places[0]) as root, Root(places[1]) as nodes, Root("/") as host:
        system = next((one for one in (root, nodes) if drivers.holds_system(one)), host)
        generated, taken = signs.settled(
            lambda: generate.generate(wanted, source(root), root, nodes, system),
            *(root, nodes, system),
            more=config_files,
            clock=clock,
        )
    return _described(generated, driver_root, taken)


def write(state: str, facts: dict[str, Any], kind: str = jit.JIT) -> None:
    """Put the document where starts look for it, whole or not at all; `kind` as in `jit`."""
    facts["specs"][0]["path"] = f"{state}/{kind}.json"
    compiler.make_folder(state)
    compiler.put(state, f"{kind}.json", facts)


def _dev_root(driver_root: str) -> str:
    """Give where the device nodes are: in the driver root if it has some, else on the host."""
    with Root(driver_root) as root:
        own = any(map(root.exists, CONTROL))
        return driver_root if own or not any(map(os.path.exists, CONTROL)) else "/"


def _described(generated: Generated, driver_root: str, taken: Signs) -> dict[str, Any]:
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
        "signs": {kind: taken[kind] for kind in jit.SIGNS},
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
