# SPDX-License-Identifier: Apache-2.0
"""The plugin's options: each a flag, a variable and a key of the configuration file, in that order.

The table below is all there is; click's options, the file's keys and `--print-config` come from
it. Booleans are given as `--name`, `--name=true` or `--name=false`, lists with commas or several
times, as in the field.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click
from gpubind_cdi import fields

from gpubind.errors import UsageError
from gpubind_plugin import checks, configfile, printing
from gpubind_plugin.config import Config, Health, Imex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TEXT, TRUTH, WORDS, NUMBERS = "TEXT", "true|false", "LIST", "NUMBERS"
TRUE = {"1", "t", "T", "true", "TRUE", "True"}
FILLED = ("driver_root", "container_driver_root", "hook_path")  # empty: as by default
FALSE = {"0", "f", "F", "false", "FALSE", "False"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One option: its attribute in the configuration, its kind, its names, and what it is for.

    `key` is its place in the file, empty where it has none; `empties` is whether an empty variable
    says something.
    """

    attribute: str
    kind: str = TEXT
    flags: tuple[str, ...]
    env: tuple[str, ...]
    key: str = ""
    empties: bool = False
    help: str


def _row(attribute: str, key: str, help: str, kind: str = TEXT, **more: Any) -> Row:  # noqa: A002 - click's word
    """Give a row whose first flag and variable are named after its attribute."""
    flag = attribute.replace("_", "-")
    flags = (f"--{flag}", *more.pop("flags", ()))
    env = (attribute.upper(), *more.pop("env", ()))
    return Row(attribute=attribute, kind=kind, flags=flags, env=env, key=key, help=help, **more)


