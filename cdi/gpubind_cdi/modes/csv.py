# SPDX-License-Identifier: Apache-2.0
"""Mode csv: a Tegra, whose integrated GPU no NVML describes, by the lists its packages bring.

One device stands for the GPU, with all nodes the lists name. Where NVML serves a discrete GPU
beside it, each gets a device. docs/jetson.md describes both.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError
from gpubind.operation import compat
from gpubind.root import Root
from gpubind_cdi import mountspec, namer, select
from gpubind_cdi.discover import csv, nodes
from gpubind_cdi.discover.found import Found, Missing, together
from gpubind_cdi.driver import Driver
from gpubind_cdi.gpu import Gpu
from gpubind_cdi.lookup import files, library
from gpubind_cdi.modes.mode import Described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.modes.mode import Host, Options
    from gpubind_cdi.mountspec import Lists

FAMILY = "/sys/devices/soc0/family"
COMPAT_ORIN = "/usr/local/cuda/compat_orin"
INTEGRATED = ("(nvgpu)", "NVIDIA Thor")
ON_BUS_1 = "0000:01:00."  # where a Thor shows its own GPU

IGPU_ONLY, IGPU_RENDER = "/dev/nvidia1", "/dev/nvidia2"
DISCRETE = re.compile(r"/dev/nvidia([0-9]+|ctl|-modeset|-uvm|-uvm-tools)")
UNKNOWN = Gpu(index=0, uuid="", minor=0, pci="", name="", brand="", architecture="")


def sign(host: Host) -> str:
    """Say what speaks for this mode: a Tegra's files where NVML knows no GPU, or an integrated GPU.

    NVML is asked on Tegras and other arm machines alone.
    """
    tegra = _tegra(host)
    if not tegra and host.machine != "aarch64":
        return ""
    known, silence = _gpus(host)
    own = next((gpu.name for gpu in known if _is_named_integrated(gpu)), "")
    if own:
        return f"the GPU {own} is integrated"
    return f"{tegra}, and NVML knows no GPU: {silence}" if tegra and not known else ""


def _tegra(host: Host) -> str:
    if files.find(host.root, csv.RELEASE):
        return f"{host.root.outer(csv.RELEASE)} is there"
    family = files.text(host.system, FAMILY).strip()
    return f"this is a {family}" if family.lower().startswith("tegra") else ""


def describe(host: Host, options: Options) -> Described:
    """Give what the lists name.

    Raises UsageError for a device there is not, ToolkitError where no list or no node is there.
    """
    strategies = namer.checked(options.device_name_strategies)
    lists = _lists(host, options)
    known, silence = _gpus(host)
    listed = csv.nodes(host.dev_root, lists.entries)
    if not listed.nodes and options.device_ids != (select.NONE,):
        raise _no_nodes(host, lists)
    plain, why_plain = _is_plain(known, options)
    gpus = (known[0] if len(known) == 1 else UNKNOWN,) if plain else known
    devices = {}
    for one in select.devices(options.device_ids, gpus, ()):
        names = namer.names(strategies, one.gpu) or (f"{one.gpu.index}",)
        devices[names] = listed if plain else _of(host, listed, one.gpu)
    ignored = mountspec.ignored(options.csv_ignore_patterns)
    search = tuple(library.inner(host.root, name) for name in options.library_search_paths)
    found = csv.files(host.root, lists.entries, ignored, search)
    inputs = Found(inputs=(*lists.inputs, *listed.inputs), missing=listed.missing)
    cuda = host.gpus.cuda_version() if not silence else ""
    return Described(
        common=together([found, csv.release(host.root), inputs]),
        devices={names: replace(one, missing=()) for names, one in devices.items()},
        missing=(*lists.missing, *_remarks(silence, why_plain)),
        operations=_operations(options, known, cuda),
        driver=_driver(host) if not silence else None,
        cuda=cuda,
        gpus=known,
        notes=_notes(lists, [*found.missing, *listed.missing]),
    )


def _lists(host: Host, options: Options) -> Lists:
    """Read the lists: those given, in the driver root or else on this machine; or the usual."""
    usual = mountspec.names(host.root, options.csv_folder, every=options.csv_every)
    given = tuple(library.inner(host.root, name) for name in options.csv_files)
    inside = tuple(name for name in given if host.root.exists(name))
    lists = mountspec.read(host.root, inside if given else usual)
    if options.csv_every:  # one that comes changes its folder
        folder = (host.root.outer(options.csv_folder), 0, 0)
        lists = replace(lists, inputs=(*lists.inputs, folder))
    outside = tuple(name for name in given if name not in inside)
    if outside:
        with Root("/") as machine:
            more = mountspec.read(machine, outside)
        lists = mountspec.Lists(
            entries=(*lists.entries, *more.entries),
            missing=(*lists.missing, *(replace(one, required=True) for one in more.missing)),
            inputs=(*lists.inputs, *more.inputs),
        )
    if not lists.entries:
        reasons = "; ".join(str(one).replace("skipped: ", "") for one in lists.missing[:4])
        raise ToolkitError(
            f"no list of a Tegra's files can be used: {reasons or 'there is none'}",
            identifier="CSV-LISTS",
            hint="install the packages of L4T that bring them, or name one with --csv.file",
        )
    return lists


def _gpus(host: Host) -> tuple[Sequence[Gpu], str]:
    """Give the GPUs NVML knows, or none and why: many a Tegra has no NVML."""
    try:
        known = host.gpus.gpus()
    except ToolkitError as error:
        return (), error.message
    return known, "" if known else "it serves none"


def _is_named_integrated(gpu: Gpu) -> bool:
    return INTEGRATED[0] in gpu.name or gpu.name == INTEGRATED[1]


def _is_integrated(gpu: Gpu) -> bool:
    return gpu.pci.startswith(ON_BUS_1) or (not gpu.pci and _is_named_integrated(gpu))


def _is_plain(known: Sequence[Gpu], options: Options) -> tuple[bool, str]:
    """Tell whether one device stands for all, and why where NVML knows several GPUs."""
    if len(known) < 2:
        return True, ""
    if not options.csv_multiple:
        return True, "disable-multiple-csv-devices is set"
    if not _is_integrated(known[0]) or any(map(_is_integrated, known[1:])):
        return True, "not the first GPU alone is integrated"
    if any(gpu.mig_enabled for gpu in known):
        return True, "a GPU has MIG enabled, which is not supported beside an integrated one"
    return False, ""


def _of(host: Host, listed: Found, gpu: Gpu) -> Found:
    """Give the nodes of one of several GPUs; the lists are of the integrated one."""
    if _is_integrated(gpu):
        own = [node for node in listed.nodes if node.path != IGPU_ONLY]
        render = nodes.node(host.dev_root, IGPU_RENDER, nodes.gpu_use(IGPU_RENDER))
        return together([Found(nodes=tuple(own)), Found(nodes=render.nodes)])
    shared = [node for node in listed.nodes if not DISCRETE.fullmatch(node.path)]
    driver = _driver(host)
    return together([nodes.gpu(driver, gpu), nodes.control(driver), Found(nodes=tuple(shared))])


def _driver(host: Host) -> Driver:
    return Driver(
        root=host.root,
        dev_root=host.dev_root,
        system=host.system,
        version=host.gpus.driver_version(),
        machine=host.machine,
        folders=(),
    )


def _operations(options: Options, known: Sequence[Gpu], cuda: str) -> tuple[compat.CudaCompat, ...]:
    """Give the look at an image's own CUDA libraries: by CUDA's version, never the driver's."""
    if not cuda:
        return ()
    orin = any("Orin (nvgpu)" in gpu.name for gpu in known)
    folder = options.csv_compat_root or (COMPAT_ORIN if orin else compat.FOLDER)
    return (compat.CudaCompat("", cuda, folder),)


def _no_nodes(host: Host, lists: Lists) -> ToolkitError:
    named = sum(entry.kind == mountspec.DEVICE for entry in lists.entries)
    return ToolkitError(
        f"no GPU to describe: none of the {named} device nodes that the lists name is a character "
        f"device in {host.dev_root.path}",
        identifier="CSV-NODES",
        hint="see ls /dev/nvmap; give the root of /dev with --dev-root",
    )


def _remarks(silence: str, plain: str) -> tuple[Missing, ...]:
    rows = (("NVML", silence), ("a device for each GPU", plain))
    return tuple(Missing(what=what, reason=why, required=False) for what, why in rows if why)


def _notes(lists: Lists, absent: Sequence[Missing]) -> tuple[str, ...]:
    lost = len(absent) + len(lists.missing)
    if not lost:
        return ()
    text = f"{len(lists.entries)} entries in the lists, {lost} that are not there or can't be used"
    return (f"{text}: --explain-missing names them",)
