# SPDX-License-Identifier: Apache-2.0
"""`gpubind runtime status`: what engines are set to, by whom, since when, and if it is live."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import click

from gpubind.errors import ToolkitError
from gpubind_ctl import engineoptions
from gpubind_ctl.answer import Answer
from gpubind_ctl.engine import engines, status
from gpubind_ctl.engine.engine import Wants
from gpubind_ctl.engine.host import ThisHost

_NO = {True: "yes", False: "no", None: "unknown"}


@click.command()
@click.option("--runtime", "engine", default="", metavar="ENGINE", help="This engine alone.")
@engineoptions.engine_config
@engineoptions.runtime_name
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@engineoptions.engine_state
def command(engine: str, state: str, **given: Any) -> Answer:
    """Show what each engine is set to.

    Exit status 3: an engine's files can't be read; it is named.
    """
    as_json = given.pop("as_json")
    host = ThisHost(os.environ, config=given["config"])
    found: dict[str, Any] = {}
    notes = []
    for name in [engine] if engine else engines.TABLE:
        one = engines.named(name)
        try:
            found[name] = status.of(one, Wants(**given), host, state)
        except ToolkitError as error:
            found[name] = {"error": str(error)}
            notes.append(f"{name}: {error}")
    text = json.dumps(found, indent=2) + "\n" if as_json else "".join(map(_text, found.items()))
    return Answer(text=text, notes=tuple(notes), status=3 if notes else 0)


def _text(pair: tuple[str, dict[str, Any]]) -> str:
    name, facts = pair
    if "error" in facts:
        return f"{name:<11} not readable\n"
    if not facts["installed"]:
        return f"{name:<11} not installed\n"
    rows = [f"{name:<11} {facts['file']} ({facts['how']})"]
    rows += [f"runtime {key}: {path}" for key, path in facts["runtimes"].items()]
    since = facts["since"]
    when = (
        "" if since is None else time.strftime(" on %Y-%m-%d at %H:%M:%S UTC", time.gmtime(since))
    )
    rows.append(f"configured: {facts['by'] or 'no'}{when}")
    former = f", formerly {facts['former'] or 'not set'}" if facts["journalled"] else ""
    rows.append(f"default runtime: {facts['default'] or 'not set'}{former}")
    rows.append(f"CDI: {_NO[facts['cdi']]}")
    rows += [f"hook file that injects GPUs: {path}" for path in facts["hooks"]]
    rows += [f"finding: {text}" for text in facts["findings"]]
    if facts["journalled"]:
        rows.append(f"changed by others since: {_NO[facts['drift']]}")
        rows.append(f"daemon restarted since: {_NO[facts['restarted']]}")
    return "\n            ".join(rows) + "\n"
