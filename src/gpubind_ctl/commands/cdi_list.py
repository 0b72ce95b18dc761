# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi list`: the devices that CDI specs give."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from gpubind_ctl import options, settings
from gpubind_ctl.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PARTS = (("deviceNodes", "node"), ("mounts", "mount"), ("hooks", "hook"), ("env", "variable"))


@click.command()
@options.spec_dirs
@options.config_file
@options.state_dir
@click.option(
    "--table/--no-table",
    default=None,
    help="Also say CDI version, edits and file of each; by default on a terminal.",
)
@options.as_json
def command(
    *,
    spec_dir: tuple[str, ...],
    config_file: str,
    state_dir: str,
    table: bool | None,
    as_json: bool,
) -> Answer:
    """List the devices that CDI specs give, by qualified name.

    Specs that can't be read and devices in two specs are named on standard error.
    """
    registry = settings.compiled(config_file, spec_dir, state_dir)
    rows = [_row(registry, name) for name in sorted(registry["devices"])]
    if as_json:
        told = {name: registry[name] for name in ("conflicts", "errors")}
        return Answer(text=json.dumps({"devices": rows, **told}, indent=2) + "\n")
    notes = (f"Found {len(rows)} CDI devices", *settings.complaints(registry))
    if table or (table is None and sys.stdout.isatty()):
        return Answer(text=_table(rows), notes=notes)
    return Answer(text="".join(f"{row['name']}\n" for row in rows), notes=notes)


def _row(registry: Mapping[str, Any], name: str) -> dict[str, Any]:
    spec = registry["specs"][registry["devices"][name]]
    edits = spec["devices"][name.partition("=")[2]]
    return {
        "name": name,
        "cdiVersion": spec["cdiVersion"],
        "file": spec["path"],
        "edits": {part: len(edits[part]) for part, _ in PARTS if edits.get(part)},
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [("DEVICE", "CDI", "EDITS", "FILE")]
    lines += [(row["name"], row["cdiVersion"], _edits(row["edits"]), row["file"]) for row in rows]
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(map(str.ljust, line, wide)).rstrip() for line in lines)
    return "".join(f"{line}\n" for line in padded)


def _edits(counts: Mapping[str, int]) -> str:
    words = dict(PARTS)
    told = (f"{count} {words[part]}{'s' * (count != 1)}" for part, count in counts.items())
    return ", ".join(told) or "-"
