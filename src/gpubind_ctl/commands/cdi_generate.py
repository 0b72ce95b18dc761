# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi generate`: find the driver and its GPUs, write a CDI spec."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
from gpubind_cdi import document, files, generate, namer, names, version

from gpubind import paths
from gpubind.errors import ToolkitError, UsageError
from gpubind.root import Root
from gpubind_ctl import options, sources
from gpubind_ctl.answer import Answer

if TYPE_CHECKING:
    from gpubind_cdi.generate import Generated

# The field's modes; those that map to nothing are not available yet.
MODES = ("auto", "nvml", "csv", "gdrcopy", "gds", "imex", "management", "mofed", "nvswitch", "wsl")
AVAILABLE = ("auto", "nvml")
GIDS_SINCE = "0.7.0"

# The field's feature flags: what each changes in the options, None where it is not available yet.
FLAGS: dict[str, dict[str, Any] | None] = {
    "disable-ipc-discoverer": {"ipc": False},
    "disable-multiple-csv-devices": {},
    "disable-nvsandbox-utils": {},
    "disable-nvsandboxutils": {},
    "enable-coherent-annotations": None,
    "enable-explicit-driver-libraries": {"vendor_neutral": True},
    "no-additional-gids-for-device-nodes": {"additional_gids": False},
}
_ENV = "NVIDIA_CTK_CDI_GENERATE_"


@click.command()
@click.option(
    "--output",
    metavar="FILE",
    envvar="NVIDIA_CTK_CDI_OUTPUT_FILE_PATH",
    help="Where to write; engines read *.yaml and *.json. Without it: standard output.",
)
@click.option(
    "--format",
    "form",
    metavar="yaml|json",
    envvar=f"{_ENV}OUTPUT_FORMAT",
    help="By default what the output's name says, else yaml.",
)
@click.option(
    "--mode",
    "--discovery-mode",
    metavar="MODE",
    envvar=f"{_ENV}MODE",
    default="auto",
    show_default=True,
    help="How to look for devices: auto or nvml.",
)
@options.driver_root
@options.dev_root
@options.listed(
    "--device-name-strategy",
    metavar="index|uuid|type-index",
    env=f"{_ENV}DEVICE_NAME_STRATEGIES",
    help="How devices are named; by default index and uuid.",
)
@options.listed(
    "--library-search-path",
    metavar="DIR",
    env=f"{_ENV}LIBRARY_SEARCH_PATHS",
    help="Where libraries are, instead of the usual folders.",
)
@options.listed(
    "--config-search-path",
    metavar="DIR",
    env=f"{_ENV}CONFIG_SEARCH_PATHS",
    help="Where the driver's data files are, instead of the usual folders.",
)
@click.option(
    "--nvidia-cdi-hook-path",
    "--nvidia-ctk-path",
    "hook_path",
    metavar="FILE",
    envvar="NVIDIA_CTK_CDI_HOOK_PATH",
    default=paths.HOOK,
    show_default=True,
    help="The program that the spec's hooks name.",
)
@click.option(
    "--ldconfig-path",
    metavar="FILE",
    envvar=f"{_ENV}LDCONFIG_PATH",
    help="Checked and not used: no ldconfig is needed.",
)
@click.option(
    "--vendor",
    "--cdi-vendor",
    envvar=f"{_ENV}VENDOR",
    default="nvidia.com",
    show_default=True,
    help="The vendor in the spec's kind.",
)
@click.option(
    "--class",
    "--cdi-class",
    "device_class",
    envvar=f"{_ENV}CLASS",
    default="gpu",
    show_default=True,
    help="The class in the spec's kind.",
)
@options.listed(
    "--disable-hook",
    "--disable-hooks",
    metavar="HOOK",
    env=f"{_ENV}DISABLED_HOOKS",
    help="A hook to leave out, or all.",
)
@options.listed(
    "--enable-hook",
    "--enable-hooks",
    metavar="HOOK",
    env=f"{_ENV}ENABLED_HOOKS",
    help="A hook to keep though it is disabled.",
)
@options.listed(
    "--feature-flag",
    "--feature-flags",
    metavar="FLAG",
    env=f"{_ENV}FEATURE_FLAGS",
    help=f"One of {', '.join(FLAGS)}.",
)
@click.option(
    "--no-all-device",
    is_flag=True,
    envvar=f"{_ENV}NO_ALL_DEVICE",
    help="Leave out the device 'all'.",
)
@options.listed(
    "--device-id",
    "--device-ids",
    "--device",
    "--devices",
    metavar="ID",
    env=f"{_ENV}DEVICE_IDS",
    help="Describe these devices only: index, UUID, PCI address, all or none.",
)
@click.option(
    "--cdi-version-max",
    metavar="VERSION",
    default="",
    help="The newest CDI version all engines read; what needs a newer one is left out and said. "
    f"From {GIDS_SINCE} on, the groups of device nodes are included.",
)
@click.option("--explain-missing", is_flag=True, help="Also name what a healthy host may lack.")
@click.option("--strict", is_flag=True, help="Write nothing if something required is missing.")
@options.state_dir
def command(
    *,
    output: str | None,
    form: str | None,
    mode: str,
    driver_root: str,
    dev_root: str | None,
    ldconfig_path: str | None,
    explain_missing: bool,
    strict: bool,
    state_dir: str,
    **chosen: Any,
) -> Answer:
    """Write the CDI spec of a driver root and its GPUs.

    Exit status 3: written, but without something required that was not found, which is named.
    """
    _check(mode, ldconfig_path, chosen["hook_path"])
    wanted = _options(**chosen)
    to_file = output not in (None, "", "-")
    files.place(output if to_file and output else "-", form or "")
    generated = look(wanted, driver_root, dev_root or driver_root)
    if strict and generated.missing:
        raise ToolkitError(
            f"nothing written: {'; '.join(map(str, generated.missing))}",
            identifier="GEN-INCOMPLETE",
            hint="mend that, or leave out --strict",
        )
    notes = _notes(generated, explain_missing=explain_missing)
    status = 3 if generated.missing else 0
    if not (to_file and output):
        text = document.dump(generated.spec.document(), form or "yaml").decode()
        return Answer(text=text, notes=notes, status=status)
    saved = files.save(generated, output, form=form or "", state=state_dir)
    devices = len(generated.spec.devices)
    done = f"{saved.spec}: CDI {generated.spec.cdi_version}, {devices} devices of "
    return Answer(notes=(f"{done}{generated.spec.kind}", *notes), status=status)


