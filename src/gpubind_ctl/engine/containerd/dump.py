# SPDX-License-Identifier: Apache-2.0
"""What the installed containerd itself makes of files: `config dump` before and after, compared.

The files are given to it as copies in a folder of their own, so this happens before anything is
written. It comes on top of our own model, which is the proof: a dump shows no broken runtimes.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from gpubind.errors import ToolkitError
from gpubind_ctl import toml
from gpubind_ctl.engine import engine, tomltext
from gpubind_ctl.engine.containerd import found, model, proof, runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_ctl.engine.containerd.found import Found
    from gpubind_ctl.engine.containerd.model import Layer
    from gpubind_ctl.engine.engine import Edit, Host, Wants

PROGRAM = "containerd"
REPORT = f"{model.MIGRATE}, or report it with the file"


def check(target: Found, edits: tuple[Edit, ...], wants: Wants, host: Host) -> None:
    """Refuse where containerd reads the edited files otherwise than wanted, or not at all.

    Nothing is said where it is not installed, or where its files are made by something else.
    """
    if target.way in (found.TEMPLATE, found.PATCH) or not edits:
        return
    program = wants.executable or PROGRAM
    if not _flat(target.after(edits).layers()):
        return
    before = shown(target.layers(), program, host)
    if before is None:
        return
    after = shown(target.after(edits).layers(), program, host)
    if after is None:
        message = f"{target.main}: containerd does not read it any more with our runtime"
        raise engine.refused(message, REPORT)
    off = model.findings(target.layers())  # a plugin that is switched off is not shown
    name = next((one for one in (model.CRI[3], model.CRI[2]) if one in after["plugins"]), "")
    ours = runtime.runtimes(after["plugins"].get(name, {})).get(wants.name, {})
    if not off and tomltext.value(ours, ("options", "BinaryName")) != wants.path:
        message = f"{target.main}: 'containerd config dump' does not show runtime {wants.name}"
        raise engine.refused(message, REPORT)
    old, new = _foreign(before, wants), _foreign(after, wants)
    if old != new:
        names = ", ".join(sorted(key for key in {*old, *new} if old.get(key) != new.get(key)))
        message = f"{target.main}: 'containerd config dump' shows other changes too, in {names}"
        raise engine.refused(message, REPORT)


def shown(layers: Sequence[Layer], program: str, host: Host) -> dict[str, Any] | None:
    """Give the dump's document, None where there is none."""
    if not layers:
        return tomllib.loads(host.output(program, "config", "default")) or None
    files = _flat(layers)
    words = (program, "--config", "{folder}/0.toml", "config", "dump")
    try:
        return tomllib.loads(host.tried(files, *words)) or None
    except (ValueError, RecursionError):
        return None


def _flat(layers: Sequence[Layer]) -> dict[str, bytes]:
    """Give the files under names of one folder, the first importing the others in their order.

    None at all where a list of imports can't be exchanged as it is laid out.
    """
    others = [f"{number}.toml" for number in range(1, len(layers))]
    files = {}
    for number, layer in enumerate(layers):
        text: str | None = layer.text
        wanted = others if not number else []
        if wanted or "imports" in layer.document:
            text = tomltext.assigned(layer.text, ("imports",), wanted)
            text = _by_library(layer, wanted) if text is None else text
        if text is None:
            return {}
        files[f"{number}.toml"] = text.encode()
    return files


def _by_library(layer: Layer, wanted: list[str]) -> str | None:
    try:
        return toml.changed(layer.text, ["imports"], wanted, layer.path)
    except ToolkitError:
        return None


def _foreign(document: dict[str, Any], wants: Wants) -> dict[str, Any]:
    """Give a dump without what may be ours."""
    rest = {key: value for key, value in document.items() if key not in ("imports", "plugins")}
    plugins = proof.foreign(document.get("plugins", {}), wants)
    for name in set(model.CRI.values()) & plugins.keys():
        table = runtime.runtimes(plugins[name])
        if set(table) == {"runc"}:
            table.pop("runc")  # named by us where nothing else was: then without its defaults
    return {**rest, **{f"plugins.{key}": value for key, value in plugins.items()}}
