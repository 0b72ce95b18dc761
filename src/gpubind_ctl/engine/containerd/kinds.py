# SPDX-License-Identifier: Apache-2.0
"""What kind of value containerd takes for the keys we read; it does not start with another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import tomltext

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpubind_ctl.engine.containerd.model import Layer

TEXT, LIST, SWITCH, TABLE = "a text", "a list of texts", "true or false", "a table"
PLUGIN: dict[tuple[str, ...], str] = {
    ("enable_cdi",): SWITCH,
    ("cdi_spec_dirs",): LIST,
    ("containerd",): TABLE,
}
SECTION: dict[tuple[str, ...], str] = {
    ("default_runtime_name",): TEXT,
    ("default_runtime",): TABLE,
    ("runtimes",): TABLE,
}
RUNTIME = {
    ("runtime_type",): TEXT,
    ("container_annotations",): LIST,
    ("pod_annotations",): LIST,
    ("options",): TABLE,
    ("options", "BinaryName"): TEXT,
}


def check(layer: Layer, plugin: str) -> None:
    """Raise ToolkitError naming file and line for a value of another kind in the CRI plugin."""
    for path, kind in _wanted(layer.document, ("plugins", plugin)):
        value = tomltext.value(layer.document, path)
        if value is not None and not _is(value, kind):
            message = f"{tomltext.dotted(path)} must be {kind}"
            raise tomltext.at(layer.path, layer.text, path, message)


def _wanted(document: dict[str, Any], plugin: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    section = [*plugin, "containerd"]
    places: list[tuple[Sequence[str], dict[tuple[str, ...], str]]] = [
        (plugin, {(): TABLE, **PLUGIN}),
        (section, SECTION),
    ]
    known = tomltext.value(document, (*section, "runtimes"))
    names = list(known) if isinstance(known, dict) else []
    runtimes = [[*section, "runtimes", name] for name in names]
    places += [(one, {(): TABLE, **RUNTIME}) for one in (*runtimes, [*section, "default_runtime"])]
    for place, kinds in places:
        yield from (([*place, *path], kind) for path, kind in kinds.items())


def _is(value: Any, kind: str) -> bool:
    if kind == LIST:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return isinstance(value, {TEXT: str, SWITCH: bool, TABLE: dict}[kind])