def look(wanted: generate.Options, driver_root: str, dev_root: str) -> Generated:
    """Generate from the two roots; errors as for `generate.generate`, OSError for no such root."""
    with Root(driver_root) as root, Root(dev_root) as nodes:
        gpus = sources.of(root, wanted.library_search_paths)
        return generate.generate(wanted, gpus, root, nodes)


def _check(mode: str, ldconfig_path: str | None, hook_path: str) -> None:
    """Raise UsageError for a mode that is none or not there yet, and for relative programs."""
    if mode.lower() not in MODES:
        hint = f"use one of {', '.join(AVAILABLE)}"
        raise UsageError(f"no discovery mode {mode!r}", identifier="USE-MODE", hint=hint)
    if mode.lower() not in AVAILABLE:
        hint = f"use one of {', '.join(AVAILABLE)}"
        raise UsageError(
            f"the mode {mode.lower()} is not available yet", identifier="USE-MODE", hint=hint
        )
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


def _options(
    *,
    device_name_strategy: tuple[str, ...],
    library_search_path: tuple[str, ...],
    config_search_path: tuple[str, ...],
    disable_hook: tuple[str, ...],
    enable_hook: tuple[str, ...],
    feature_flag: tuple[str, ...],
    device_id: tuple[str, ...],
    **plain: Any,
) -> generate.Options:
    """Give the command line as generation's options. Raises UsageError for a wrong one."""
    fault = names.kind_fault(f"{plain['vendor']}/{plain['device_class']}")
    if fault:
        raise UsageError(fault, identifier="USE-KIND", hint="see --vendor and --class")
    return generate.Options(
        device_name_strategies=device_name_strategy or namer.DEFAULT_STRATEGIES,
        library_search_paths=library_search_path,
        config_search_paths=config_search_path,
        disable_hooks=disable_hook,
        enable_hooks=enable_hook,
        device_ids=device_id,
        **plain,
        **_features(feature_flag, plain["cdi_version_max"]),
    )


def _features(flags: tuple[str, ...], highest: str) -> dict[str, Any]:
    known = version.bare(highest) in version.KNOWN
    gids = known and version.order(highest) >= version.order(GIDS_SINCE)
    changed: dict[str, Any] = {"additional_gids": gids}
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


def _notes(generated: Generated, *, explain_missing: bool) -> tuple[str, ...]:
    optional = generated.explain_missing if explain_missing else ()
    return (
        *(f"missing: {one}" for one in generated.missing),
        *(f"not there, not required: {one}" for one in optional),
        *(f"left out for --cdi-version-max: {one}" for one in generated.left_out),
    )