ROWS = (
    _row("mig_strategy", "flags.migStrategy", "How MIG devices are offered: none, single, mixed."),
    _row("fail_on_init_error", "flags.failOnInitError", "End, or wait, without a driver.", TRUTH),
    _row("mps_root", "flags.mpsRoot", "The host's folder for the MPS daemons' pipes."),
    Row(
        attribute="driver_root",
        flags=("--driver-root", "--nvidia-driver-root"),
        env=("NVIDIA_DRIVER_ROOT",),
        key="flags.nvidiaDriverRoot",
        help="Where the driver is installed on the host.",
    ),
    Row(
        attribute="dev_root",
        flags=("--dev-root", "--nvidia-dev-root"),
        env=("NVIDIA_DEV_ROOT",),
        key="flags.nvidiaDevRoot",
        help="Where /dev is on the host; by default below the driver root.",
    ),
    _row("gdrcopy_enabled", "flags.gdrcopyEnabled", "Give containers GDRCOPY.", TRUTH),
    _row("gds_enabled", "flags.gdsEnabled", "Give containers GPUDirect Storage.", TRUTH),
    _row("mofed_enabled", "flags.mofedEnabled", "Give containers InfiniBand.", TRUTH),
    _row(
        "device_discovery_strategy",
        "flags.deviceDiscoveryStrategy",
        "How GPUs are found: auto, nvml, tegra.",
    ),
    _row(
        "pass_device_specs",
        "flags.plugin.passDeviceSpecs",
        "Have the kubelet give containers the device nodes too.",
        TRUTH,
    ),
    _row(
        "device_list_strategy",
        "flags.plugin.deviceListStrategy",
        "How containers are told: envvar, volume-mounts, cdi-annotations, cdi-cri.",
        WORDS,
    ),
    Row(
        attribute="device_id_strategy",
        flags=("--device-id-strategy",),
        env=("DEVICE_ID_STRATEGY",),
        key="flags.plugin.deviceIDStrategy",
        help="What containers are told of a device: uuid, index.",
    ),
    _row(
        "cdi_annotation_prefix",
        "flags.plugin.cdiAnnotationPrefix",
        "What the annotation's key begins with.",
    ),
    Row(
        attribute="hook_path",
        flags=("--nvidia-cdi-hook-path", "--nvidia-ctk-path"),
        env=("NVIDIA_CDI_HOOK_PATH", "NVIDIA_CTK_PATH"),
        key="flags.plugin.nvidiaCTKPath",
        help="The host's program that the specs' hooks name.",
    ),
    Row(
        attribute="container_driver_root",
        flags=("--driver-root-ctr-path", "--container-driver-root"),
        env=("DRIVER_ROOT_CTR_PATH", "CONTAINER_DRIVER_ROOT"),
        key="flags.plugin.containerDriverRoot",
        help="Where this process sees the driver root.",
    ),
    _row(
        "shared_devices_allocation_policy",
        "flags.plugin.sharedDevicesAllocationPolicy",
        "Which replicas are preferred: distributed, packed, spread.",
    ),
    _row(
        "shared_devices_allocation_strict",
        "flags.plugin.sharedDevicesAllocationStrict",
        "Refuse what the policy can only nearly do.",
        TRUTH,
    ),
    _row(
        "aligned_allocation_strict",
        "flags.plugin.alignedAllocationStrict",
        "Refuse full GPUs that are farther apart than on an idle node.",
        TRUTH,
    ),
    _row("imex_channel_ids", "imex.channelIDs", "The IMEX channels: none, or 0.", NUMBERS),
    _row("imex_required", "imex.required", "Without its IMEX channel nothing is offered.", TRUTH),
    _row(
        "kubelet_socket",
        "",
        "The kubelet's socket; empty: no registration, for tests.",
        empties=True,
    ),
    _row("config_file", "", "The configuration, YAML or JSON."),
    _row("cdi_spec_dir", "", "The folder of the specs that devices are named by."),
    _row("cdi_feature_flags", "", "Feature flags of the specs' generation.", WORDS),
    _row("cdi_disable_hooks", "", "Hooks that the specs leave out; all for none.", WORDS),
    _row("metrics_address", "flags.plugin.metricsAddress", "Serve metrics at HOST:PORT."),
    _row("health_policy_file", "flags.plugin.healthPolicyFile", "Which Xids matter, over our own."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The configuration, where each option that was said comes from, and what is odd in it."""

    config: Config
    said: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command all options; each is a keyword, None or () where it is not said."""
    for row in reversed(ROWS):
        kind: dict[str, Any] = {"multiple": row.kind in (WORDS, NUMBERS)}
        if row.kind == TRUTH:
            kind = {"is_flag": False, "flag_value": "true"}
        about = f"{row.help} [{', '.join(row.env)}]"
        named = click.option(*row.flags, row.attribute, metavar=row.kind, help=about, **kind)
        command = named(command)
    told = "Print the configuration as JSON, and end."
    return click.option("--print-config", is_flag=True, help=told)(command)


def printed(config: Config) -> str:
    """Give the configuration as indented JSON, in the form of its file."""
    return printing.text(config, {row.attribute: row.key for row in ROWS if row.key})


def load(given: Mapping[str, Any], environ: Mapping[str, str]) -> Loaded:
    """Give the configuration that flags, variables and the file they name say together.

    Raises UsageError K8S-OPTION for a wrong flag, variable or combination, ToolkitError K8S-CONFIG
    for the file, with its line, OSError where that can't be read.
    """
    said: dict[str, str] = {}
    values: dict[str, Any] = {}
    for row in ROWS:
        words, source = _said(row, given, environ)
        if source:
            values[row.attribute], said[row.attribute] = _read(row, words, source), source
    file = configfile.read(values.get("config_file", ""), ROWS)
    for attribute, value in file.options.items():
        if attribute not in values:
            values[attribute], said[attribute] = value, file.places[attribute]
    health, warnings = checks.health(environ, values.pop("health_policy_file", ""))
    config = _config(values, health)
    config = replace(config, resources=file.resources, sharing=file.sharing)
    checks.check(config, said)
    return Loaded(config=config, said=said, warnings=(*file.warnings, *warnings))


def _config(values: dict[str, Any], health: Health) -> Config:
    imex = Imex(
        channel_ids=values.pop("imex_channel_ids", ()), required=values.pop("imex_required", False)
    )
    values = {name: value for name, value in values.items() if value or name not in FILLED}
    return Config(**values, imex=imex, health=health)


def _said(row: Row, given: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[Any, str]:
    """Give what is said of an option by flag or else variable, and which; "" where by none."""
    value = given.get(row.attribute)
    if value not in (None, ()):
        return value, row.flags[0]
    for name in row.env:
        if environ.get(name, "") or (row.empties and name in environ):
            return environ[name], name
    return None, ""


def _read(row: Row, words: str | Sequence[str], source: str) -> Any:
    if row.kind == TEXT:
        return words
    if row.kind == TRUTH:
        if words not in TRUE | FALSE:
            raise _wrong(source, f"{fields.quoted(str(words))} is neither true nor false")
        return words in TRUE
    parts = split((words,) if isinstance(words, str) else words)
    if row.kind == WORDS:
        return parts
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) < 10):
            raise _wrong(source, f"{fields.quoted(part)} is no number")
    return tuple(map(int, parts))


def split(words: Sequence[str]) -> tuple[str, ...]:
    """Give the parts between commas, without spaces around them and without empty ones."""
    parts = (part.strip() for word in words for part in word.split(","))
    return tuple(part for part in parts if part)


def _wrong(source: str, message: str) -> UsageError:
    return UsageError(f"{source}: {message}", identifier="K8S-OPTION")
