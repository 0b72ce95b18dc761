# SPDX-License-Identifier: Apache-2.0
"""`gpubind info`: the driver and the GPUs of a driver root."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click
from gpubind_cdi import driver as drivers
from gpubind_cdi.discover import shared
from gpubind_cdi.modes import table
from gpubind_cdi.modes.mode import Host, Options
from gpubind_cdi.simulated import Simulated

from gpubind.root import Root
from gpubind_ctl import options, roots, sources
from gpubind_ctl.answer import Answer
from gpubind_ctl.simulate import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.discover.found import Entry
    from gpubind_cdi.gpu import Fault, Gpu, GpuSource
    from gpubind_cdi.modes.mode import Mode

NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.driver_root
@options.dev_root
def command(as_json: bool, driver_root: str, dev_root: str | None) -> Answer:  # noqa: FBT001 - click's signature
    """Show the driver, its GPUs and MIG devices, and what it can do for containers.

    Exit status 3: some GPUs could not be read; they are named.
    """
    places = roots.of(driver_root, dev_root)
    with Root(places.driver) as root, Root(places.dev) as nodes, Root("/") as here:
        source = sources.of(root, (), nodes)
        system = next((one for one in (root, nodes) if drivers.holds_system(one)), here)
        facts = _facts(source, root, nodes, system)
    faults = tuple(f"GPU {fault['index']}: {fault['message']}" for fault in facts["faults"])
    text = json.dumps(facts, indent=2) + "\n" if as_json else _text(facts)
    return Answer(text=text, notes=(*places.notes, *faults), status=3 if faults else 0)


def _facts(source: GpuSource, root: Root, nodes: Root, system: Root) -> dict[str, Any]:
    machine = drivers.machine(system)
    host = Host(root=root, dev_root=nodes, system=system, gpus=source, machine=machine)
    mode, reason = table.resolve(table.AUTO, host)
    known = _driver(host) if mode.name == "nvml" else _otherwise(mode, host)
    simulated = source.inventory().profile if isinstance(source, Simulated) else ""
    return {
        "driver": {
            "version": known.version,
            "cuda": known.cuda,
            "kernel": drivers.kernel_version(system),
            "root": root.path,
            "folders": list(known.folders),
        },
        "simulated": simulated,
        "mode": mode.name,
        "mode_reason": reason,
        "capabilities": sorted({one for entry in known.entries for one in entry.capabilities}),
        "nodes": {path: nodes.exists(path) for path in known.nodes},
        "note": note.read(nodes),
        "gpus": [dataclasses.asdict(gpu) for gpu in known.gpus],
        "faults": [{"index": one.index, "message": one.message} for one in known.faults],
    }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is shown of a driver, however it was found."""

    version: str
    cuda: str
    folders: Sequence[str]
    entries: Sequence[Entry]
    nodes: Sequence[str]
    gpus: Sequence[Gpu]
    faults: Sequence[Fault] = ()


def _driver(host: Host) -> _Known:
    driver = drivers.look(host)
    return _Known(
        version=driver.version,
        cuda=host.gpus.cuda_version(),
        folders=[folder.path for folder in driver.folders if folder.names],
        entries=shared.discover(driver).entries,
        nodes=NODES,
        gpus=host.gpus.gpus(),
        faults=host.gpus.faults(),
    )


def _otherwise(mode: Mode, host: Host) -> _Known:
    """Give what a mode that may do without NVML found."""
    described = mode.describe(host, Options())
    nodes = {node.path for found in described.devices.values() for node in found.nodes}
    return _Known(
        version=described.driver.version if described.driver else "",
        cuda=described.cuda,
        folders=described.common.folders,
        entries=described.common.entries,
        nodes=sorted(nodes),
        gpus=described.gpus,
    )


def _text(facts: dict[str, Any]) -> str:
    driver = facts["driver"]
    version, cuda = driver["version"] or "unknown", driver["cuda"] or "unknown"
    kernel = driver["kernel"] or "not loaded"
    profile = f" (simulated node {facts['simulated']})" if facts["simulated"] else ""
    absent = [path for path, there in facts["nodes"].items() if not there]
    remark = f" ({facts['note']})" if facts["note"] else ""
    rows = [
        f"driver        {version}, CUDA {cuda}, kernel module {kernel}",
        f"root          {driver['root']}{profile}",
        f"libraries     {', '.join(driver['folders'])}",
        f"capabilities  {', '.join(facts['capabilities'])}",
        f"mode          {facts['mode']}: {facts['mode_reason']}",
        f"nodes         {'absent: ' + ', '.join(absent) if absent else 'all there'}{remark}",
    ]
    for gpu in facts["gpus"]:
        rows.append(
            f"GPU {gpu['index']:<9} {gpu['name']}, {gpu['uuid']}, {gpu['pci'] or 'on no PCI bus'}, "
            f"/dev/nvidia{gpu['minor']}, {gpu['brand']} {gpu['architecture']}"
        )
        rows += [
            f"  MIG {gpu['index']}:{mig['index']:<5} {mig['profile']}, {mig['uuid']}, "
            f"GPU instance {mig['gi']}, compute instance {mig['ci']}"
            for mig in gpu["mig"]
        ]
    return "\n".join(rows) + "\n"
