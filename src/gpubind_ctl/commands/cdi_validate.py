# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi validate`: check CDI specs against the schema and CDI's rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from gpubind_cdi import document, salvage, schema, traps, validate
from gpubind_cdi.model import Spec

from gpubind.errors import DocumentError, printable
from gpubind_ctl import inputs, options
from gpubind_ctl.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.as_json
def command(files: tuple[str, ...], as_json: bool) -> Answer:  # noqa: FBT001 - click's way
    """Check CDI specs; - is standard input.

    All faults of all files are named, each with file and line, its place in the document, and the
    rule it breaks. Exit status: 1 if there are faults, 3 if there are only warnings.
    """
    told = [_told(name) for name in files]
    status = max((3 * bool(one["warnings"]) for one in told), default=0)
    status = 1 if any(one["faults"] for one in told) else status
    if as_json:
        return Answer(text=json.dumps({"files": told}, indent=2) + "\n", status=status)
    text = "".join(_summary(one) for one in told if not one["faults"])
    notes = [_line(one["file"], fault, "") for one in told for fault in one["faults"]]
    notes += [_line(one["file"], fault, "warning: ") for one in told for fault in one["warnings"]]
    return Answer(text=text, notes=tuple(notes), status=status)


def _summary(one: Mapping[str, Any]) -> str:
    known = f"{one['kind']}, {one['devices']} devices"
    return f"{one['file']}: valid, CDI {one['cdiVersion']}, {known}\n"


def _line(file: str, fault: Mapping[str, Any], word: str) -> str:
    line = f":{fault['line']}" if fault["line"] else ""
    place = f" at {fault['path']}" if fault["path"] else ""
    rule = f" (rule {fault['rule']})" if fault["rule"] else ""
    return f"{word}{file}{line}: {fault['message']}{place}{rule} [{fault['id']}]"


def _told(name: str) -> dict[str, Any]:
    """Give all that is to be said of one file."""
    try:
        data = inputs.read(name)
        loaded = document.load(data, name)
    except DocumentError as error:
        return _answer(name, None, [_broken(error)], [])
    except OSError as error:
        return _answer(name, None, [_unread(error)], [])
    broken = schema.problems(loaded)
    try:
        spec = Spec.parse(loaded)
    except DocumentError as error:
        faults = broken or [error]
        return _answer(name, None, _placed([*faults, *salvage.problems(loaded, faults)], data), [])
    faults = validate.problems(spec) or broken
    warnings = [] if faults else [*validate.warnings(spec), *traps.found(loaded)]
    return _answer(name, spec, _placed(faults, data), _placed(warnings, data))


def _answer(
    name: str, spec: Spec | None, faults: list[dict[str, Any]], warnings: list[dict[str, Any]]
) -> dict[str, Any]:
    known = {"file": name, "valid": not faults, "faults": faults, "warnings": warnings}
    if spec is None:
        return known
    about = {"cdiVersion": spec.cdi_version, "kind": spec.kind, "devices": len(spec.devices)}
    return {**known, **about}


def _broken(error: DocumentError) -> dict[str, Any]:
    """Give the fault of a file that is no document; its place is a line, where there is one."""
    word, _, line = error.path.partition(" ")
    if word == "line":
        return _fault(error.message, line=int(line))
    return _fault(error.message, path=error.path)


def _unread(error: OSError) -> dict[str, Any]:
    return _fault(error.strerror or str(error), rule="", known="SYS-REFUSED")


def _placed(faults: Iterable[DocumentError], data: bytes) -> list[dict[str, Any]]:
    faults = list(faults)
    known = document.lines(data) if faults else {}
    return [
        _fault(
            fault.message,
            line=document.line_of(fault.path, known),
            path=fault.path,
            rule=validate.rule(fault.path),
        )
        for fault in faults
    ]


def _fault(
    message: str,
    *,
    line: int = 0,
    path: str = "",
    rule: str = "structure",
    known: str = "DOC-INVALID",
) -> dict[str, Any]:
    told = {"line": line, "path": printable(path), "rule": rule}
    return {**told, "message": printable(message), "id": known}
