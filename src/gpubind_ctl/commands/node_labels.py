# SPDX-License-Identifier: Apache-2.0
"""`gpubind node-labels`: a node's GPUs as labels, in a file for node-feature-discovery."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from gpubind_cdi import files

from gpubind.errors import ToolkitError, UsageError
from gpubind_ctl import options
from gpubind_ctl.answer import Answer
from gpubind_ctl.labels import config as configs
from gpubind_ctl.labels import labels, look, service

if TYPE_CHECKING:
    from collections.abc import Callable

OUTPUT = "/etc/kubernetes/node-feature-discovery/features.d/gfd"
DRIVER_ROOT = "/driver-root"
STRATEGIES = ("none", "single", "mixed")
DISCOVERIES = ("auto", "nvml", "tegra")


def _switch(name: str, *env: str, default: bool, help: str) -> Callable[..., Any]:  # noqa: A002 - click's word
    """Give an option that is `--name`, `--name=true` or `--name=false`, as in the field."""
    return click.option(
        f"--{name}",
        type=bool,
        is_flag=False,
        flag_value=True,
        envvar=[*env],
        default=default,
        show_default=True,
        help=help,
    )


@click.command()
@click.option(
    "--output-file",
    "--output",
    "-o",
    metavar="FILE",
    envvar=["GFD_OUTPUT_FILE", "OUTPUT_FILE"],
    default=OUTPUT,
    show_default=True,
    help="Where node-feature-discovery looks for labels; - or nothing is standard output.",
)
@_switch("oneshot", "GFD_ONESHOT", default=False, help="Write the labels once, and end.")
@click.option(
    "--sleep-interval",
    metavar="TIME",
    envvar="GFD_SLEEP_INTERVAL",
    default="60s",
    show_default=True,
    help="How often to look, such as 1m30s; infinite: on SIGHUP only.",
)
@_switch("no-timestamp", "GFD_NO_TIMESTAMP", default=False, help="Leave gfd.timestamp out.")
@click.option(
    "--mig-strategy",
    metavar="NAME",
    envvar=["GFD_MIG_STRATEGY", "MIG_STRATEGY"],
    default="none",
    show_default=True,
    help="How MIG devices are offered: none, single or mixed.",
)
@_switch(
    "fail-on-init-error",
    *("GFD_FAIL_ON_INIT_ERROR", "FAIL_ON_INIT_ERROR"),
    default=True,
    help="Without a driver, fail; else wait for one.",
)
@click.option(
    "--machine-type-file",
    metavar="FILE",
    envvar="GFD_MACHINE_TYPE_FILE",
    default="/sys/class/dmi/id/product_name",
    show_default=True,
    help="What holds the name of the machine's model.",
)
@click.option(
    "--config-file",
    metavar="FILE",
    envvar=["GFD_CONFIG_FILE", "CONFIG_FILE"],
    default="",
    help="The device plugin's config file, which may say the same.",
)
@click.option(
    "--driver-root-ctr-path",
    "--container-driver-root",
    "--driver-root",
    "driver_root",
    metavar="DIR",
    envvar=["DRIVER_ROOT_CTR_PATH", "CONTAINER_DRIVER_ROOT"],
    default=DRIVER_ROOT,
    show_default=f"{DRIVER_ROOT} where that is, else /",
    help="Where the driver is installed, as this process sees it.",
)
@options.dev_root
@click.option(
    "--device-discovery-strategy",
    metavar="NAME",
    envvar=["GFD_DEVICE_DISCOVERY_STRATEGY", "DEVICE_DISCOVERY_STRATEGY"],
    default="auto",
    show_default=True,
    help="auto, nvml or tegra; all ask whoever knows the GPUs.",
)
@_switch(
    "use-node-feature-api",
    *("GFD_USE_NODE_FEATURE_API", "USE_NODE_FEATURE_API"),
    default=False,
    help="Refused: labels are written to a file.",
)
@click.pass_context
def command(context: click.Context, /, **chosen: Any) -> Answer:
    """Write labels that tell schedulers of a node's GPUs, for node-feature-discovery.

    Options win over their environment variables, these over the config file, which is read anew
    at each look. Exit status 3: some GPUs could not be read, the labels tell of the others.
    """
    start = int(time.time())
    wishes, _ = _wishes(context, chosen)

    def give() -> tuple[str, tuple[str, ...]]:
        now, sharing = _wishes(context, chosen)  # the config file may be another by now
        return _look(now, sharing, None if now.no_timestamp else start)

    if wishes.output_file and not wishes.oneshot:
        service.serve(give, wishes.output_file, service.seconds(wishes.sleep_interval), context.obj)
        return Answer()
    written, notes = give()
    status = 3 if any(note.startswith("GPU ") for note in notes) else 0
    if not wishes.output_file:
        return Answer(text=written, notes=notes, status=status)
    files.keep(wishes.output_file, written.encode())
    return Answer(notes=notes, status=status)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wishes:
    """The options, from wherever each came."""

    output_file: str
    oneshot: bool
    sleep_interval: str
    no_timestamp: bool
    mig_strategy: str
    fail_on_init_error: bool
    machine_type_file: str
    config_file: str
    driver_root: str
    dev_root: str | None
    device_discovery_strategy: str
    use_node_feature_api: bool


def _wishes(context: click.Context, chosen: dict[str, Any]) -> tuple[_Wishes, configs.Sharing]:
    """Give what is wanted. Raises UsageError for what can't be, and as `configs.load`."""
    config = configs.load(chosen["config_file"])
    unsaid = {
        name: value
        for name, value in config.options.items()
        if context.get_parameter_source(name) is ParameterSource.DEFAULT
    }
    wishes = _Wishes(**{**chosen, **unsaid})
    _check("MIG strategy", wishes.mig_strategy, STRATEGIES)
    _check("device discovery strategy", wishes.device_discovery_strategy, DISCOVERIES)
    service.seconds(wishes.sleep_interval)
    if wishes.use_node_feature_api:
        raise UsageError(
            "NodeFeature objects are not written, labels go to a file",
            identifier="USE-LABELS",
            hint="set use-node-feature-api to false, and let node-feature-discovery read the file",
        )
    if wishes.output_file in ("", "-"):
        wishes = replace(wishes, output_file="")
    else:
        wishes = replace(wishes, output_file=os.path.abspath(wishes.output_file))
    if wishes.driver_root == DRIVER_ROOT and not os.path.isdir(DRIVER_ROOT):
        wishes = replace(wishes, driver_root="/")
    return wishes, config.sharing


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UsageError(
            f"unknown {what}: {name}",
            identifier="USE-LABELS",
            hint=f"choose one of {', '.join(known)}",
        )


def _look(
    wishes: _Wishes, sharing: configs.Sharing, timestamp: int | None
) -> tuple[str, tuple[str, ...]]:
    """Give the file's text, and notes."""
    try:
        facts = look.look(wishes.driver_root, wishes.dev_root, wishes.machine_type_file)
    except ToolkitError as error:
        if wishes.fail_on_init_error:
            raise
        facts = look.nothing(str(error))
    found, notes = labels.labels(facts, sharing, wishes.mig_strategy, timestamp)
    return service.text(found), (*facts.notes, *notes)
