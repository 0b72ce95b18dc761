# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi check`: whether the specs in the spec directories are true on this host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from gpubind_cdi import files, sources, traps

from gpubind import config
from gpubind.root import Root
from gpubind_ctl import engine_versions, options, settings
from gpubind_ctl.answer import Answer
from gpubind_ctl.check import beside, folders, host
from gpubind_ctl.check.finding import Finding, gathered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_ctl.check.folders import Survey


@click.command()
@options.spec_dirs
@options.config_file
@options.state_dir
@options.as_json
def command(
    *, spec_dir: tuple[str, ...], config_file: str, state_dir: str, as_json: bool
) -> Answer:
    """Check that CDI specs are true on this host.

    One line per finding: file, devices, what is wrong, what to do, and an ID. Exit status: 0 if
    there is none, 1 if there are some.
    """
    known, _ = settings.read(config_file)
    survey = folders.survey(spec_dir or known.texts(config.SPEC_DIRS))
    found = [*_findings(survey)]
    gone = {one.file for one in found if one.identifier in host.GONE}
    found += beside.stale(f"{state_dir}/{files.SIDECARS}", sources.default_owners(), gone)
    found = gathered(found)
    status = 1 if found else 0
    counts = {"specs": len(survey.specs), "devices": len(survey.givers())}
    if as_json:
        told = {"findings": [one.document() for one in found], **counts}
        return Answer(text=json.dumps(told, indent=2) + "\n", status=status)
    if not found:
        said = f"{counts['specs']} specs, {counts['devices']} devices: nothing is wrong\n"
        return Answer(text=said)
    return Answer(text="".join(f"{one}\n" for one in found), status=status)


def _findings(survey: Survey) -> Iterator[Finding]:
    owners = sources.default_owners()
    yield from folders.findings(survey)
    yield from folders.clashes(survey)
    engines = engine_versions.installed()
    with Root("/") as root:
        for entry, spec in survey.specs:
            for trap in traps.found(entry.loaded):
                yield Finding(
                    identifier="CDI-YAML",
                    file=entry.path,
                    message=f"{trap.message} at {trap.path}",
                    hint="or generate it again",
                )
            yield from host.findings(entry.path, spec, root, survey.folders, owners)
            yield from beside.old_engines(entry, spec, engines)
