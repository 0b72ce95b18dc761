# SPDX-License-Identifier: Apache-2.0
"""Command line options that several commands share, and lists as the field writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpubind import config, paths, registry
from gpubind_ctl import common

if TYPE_CHECKING:
    from collections.abc import Callable


class Words(click.types.StringParamType):
    """A text of a list: in a variable, commas separate several."""

    name = "text"
    envvar_list_splitter = ","


def listed(*names: str, metavar: str, env: str, help: str) -> Callable[..., Any]:  # noqa: A002 - click's word
    """Give an option that may be repeated and takes several values separated by commas."""
    return click.option(
        *names,
        type=Words(),
        multiple=True,
        metavar=metavar,
        envvar=env,
        callback=_split,
        help=f"{help} Repeatable, or separated by commas.",
    )


def _split(context: object, parameter: object, values: tuple[str, ...]) -> tuple[str, ...]:
    del context, parameter
    parts = (part.strip() for value in values for part in value.split(","))
    return tuple(part for part in parts if part)


def _root_of_config() -> str:
    root = config.load().values.get("nvidia-container-cli.root")
    return root if isinstance(root, str) and root else "/"


driver_root = click.option(
    "--driver-root",
    metavar="DIR",
    envvar="NVIDIA_CTK_DRIVER_ROOT",
    default=_root_of_config,
    help="Where the driver is installed; by default as configured, else /.",
)
dev_root = click.option(
    "--dev-root",
    metavar="DIR",
    envvar="NVIDIA_CTK_DEV_ROOT",
    help="Where /dev is; by default below the driver root.",
)
state_dir = click.option(
    "--state-dir",
    metavar="DIR",
    default=registry.state,
    show_default=f"{paths.STATE}, for other users than root $XDG_RUNTIME_DIR/gpubind",
    help="Where sidecars and compiled specs lie.",
)
config_file = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    default=common.configured,
    show_default=f"{paths.ETC}/config.toml",
    help="The operator's configuration; it need not exist.",
)
config_file_here = click.option(
    "--config",
    "--config-file",
    "-c",
    "config_file",
    metavar="FILE",
    envvar="NVIDIA_CTK_CONFIG_FILE_PATH",
    default=common.configured,
    show_default=f"{paths.ETC}/config.toml",
    help="The operator's configuration.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
spec_dirs = listed(
    "--spec-dir",
    metavar="DIR",
    env="NVIDIA_CTK_CDI_SPEC_DIRS",
    help="A folder of CDI specs, later ones win; by default as configured.",
)
system_root = click.option(
    "--driver-root",
    "--root",
    metavar="DIR",
    envvar=["NVIDIA_CTK_DRIVER_ROOT", "ROOT", "NVIDIA_DRIVER_ROOT", "DRIVER_ROOT"],
    default="/",
    show_default=True,
    help="Where the driver is installed.",
)
system_dev_root = click.option(
    "--dev-root",
    metavar="DIR",
    envvar=["NVIDIA_CTK_DEV_ROOT", "NVIDIA_DEV_ROOT", "DEV_ROOT"],
    help="Where /dev is; by default below the driver root.",
)
load_modules = click.option(
    "--load-kernel-modules",
    is_flag=True,
    help="First load the driver's modules, by modprobe in the driver root.",
)
dry_run = click.option(
    "--dry-run", is_flag=True, envvar="DRY_RUN", help="Print what would be done, and do nothing."
)
force = click.option("--force", is_flag=True, help="Also replace what is there and wrong.")
