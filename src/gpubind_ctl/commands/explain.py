# SPDX-License-Identifier: Apache-2.0
"""`gpubind explain`: what a bundle gets or got, and why each item."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import click

from gpubind import config, extras, injection, jit, mode, modifier, registry, request, userns
from gpubind.errors import ToolkitError
from gpubind.oci import spec as oci
from gpubind_ctl import explanation, options, settings
from gpubind_ctl.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind.config import Config
    from gpubind.oci.types import Compiled, CompiledSpec, Spec
    from gpubind.request import Request

    Chosen = list[tuple[CompiledSpec, list[str]]]


@click.command()
@click.option("--bundle", required=True, metavar="DIR", help="The OCI bundle.")
@options.config_file
@options.state_dir
def command(bundle: str, config_file: str, state_dir: str) -> Answer:
    """Explain what is injected in an OCI bundle, before or after it was.

    One line per item: what, from where, why, for which driver capabilities.
    """
    file = os.path.join(os.path.abspath(bundle), "config.json")
    document = oci.load(file)
    known, _ = settings.read(config_file)
    compiled = _compiled(known, config_file, state_dir)
    asked = request.of(document, known, file)
    if asked.devices:
        wanted, chosen = asked.capabilities, _chosen(asked, compiled, known, config_file, state_dir)
        chosen += extras.of(asked, chosen, lambda: compiled, asked.notes)
    else:
        wanted = _capabilities(document, known, file)
        specs = _with_live(compiled, known, state_dir)
        chosen = explanation.injected(document, specs, wanted)
    remarks = (*asked.notes, *asked.left)
    if not chosen:
        return Answer(
            text=f"{file}: nothing is injected: {_unasked(document, file)}\n", notes=remarks
        )
    text = [f"{file}: {'would be' if asked.devices else 'was'} injected for {', '.join(wanted)}"]
    text += _mode(asked, known)
    facts = _facts(document, file, known)
    for spec, devices in chosen:
        text += explanation.lines(document, spec, devices, wanted, facts)
    return Answer(text="\n".join(text) + "\n", notes=remarks)


def _mode(asked: Request, known: Config) -> list[str]:
    """Give a line on how a request is served; none once it was, for then nobody knows."""
    if not asked.devices:
        return []
    found, why = mode.decide(known, asked.devices, driver=injection.has_driver(known))
    return [f"asked for by {asked.source}; mode {found.name} ({found.what}): {why}"]


def _unasked(document: Spec, file: str) -> str:
    value = request.variables(oci.environment(document, file)).get(request.DEVICES_VARIABLE)
    said = "is not set" if value is None else f"is {value!r}"
    return f"{request.DEVICES_VARIABLE} {said}"


def _capabilities(document: Spec, known: Config, file: str) -> tuple[str, ...]:
    """Give the driver capabilities that a container had whose request is gone."""
    env = [*oci.environment(document, file), f"{request.DEVICES_VARIABLE}=all"]
    asking: Spec = {"process": {"env": env}}
    return request.of(asking, known, file).capabilities or request.CAPABILITIES


def _compiled(known: Config, config_file: str, state: str) -> Compiled:
    """Give the compiled specs as container starts read them, or as they would be made now."""
    folders = known.texts(config.SPEC_DIRS)
    current = registry.current(folders, state)
    if current is not None:
        return registry.whole(current)
    made: Any = settings.compiled(config_file, folders, state)
    return cast("Compiled", made)


def _facts(document: Spec, file: str, known: Config) -> modifier.Facts:
    """Give what the plan depends on in the image; nothing where it is not mounted any more."""
    try:
        root = oci.root_of(document, file)
        return injection.look(document, root, userns.of(document), known)
    except ToolkitError:
        return modifier.NO_FACTS


def _chosen(
    asked: Request, compiled: Compiled, known: Config, config_file: str, state: str
) -> Chosen:
    """Give specs and devices that were asked for; where specs are stale, as they would be now."""

    def serve(
        names: Sequence[str], root: str, state: str, notes: list[str], kind: str
    ) -> tuple[CompiledSpec, list[str]]:
        del notes
        current = jit.current(root, state, kind)
        return jit.pick(current or settings.looked_at(config_file, root, kind), names)

    wanted = asked.devices, known, state, None, lambda *_: compiled, serve
    return injection.choose(*wanted, all_lists=asked.all_lists)


_ALL_LISTS = tuple(jit.kind(csv=csv, all_lists=True) for csv in (False, True))


def _with_live(compiled: Compiled, known: Config, state: str) -> Compiled:
    """Give the compiled specs and the driver's, where that has been looked at."""
    root, kinds = known.text(config.DRIVER_ROOT) or "/", (injection.look_of(known), *_ALL_LISTS)
    live = next((found for one in kinds if (found := jit.current(root, state, one))), None)
    return {**compiled, "specs": [*compiled["specs"], *live["specs"]]} if live else compiled
