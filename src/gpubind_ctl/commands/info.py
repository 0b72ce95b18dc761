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

from gpubind_ctl import engine_versions, options, roots, settings, sources
from gpubind_ctl.answer import Answer
from gpubind_ctl.simulate import note

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpubind_cdi.discover.found import Entry
    from gpubind_cdi.gpu import Fault, Gpu, GpuSource
    from gpubind_cdi.modes.mode import Mode

    from gpubind.root import Root

NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.driver_root
@options.dev_root
@options.spec_dirs
@options.config_file
@options.state_dir
def command(
    *,
    as_json: bool,
    driver_root: str,
    dev_root: str | None,
    spec_dir: tuple[str, ...],
    config_file: str,
    state_dir: str,
) -> Answer:
    """Show the driver, its GPUs and MIG devices, and what it can do for containers.

    Also the container engines that are installed and the CDI specs they find. Exit status 3: some
    GPUs could not be read; they are named.
    """
    with roots.opened(driver_root, dev_root) as found:
        source = sources.of(found.driver, (), found.nodes)
        facts = _facts(source, found.driver, found.nodes, found.system)
    facts |= {"engines": _engines(), "specs": _specs(config_file, spec_dir, state_dir)}
    faults = tuple(f"{fault['what']}: {fault['message']}" for fault in facts["faults"])
    text = json.dumps(facts, indent=2) + "\n" if as_json else _text(facts)
    return Answer(text=text, notes=(*found.notes, *faults), status=3 if faults else 0)


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
        "faults": [
            {"index": one.index, "what": one.what, "message": one.message} for one in known.faults
        ],
    }


def _engines() -> list[dict[str, Any]]:
    return [
        {"name": one.name, "version": one.version, "cdi": one.reads, "folders": list(one.folders)}
        for one in engine_versions.installed()
    ]


def _specs(config_file: str, spec_dir: tuple[str, ...], state_dir: str) -> list[dict[str, Any]]:
    """Give the spec files, those that can't be read with the reason."""
    registry = settings.compiled(config_file, spec_dir, state_dir)
    good = [
        {"path": one["path"], "kind": one["kind"], "devices": len(one["devices"]), "error": ""}
        for one in registry["specs"]
    ]
    bad = [
        {"path": one["path"], "kind": "", "devices": 0, "error": one["message"]}
        for one in registry["errors"]
    ]
    return sorted([*good, *bad], key=lambda one: str(one["path"]))


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
    return "".join(f"{row}\n" for row in (*rows, *_devices(facts), *_around(facts)))


def _devices(facts: dict[str, Any]) -> Iterator[str]:
    for gpu in facts["gpus"]:
        yield (
            f"GPU {gpu['index']:<9} {gpu['name']}, {gpu['uuid']}, {gpu['pci'] or 'on no PCI bus'}, "
            f"/dev/nvidia{gpu['minor']}, {gpu['brand']} {gpu['architecture']}"
        )
        yield from (
            f"  MIG {gpu['index']}:{mig['index']:<5} {mig['profile']}, {mig['uuid']}, "
            f"GPU instance {mig['gi']}, compute instance {mig['ci']}"
            for mig in gpu["mig"]
        )


def _around(facts: dict[str, Any]) -> Iterator[str]:
    """Give a line for each engine and each spec file."""
    for one in facts["engines"]:
        reads = f"reads CDI up to {one['cdi']}" if one["cdi"] else "reads no CDI"
        yield f"engine        {one['name']} {one['version'] or 'of unknown version'}, {reads}"
    for one in facts["specs"]:
        what = one["error"] or f"{one['devices']} devices of {one['kind']}"
        yield f"spec          {one['path']}: {what}"
