# SPDX-License-Identifier: Apache-2.0
"""What a mode is given and what it gives: a host and the operator's options, then a description.

A mode is a module with a function `describe(host, options) -> Described`. It finds things and says
what is missing; what a spec looks like is `gpubind_cdi.generate`'s alone. Where a host has nothing
of its kind it raises ToolkitError, where options name nothing UsageError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind import paths
from gpubind_cdi import mountspec, namer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gpubind.plan import Special
    from gpubind.root import Root
    from gpubind_cdi.discover.found import Found, Missing
    from gpubind_cdi.driver import Driver
    from gpubind_cdi.gpu import Gpu, GpuSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an operator can choose; each field is the command's option of that name.

    An empty `vendor` or `device_class` is the mode's own. `library_search_paths` and
    `config_search_paths` replace the usual folders; `cdi_version_for` is who limits the version
    where the operator does not; `ipc` mounts the daemons' sockets; `mps_pipe` is the pipe folder of
    the multi-process service; `vendor_neutral` adds the dispatching GL and OpenCL libraries;
    `machine` is as uname(2) gives it, by default the kernel module's; `shape` is one of
    `shapes.NAMES`; `coherent` describes only GPUs that use the CPU's page tables, or only others;
    `by_coherence` wants a spec of each besides.

    For mode csv: `csv_files` are the lists to read, by default the usual ones in `csv_folder`, or
    with `csv_every` all there; `csv_multiple` allows a device for each of several GPUs.
    """

    mode: str = "auto"
    vendor: str = ""
    device_class: str = ""
    device_name_strategies: tuple[str, ...] = namer.DEFAULT_STRATEGIES
    library_search_paths: tuple[str, ...] = ()
    config_search_paths: tuple[str, ...] = ()
    hook_path: str = paths.HOOK
    disable_hooks: tuple[str, ...] = ()
    enable_hooks: tuple[str, ...] = ()
    no_all_device: bool = False
    device_ids: tuple[str, ...] = ()
    cdi_version_max: str = ""
    cdi_version_for: str = ""
    additional_gids: bool = False
    ipc: bool = True
    mps_pipe: str = ""
    vendor_neutral: bool = False
    machine: str = ""
    shape: str = "hooks"
    coherent: bool | None = None
    by_coherence: bool = False
    csv_files: tuple[str, ...] = ()
    csv_folder: str = mountspec.FOLDER
    csv_every: bool = False
    csv_ignore_patterns: tuple[str, ...] = ()
    csv_compat_root: str = ""
    csv_multiple: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine: where its driver, its /dev, its /proc and /sys are, and who knows its GPUs.

    `machine` is as uname(2) gives it.
    """

    root: Root
    dev_root: Root
    system: Root
    gpus: GpuSource
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a mode found on a host: what every container gets, and what each device adds to it.

    `devices` maps a device's names to its find; a device `all` of all of them is added where none
    has that name. `missing` is what no device stands for. `operations` are what containers need
    besides links and loader entries, `env` variables besides the usual. `driver`, `cuda` and
    `gpus` are facts for the sidecar, where the mode knows them. `notes` are lines for the operator
    about what was chosen and why.
    """

    common: Found
    devices: Mapping[tuple[str, ...], Found]
    missing: tuple[Missing, ...] = ()
    operations: tuple[Special, ...] = ()
    env: tuple[str, ...] = ()
    driver: Driver | None = None
    cuda: str = ""
    gpus: Sequence[Gpu] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A kind of device: its name, its vendor and class, and who describes it.

    `asks_gpus` is whether it asks who knows the GPUs; other modes go by device nodes alone.
    """

    name: str
    vendor: str = "nvidia.com"
    device_class: str = "gpu"
    asks_gpus: bool = True
    describe: Callable[[Host, Options], Described]
