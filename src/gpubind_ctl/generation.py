# SPDX-License-Identifier: Apache-2.0
"""From the words of `gpubind cdi generate` to generation's options, and the look at the roots."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gpubind_cdi import generate, namer, names, version
from gpubind_cdi.modes.mode import Options

from gpubind.errors import ToolkitError, UsageError
from gpubind.root import Root
from gpubind_ctl import engine_versions, sources
from gpubind_ctl.simulate import note

if TYPE_CHECKING:
    from gpubind_cdi.generate import Generated

NO_GPU = "DRV-NO-GPU"

# The field's feature flags: what each changes in the options, None where it is not available yet.
FLAGS: dict[str, dict[str, Any] | None] = {
    "disable-ipc-discoverer": {"ipc": False},
    "disable-multiple-csv-devices": {"csv_multiple": False},
    "disable-nvsandbox-utils": {},
    "disable-nvsandboxutils": {},
    "enable-coherent-annotations": None,
    "enable-explicit-driver-libraries": {"vendor_neutral": True},
    "no-additional-gids-for-device-nodes": {"additional_gids": False},
}


def look(wanted: Options, driver_root: str, dev_root: str) -> Generated:
    """Generate from the two roots; errors as for `generate.generate`, OSError for no such root."""
    with Root(driver_root) as root, Root(dev_root) as nodes:
        gpus = sources.of(root, wanted.library_search_paths)
        try:
            return generate.generate(wanted, gpus, root, nodes)
        except ToolkitError as error:
            said = note.read(root)
            if not said or error.identifier != NO_GPU:
                raise
            raise ToolkitError(error.message, identifier=NO_GPU, hint=said) from None


def check(ldconfig_path: str | None, hook_path: str) -> None:
    """Raise UsageError for programs that are not given by an absolute path."""
    for option, path in (
        ("--nvidia-cdi-hook-path", hook_path),
        ("--ldconfig-path", (ldconfig_path or "/").removeprefix("@")),
    ):
        if not os.path.isabs(path):
            raise UsageError(
                f"{option} {path} is not an absolute path",
                identifier="USE-PATH",
                hint="engines start hooks by their absolute path",
            )


def options(
    *,
    device_name_strategy: tuple[str, ...],
    library_search_path: tuple[str, ...],
    config_search_path: tuple[str, ...],
    disable_hook: tuple[str, ...],
    enable_hook: tuple[str, ...],
    feature_flag: tuple[str, ...],
    device_id: tuple[str, ...],
    cdi_version_max: str | None,
    **plain: Any,
) -> Options:
    """Give the command line as generation's options. Raises UsageError for a wrong one.

    Without a `cdi_version_max` the engines that are installed say it: None asks them.
    """
    kind = f"{plain['vendor'] or 'any'}/{plain['device_class'] or 'any'}"
    fault = names.kind_fault(kind)
    if fault:
        raise UsageError(fault, identifier="USE-KIND", hint="see --vendor and --class")
    limiting = None
    if cdi_version_max is None:
        cdi_version_max, limiting = engine_versions.lowest(engine_versions.installed())
    return Options(
        cdi_version_max=cdi_version_max,
        cdi_version_for=str(limiting or ""),
        device_name_strategies=device_name_strategy or namer.DEFAULT_STRATEGIES,
        library_search_paths=library_search_path,
        config_search_paths=config_search_path,
        disable_hooks=disable_hook,
        enable_hooks=enable_hook,
        device_ids=device_id,
        **plain,
        **_features(feature_flag, cdi_version_max),
    )


def _features(flags: tuple[str, ...], highest: str) -> dict[str, Any]:
    changed: dict[str, Any] = {"additional_gids": version.bare(highest) in version.KNOWN}
    for flag in flags:
        change = FLAGS.get(flag)
        if change is None:
            state = "is not available yet" if flag in FLAGS else "is none"
            raise UsageError(
                f"the feature flag {flag!r} {state}",
                identifier="USE-FEATURE",
                hint=f"there are: {', '.join(name for name in FLAGS if FLAGS[name] is not None)}",
            )
        changed |= change
    return changed
