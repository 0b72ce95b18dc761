# SPDX-License-Identifier: Apache-2.0
"""From the words of `gpubind cdi generate` to generation's options, and the look at the roots."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpubind_cdi import features, generate, namer, names, signs, version
from gpubind_cdi.modes import table
from gpubind_cdi.modes.mode import Options

from gpubind.errors import ToolkitError, UsageError
from gpubind_ctl import engine_versions, roots, sources
from gpubind_ctl.simulate import note

if TYPE_CHECKING:
    from gpubind_cdi.generate import Generated
    from gpubind_cdi.gpu import GpuSource
    from gpubind_cdi.signs import Signs

    from gpubind.root import Root

NO_GPU = "DRV-NO-GPU"

COHERENCE = {True: "coherent", False: "noncoherent"}
"""What a spec of one kind of GPU is called: in its class and in its file's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was generated, by the kind of GPU: empty for the spec of all.

    `signs` are those of the spec of all, None where something changed during the look.
    """

    found: dict[str, Generated]
    signs: Signs | None


def looks(wanted: Options, driver_root: str, dev_root: str) -> Looked:
    """Generate from the two roots; where it is wanted also a spec of each kind of GPU there is.

    Errors as for `generate.generate`, OSError where there is no such root.
    """
    with roots.opened(driver_root, dev_root) as opened:
        places = (opened.driver, opened.nodes, opened.system)
        now = table.asks_gpus(wanted.mode)
        gpus = sources.of(opened.driver, wanted.library_search_paths, opened.nodes, now=now)
        every, taken, rests = signs.watched(
            lambda: _look(wanted, gpus, *places), *places, more=wanted.csv_files
        )
        several = wanted.by_coherence and every.mode == "nvml"
        found = {"": every, **(_kinds(wanted, gpus, places, every) if several else {})}
    return Looked(found=found, signs=taken if rests else None)


def _kinds(
    wanted: Options, gpus: GpuSource, places: tuple[Root, Root, Root], every: Generated
) -> dict[str, Generated]:
    found = {}
    for coherent in sorted({gpu.coherent for gpu in gpus.gpus()}):
        kind = COHERENCE[coherent]
        group = f"{every.spec.device_class}.{kind}"
        try:
            one = replace(wanted, coherent=coherent, device_class=group)
            found[kind] = _look(one, gpus, *places)
        except ToolkitError as error:
            if error.identifier != NO_GPU:  # those left out are named already
                raise
    return found


def _look(wanted: Options, gpus: GpuSource, root: Root, nodes: Root, system: Root) -> Generated:
    try:
        return generate.generate(wanted, gpus, root, nodes, system)
    except ToolkitError as error:
        said = note.read(root)
        if not said or error.identifier != NO_GPU:
            raise
        raise ToolkitError(error.message, identifier=NO_GPU, hint=said) from None


def check(ldconfig_path: str | None, hook_path: str, mps_pipe: str = "") -> None:
    """Raise UsageError for what is not given by an absolute path."""
    for option, path in (
        ("--nvidia-cdi-hook-path", hook_path),
        ("--ldconfig-path", (ldconfig_path or "/").removeprefix("@")),
        ("--mps-pipe", mps_pipe or "/"),
    ):
        if not os.path.isabs(path):
            raise UsageError(
                f"{option} {path} is not an absolute path",
                identifier="USE-PATH",
                hint="engines need absolute paths",
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
    highest, limiting = (cdi_version_max, "") if cdi_version_max is not None else _lowest()
    return Options(
        cdi_version_max=highest,
        cdi_version_for=limiting,
        device_name_strategies=device_name_strategy or namer.DEFAULT_STRATEGIES,
        library_search_paths=library_search_path,
        config_search_paths=config_search_path,
        disable_hooks=disable_hook,
        enable_hooks=enable_hook,
        device_ids=device_id,
        **plain,
        **_gids(highest) | features.options(feature_flag),
    )


def _gids(highest: str) -> dict[str, Any]:
    return {"additional_gids": version.bare(highest) in version.KNOWN}


def _lowest() -> tuple[str, str]:
    """Give the CDI version that the engines installed read, and which of them limits it."""
    highest, engine = engine_versions.lowest(engine_versions.installed())
    return highest, str(engine or "")
