# SPDX-License-Identifier: Apache-2.0
"""A host as its mode describes it, as a CDI spec and the sidecar that goes with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpubind.root import Root
from gpubind_cdi import driver as drivers
from gpubind_cdi import hooks, limit, select, shapes, sidecar_writer, validate
from gpubind_cdi.discover.found import Found, Missing, together
from gpubind_cdi.model import ContainerEdits, Device, DeviceNode, Mount, Spec
from gpubind_cdi.modes import table
from gpubind_cdi.modes.mode import Described, Host

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from gpubind import plan
    from gpubind_cdi.gpu import GpuSource
    from gpubind_cdi.modes.mode import Mode, Options

NONE_ENV = "NVCT_EMPTY_DEVICE="


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """A valid spec, its sidecar (not yet tied to a file), and what is not in them.

    `mode` is the one that described the host, `reason` why it was that. `missing` is required and
    not there, or a GPU that was left out: generation was partial. `explain_missing` is what a
    healthy host may lack; `left_out` what `cdi_version_max` cost; `notes` what was chosen and why.
    """

    spec: Spec
    sidecar: dict[str, Any]
    mode: str = ""
    reason: str = ""
    missing: tuple[Missing, ...] = ()
    explain_missing: tuple[Missing, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def generate(
    options: Options, gpus: GpuSource, root: Root, dev_root: Root, system: Root | None = None
) -> Generated:
    """Give the spec of what the options' mode finds: the driver in `root`, the source's GPUs.

    `system` holds the kernel's /proc and /sys; by default the driver root itself or that of /dev,
    where it has them (a simulated node), else the host. Raises UsageError for options that name
    nothing, ToolkitError where there is nothing of the mode's kind or what there is does not fit
    together, DocumentError where the result would break a rule of CDI.
    """
    if system is None:
        for own in (root, dev_root):
            if drivers.holds_system(own):
                return generate(options, gpus, root, dev_root, own)
        with Root("/") as here:
            return generate(options, gpus, root, dev_root, here)
    names = hooks.wanted(options.disable_hooks, options.enable_hooks)
    shapes.check(options.shape, options.enable_hooks)
    machine = options.machine or drivers.machine(system)
    host = Host(root=root, dev_root=dev_root, system=system, gpus=gpus, machine=machine)
    mode, reason = table.resolve(options.mode, host)
    described, names = _shaped(mode.describe(host, options), options.shape, names)
    spec, left_out = _spec(options, mode, described, names)
    found = (described.common, *described.devices.values())
    absent = [*described.missing, *(one for part in found for one in part.missing)]
    return Generated(
        spec=spec,
        sidecar=sidecar_writer.document(root.path, described, names),
        mode=mode.name,
        reason=reason,
        missing=tuple(dict.fromkeys(one for one in absent if one.required)),
        explain_missing=tuple(dict.fromkeys(one for one in absent if not one.required)),
        left_out=left_out,
        notes=described.notes,
    )


def _shaped(
    described: Described, shape: str, names: tuple[str, ...]
) -> tuple[Described, tuple[str, ...]]:
    """Give what was described in its shape, and the names of the hooks that has."""
    if shape == shapes.HOOKS:
        return _only(described, names), names
    free = _only(shapes.hook_free(described), ())
    return (shapes.nested(free) if shape == shapes.NESTED else free), ()


def _only(described: Described, names: Collection[str]) -> Described:
    """Give what was described without what only a hook that is not wanted would do."""
    return replace(
        described,
        common=_without(described.common, names),
        devices={known: _without(found, names) for known, found in described.devices.items()},
        operations=tuple(one for one in described.operations if hooks.name(one) in names),
    )


def _without(found: Found, names: Collection[str]) -> Found:
    if hooks.LINKS not in names:
        found = replace(found, links=())
    return found if hooks.CACHE in names else replace(found, entries=(), folders=())


def _spec(
    options: Options, mode: Mode, described: Described, names: Sequence[str]
) -> tuple[Spec, tuple[str, ...]]:
    """Give the valid spec and what the oldest engine's version cost."""
    devices = sorted(_devices(options, described, names), key=lambda device: device.name)
    full = Spec(
        kind=f"{options.vendor or mode.vendor}/{options.device_class or mode.device_class}",
        devices=tuple(devices),
        container_edits=_common_edits(options, described),
    )
    highest = options.cdi_version_max
    spec, left_out = limit.fit(full, highest, firm=not options.cdi_version_for)
    validate.check(spec, writing=True)
    return spec, left_out


def _devices(options: Options, described: Described, wanted: Sequence[str]) -> Iterator[Device]:
    for names, found in described.devices.items():
        edits = _edits(options, found, hooks.own(wanted, found))
        yield from (Device(name=name, container_edits=edits) for name in names)
    if select.NONE in options.device_ids:
        yield Device(name=select.NONE, container_edits=ContainerEdits(env=(NONE_ENV,)))
    elif not options.no_all_device and not any(select.ALL in names for names in described.devices):
        found = together(described.devices.values())
        every = _edits(options, found, hooks.own(wanted, found))
        yield Device(name=select.ALL, container_edits=every)


def _common_edits(options: Options, described: Described) -> ContainerEdits:
    found = described.common
    env = [*described.env, "NVIDIA_VISIBLE_DEVICES=void"]
    if found.folders:
        env.insert(0, f"NVIDIA_CTK_LIBCUDA_DIR={':'.join(found.folders)}")
    return replace(_edits(options, found, described.operations), env=tuple(env))


def _edits(options: Options, found: Found, more: Sequence[plan.Operation]) -> ContainerEdits:
    gids = {node.gid for node in found.nodes if node.gid and node.mode & 0o006 != 0o006}
    return ContainerEdits(
        device_nodes=tuple(
            DeviceNode(
                path=node.path,
                host_path="" if node.host == node.path else node.host,
                type="c",
                major=node.major,
                minor=node.minor,
                file_mode=node.mode,
                permissions="rwm",
            )
            for node in sorted(found.nodes, key=lambda node: _depth(node.path))
        ),
        hooks=tuple(hooks.entry(options.hook_path, found, more)),
        mounts=tuple(
            Mount(host_path=mount.host, container_path=mount.container, options=mount.options)
            for mount in sorted(found.mounts, key=lambda mount: _depth(mount.container))
        ),
        additional_gids=tuple(sorted(gids)) if options.additional_gids else (),
    )


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path
