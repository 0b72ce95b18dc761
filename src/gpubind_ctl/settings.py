# SPDX-License-Identifier: Apache-2.0
"""The operator's settings, the spec directories they name, and the specs compiled from both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubind import config, configfile, jit, paths
from gpubind.config import Config
from gpubind.root import Root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.modes.mode import Options


def read(file: str) -> tuple[Config, dict[str, list[int] | None]]:
    """Give the settings of a config.toml, and stamps of all that may hold them, taken before.

    A file that is not there sets nothing. Raises ToolkitError for one that can't be read.
    """
    stamps = {place: config.stamp(place) for place in (*config.places(), file)}
    values = configfile.read(file) if stamps[file] is not None else {}
    return Config(values, file), stamps


def compiled(file: str, spec_dirs: Sequence[str], state: str) -> dict[str, Any]:
    """Give the compiled registry of `spec_dirs`, by default those of the settings in `file`."""
    from gpubind_cdi import compile as compiler
    from gpubind_cdi import files

    known, stamps = read(file)
    folders = spec_dirs or known.texts(config.SPEC_DIRS)
    sidecars = f"{state}/{files.SIDECARS}"
    shared = f"{paths.STATE}/{files.SIDECARS}"
    return compiler.compiled(
        known.values,
        folders,
        sidecars,
        shared_sidecars=shared if shared != sidecars else "",
        stamps=stamps,
    )


def looked_at(file: str, driver_root: str, kind: str = jit.JIT) -> dict[str, Any]:
    """Give the document of the driver in a root, as the settings in `file` want it described.

    `kind` is which look is meant, as in `gpubind.jit`.
    """
    from gpubind_cdi import jit as live

    from gpubind_ctl import roots, sources

    known, stamps = read(file)
    places = roots.of(driver_root)
    dev_root = places.dev if places.notes else ""  # that of a driver in a folder of its own
    with Root(places.dev) as nodes:
        document = live.document(
            _wanted(known, kind),
            places.driver,
            lambda root: sources.of(root, dev_root=nodes),
            stamps,
            dev_root=dev_root,
        )
    return {**document, "root": driver_root}  # as starts know it


def _wanted(known: Config, kind: str) -> Options:
    from gpubind_cdi import jit as live
    from gpubind_cdi.modes import table

    from gpubind_ctl import generation

    return generation.options(
        device_name_strategy=(),
        library_search_path=(),
        config_search_path=(),
        disable_hook=tuple(known.texts(config.JIT_DISABLED_HOOKS)),
        enable_hook=(),
        feature_flag=tuple(known.texts(config.JIT_FEATURES)),
        device_id=(),
        vendor=live.VENDOR,
        device_class=live.CLASS,
        cdi_version_max="",
        mode="csv" if kind.startswith(jit.CSV) else table.AUTO,
        csv_folder=known.text(config.CSV_LISTS),
        csv_every=kind.endswith(jit.ALL_LISTS),
        csv_compat_root=known.text(config.CSV_COMPAT),
    )


def complaints(registry: dict[str, Any]) -> tuple[str, ...]:
    """Give a line for each spec that can't be read and each device that two specs give."""
    bad = [f"{error['path']}: {error['message']}" for error in registry["errors"]]
    bad += [
        f"{name} is in {' and in '.join(files)}: unusable until one of them goes"
        for name, files in registry["conflicts"].items()
    ]
    return tuple(bad)
