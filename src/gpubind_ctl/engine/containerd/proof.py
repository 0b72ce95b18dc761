# SPDX-License-Identifier: Apache-2.0
"""The proof that containerd will do as wanted, by our own model of how it reads its files.

containerd's own check accepts files that it then can't serve Kubernetes with, so it is no proof.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import engine, tomltext
from gpubind_ctl.engine.containerd import change, found, model, runtime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubind_ctl.engine.containerd.found import Found
    from gpubind_ctl.engine.engine import Edit, Wants


MOVED = {
    "snapshotter": "overlayfs",
    "disable_snapshot_annotations": True,
    "discard_unpacked_layers": False,
}
"""What 2.x takes out of a version 2 file only where that names a runtime, and its default.

Seen with containerd 2.1.9: the first runtime would have the node change its snapshotter.
"""


def prove(target: Found, edits: tuple[Edit, ...], wants: Wants) -> None:
    """Raise ToolkitError where the files would do something else, or change what is not ours."""
    if target.way == found.TEMPLATE:
        return  # its result is parsed with the block when the block is made
    after = target.after(edits)
    merging = target.way != found.IN_PLACE or model.version(after.layers()) >= 3
    for major in (2,) if merging else (target.major(),) if target.version else (1, 2):
        _prove(target, after, wants, major)


def _prove(target: Found, after: Found, wants: Wants, major: int) -> None:
    layers = after.layers()
    number = model.version(layers)
    before = target.layers()
    if before and model.version(before) not in (0, number):
        raise engine.refused(f"{target.main}: the version would change")
    table = model.plugins(layers, major).get(model.CRI.get(number, ""), {})
    known = runtime.runtimes(table)
    ours = known.get(wants.name, {})
    if tomltext.value(ours, ("options", "BinaryName")) != wants.path:
        file = _last(after, number, wants)
        message = f"runtime {wants.name} would start {wants.path} no more, because of {file}"
        raise engine.refused(message, "put it right there first")
    if not ours.get("runtime_type"):
        raise engine.refused(f"{target.main}: runtime {wants.name} would have no runtime_type")
    name = change.default_of(table)
    if wants.default and name not in (wants.name, "default"):
        raise engine.refused(f"{target.main}: the default runtime would be {name}")
    filled_in = name.startswith("${")  # by MicroK8s, at its next start
    if known and major < 2 and name not in (*known, "default") and not filled_in:
        message = f"{target.main}: default_runtime_name is {name!r}, which is no runtime there"
        raise engine.refused(message, "containerd serves no Kubernetes with it: name another one")
    _prove_move(target, number, major)
    _prove_rest(target, after, wants, major)


def _prove_move(target: Found, number: int, major: int) -> None:
    """Refuse where naming a first runtime would have 2.x read settings it did not read before."""
    layers = target.layers()
    table = model.plugins(layers, major).get(model.CRI[2], {})
    if number != 2 or major < 2 or runtime.runtimes(table):
        return
    for key, default in MOVED.items():
        if runtime.section(table).get(key, default) != default:
            path = ("plugins", model.CRI[2], "containerd", key)
            layer = next(one for one in layers if tomltext.value(one.document, path) is not None)
            message = f"{key} of version 2 is not read by containerd 2 until a runtime is named"
            raise tomltext.at(layer.path, layer.text, path, message, model.MIGRATE)


def _last(after: Found, number: int, wants: Wants) -> str:
    place = ("plugins", model.CRI.get(number, ""), "containerd", "runtimes", wants.name)
    holders = [one.path for one in after.layers() if tomltext.value(one.document, place)]
    return holders[-1] if holders else after.main


def _prove_rest(target: Found, after: Found, wants: Wants, major: int) -> None:
    """Refuse where anything but our keys would mean something else than before."""
    old = foreign(model.plugins(target.layers(), major), wants)
    new = foreign(model.plugins(after.layers(), major), wants)
    if old != new:
        names = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        raise engine.refused(f"{target.main}: {', '.join(names)} would change too")
    for layer in target.layers():
        now = next((one.document for one in after.layers() if one.path == layer.path), {})
        for key in {*layer.document, *now} - {"plugins", "imports", "version"}:
            if layer.document.get(key) != now.get(key):
                raise engine.refused(f"{layer.path}: {key} would change too")


def foreign(plugins: Mapping[str, Any], wants: Wants) -> dict[str, Any]:
    """Give the plugins' tables without what may be ours; empty tables do not count."""
    kept = copy.deepcopy(dict(plugins))
    for name in set(model.CRI.values()) & kept.keys():
        table = kept[name]
        table.pop(change.CDI, None)
        section = runtime.section(table)
        section.pop("default_runtime_name", None)
        section.pop("default_runtime", None)
        runtimes = runtime.runtimes(table)
        runtimes.pop(wants.name, None)
        if runtimes.get("runc") == {"runtime_type": runtime.TYPE}:
            runtimes.pop("runc")
    return dict(_filled(kept))


def _filled(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _filled(one) for key, one in value.items()}
    return {key: one for key, one in inner.items() if one != {}}
