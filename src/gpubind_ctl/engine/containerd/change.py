# SPDX-License-Identifier: Apache-2.0
"""The texts of containerd's files with our runtime in them, and without it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import block, engine, tomledit, tomltext
from gpubind_ctl.engine.containerd import found, kinds, model, runtime
from gpubind_ctl.engine.engine import Edit
from gpubind_ctl.engine.tomledit import Change

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubind_ctl.engine.containerd.found import Found
    from gpubind_ctl.engine.containerd.model import Layer
    from gpubind_ctl.engine.engine import Wants

KNOWS_CDI = (1, 7)
HAS_CDI_ON = (2, 0)
CDI = "enable_cdi"
BASE = '{{ template "base" . }}'


class State:
    """What is there without us, and what is to be: read once, used by every part of an edit."""

    def __init__(self, target: Found, wants: Wants) -> None:
        self.target, self.wants = target, wants
        self.layers = target.layers(wants.name)
        self.version = model.version(self.layers) or _fresh(target)
        _check_release(target, self.version, self.layers)
        self.plugin = ("plugins", model.CRI[self.version])
        merging = target.way in (found.DROP_IN, found.PATCH) or target.major() >= 2
        self.cri = cri(self.layers, self.version, 2 if merging else 1)
        self.findings = model.findings(self.layers)

    @property
    def containerd(self) -> tuple[str, ...]:
        """Give the path of the table the runtimes are in."""
        return (*self.plugin, "containerd")

    def new(self) -> str:
        """Give the text of a file that we make."""
        return f"{block.MADE}\nversion = {self.version}\n"

    def start(self, text: str, path: str) -> Change:
        """Give the change that a file needs before it can have any keys: a version."""
        empty = path == self.target.main and not tomltext.parsed(text, path)
        return Change(keys={("version",): self.version} if empty else {})

    def default(self) -> bool:
        """Tell whether our runtime is to be the default one; not said is: as it is now."""
        if self.wants.default is not None:
            return self.wants.default
        now = cri(self.target.layers(), self.version, 2)
        return default_of(now) == self.wants.name != default_of(self.cri)

    def cdi(self) -> bool:
        """Tell whether CDI is to be switched on by a key; not said is: as it is now."""
        known = self.target.version
        if (known and known[:2] < KNOWS_CDI) or self.wants.cdi is False:
            return False
        if self.wants.cdi is None:
            now = cri(self.target.layers(), self.version, 2)
            return now.get(CDI) is True and self.cri.get(CDI) is not True
        return not self.has_cdi()

    def has_cdi(self) -> bool:
        """Tell whether the daemon injects CDI devices without a key of ours."""
        on_by_default = self.target.version >= HAS_CDI_ON or self.version >= 3
        return bool(self.cri.get(CDI, on_by_default))


def _fresh(target: Found) -> int:
    """Give the version for a configuration of which nothing is there yet."""
    return 3 if target.major() >= 2 else 2


def _check_release(target: Found, version: int, layers: tuple[Layer, ...]) -> None:
    if layers and target.version and (version >= 3) > (target.major() >= 2):
        message = f"version {version} is for containerd 2.0 and later, {_said(target)} is installed"
        raise tomltext.at(layers[0].path, layers[0].text, ("version",), message)
    if layers and version == 1 and target.major() >= model.NO_VERSION_1:
        message = f"version 1 is not read by containerd {_said(target)}"
        raise tomltext.at(layers[0].path, layers[0].text, ("version",), message, model.MIGRATE)


def _said(target: Found) -> str:
    return ".".join(map(str, target.version))


def cri(layers: tuple[Layer, ...], version: int, major: int) -> dict[str, Any]:
    """Give the CRI plugin's merged table. Raises ToolkitError for what containerd does not take."""
    for layer in layers:
        tomltext.table(layer.document, ("plugins",), layer.path, layer.text)
        kinds.check(layer, model.CRI[version])
    table = model.plugins(layers, major).get(model.CRI[version], {})
    return table if isinstance(table, dict) else {}


def default_of(table: dict[str, Any]) -> str:
    """Give the default runtime's name, `default` where it is a table of its own (1.x)."""
    nested = runtime.section(table).get("default_runtime")
    if isinstance(nested, dict) and nested.get("runtime_type"):
        return "default"
    return runtime.default(table)


def edits(target: Found, wants: Wants) -> tuple[Edit, ...]:
    """Give the edits with our runtime. Raises ToolkitError naming file and line."""
    state = State(target, wants)
    if target.way == found.TEMPLATE:
        texts = {target.main: _template(state)}
    elif target.way in (found.DROP_IN, found.PATCH):
        texts = _drop_in(state)
    else:
        texts = _in_place(state)
    new = {path: text for path, text in texts.items() if not _same(target, path, text, wants.name)}
    return changed(target, new)


def changed(target: Found, texts: Mapping[str, str | None]) -> tuple[Edit, ...]:
    """Give the edits that bring these texts about."""
    made = []
    for path, text in texts.items():
        before = target.data(path)
        after = None if text is None else tomltext.encoded(text, before)
        if after != before:
            made.append(Edit(path, before, after))
    return tuple(made)


def _same(target: Found, path: str, text: str, name: str) -> bool:
    """Tell whether a file says all that a text says, be it in another order."""
    if target.data(path) is None:
        return False
    old = target.text(path)
    if target.way == found.TEMPLATE:
        return block.content(old, name) == block.content(text, name)
    return tomltext.parsed(old, path) == tomltext.parsed(text, path)


def _in_place(state: State) -> dict[str, str]:
    """Give the text of the file that has the CRI plugin's table, the last one that counts."""
    target, wants = state.target, state.wants
    holders = [
        layer.path for layer in state.layers if state.plugin[1] in layer.document.get("plugins", {})
    ]
    path = holders[-1] if holders else target.main
    text = target.text(path, wants.name) if target.data(path) is not None else state.new()
    shared = state.start(text, path)
    if not runtime.runtimes(state.cri) and target.major() < 2 and state.version < 3:
        stock = {(*state.containerd, "runtimes", "runc"): {"runtime_type": runtime.TYPE}}
        shared = replace(shared, tables=stock)
    text = tomledit.done(text, _with_cdi(state, shared), found.SHARED, path)
    return {path: tomledit.done(text, _change(state, text, path), wants.name, path)}


def _drop_in(state: State) -> dict[str, str]:
    """Give the drop-in, and the main file that imports it where it does not yet."""
    target, wants = state.target, state.wants
    own = target.drop_in
    text = target.text(own, wants.name) if target.data(own) is not None else state.new()
    text = tomledit.done(text, _with_cdi(state, Change()), found.SHARED, own)
    texts = {}
    texts[own] = tomledit.done(text, _change(state, text, own), wants.name, own)
    if target.way == found.DROP_IN and not _imported(target):
        main = target.main
        text = target.text(main, wants.name) if target.data(main) is not None else state.new()
        change = replace(state.start(text, main), elements={("imports",): target.pattern})
        texts[main] = tomledit.done(text, change, found.SHARED, main)
    return texts


def _with_cdi(state: State, change: Change) -> Change:
    if not state.cdi():
        return change
    return replace(change, keys={**change.keys, (*state.plugin, CDI): True})


def _imported(target: Found) -> bool:
    """Tell whether the files, as they are, import the drop-in once it is there."""
    return any(
        model.matches(model.joined(layer.path, one), target.drop_in)
        for layer in target.layers()
        for one in layer.document.get("imports", ())
    )


def _change(state: State, text: str, path: str) -> Change:
    """Give what is to be in the file that gets our runtime."""
    document = tomltext.parsed(text, path)
    wants = state.wants
    wanted = runtime.table(state.cri, wants, _annotations(state))
    place = (*state.containerd, "runtimes", wants.name)
    keys: dict[tuple[str, ...], Any] = {}
    tables: dict[tuple[str, ...], dict[str, Any]] = {}
    there = tomltext.value(document, place)
    if there:
        keys[(*place, "options", "BinaryName")] = wants.path
        if not there.get("runtime_type"):
            keys[(*place, "runtime_type")] = runtime.TYPE
        old = there.get(runtime.ANNOTATIONS, [])
        if missing := [one for one in _annotations(state) if one not in old]:
            keys[(*place, runtime.ANNOTATIONS)] = [*old, *missing]
    else:
        tables[place] = wanted
    if state.default():
        keys |= _default(state, document)
    return Change(keys=keys, tables=tables)


def _default(state: State, document: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    nested = tomltext.value(document, (*state.containerd, "default_runtime"))
    if isinstance(nested, dict) and nested.get("runtime_type"):
        path = (*state.containerd, "default_runtime", "options", "BinaryName")
        return {path: state.wants.path}
    return {(*state.containerd, "default_runtime_name"): state.wants.name}


def _annotations(state: State) -> tuple[str, ...]:
    """Give the annotations our runtime must see: a daemon that injects CDI itself keeps its own."""
    own = state.has_cdi() or state.cdi()
    return tuple(f"{one}*" for one in state.wants.annotations if not (own and one == "cdi.k8s.io/"))


def _template(state: State) -> str:
    """Give the template with our block behind what is there."""
    target, wants = state.target, state.wants
    place = (*state.containerd, "runtimes", wants.name)
    if runtime.runtimes(state.cri).get(wants.name):
        message = f"{target.rendered} has a runtime {wants.name} already"
        hint = f"{target.layout} adds it by itself; use it, or choose another --nvidia-runtime-name"
        raise engine.refused(message, hint)
    if state.default():
        message = f"{target.main} can't set the default runtime, {target.layout} does"
        raise engine.refused(message, target.default.replace("NAME", wants.name))
    if state.cdi():
        raise engine.refused(f"{target.main} can't switch CDI on, its base has that table already")
    text = target.text(target.main, wants.name) or f"{block.MADE}\n{BASE}\n"
    lines = tomltext.tables(place, runtime.table(state.cri, wants, _annotations(state)))
    rendered = target.text(target.rendered, wants.name)
    tomltext.parsed(block.added(rendered, wants.name, lines), target.rendered)
    return block.added(text, wants.name, lines)


def removal(target: Found, wants: Wants, former: engine.Former) -> tuple[Edit, ...]:
    """Give the edits without our runtime; the file that is imported goes last."""
    texts: dict[str, str | None] = {}
    for file in target.files:
        if file.data is None or file.path == target.rendered:
            continue
        after = target.text(file.path, wants.name)
        if after != target.text(file.path):
            texts[file.path] = None if block.left_over(after) else after
    if target.drop_in in texts:
        texts[target.drop_in] = texts.pop(target.drop_in)
    return _with_a_default(target, changed(target, texts), wants, former)


def _with_a_default(
    target: Found, given: tuple[Edit, ...], wants: Wants, former: engine.Former
) -> tuple[Edit, ...]:
    """Give the edits, and a default runtime that is there where ours would be gone as the default.

    That is so where somebody wrote our name as the default by hand.
    """
    after = target.after(given)
    layers = after.layers() if target.way != found.TEMPLATE else ()
    number = model.version(layers)
    if not given or not number:
        return given
    table = cri(layers, number, 2)
    if default_of(table) != wants.name or wants.name in runtime.runtimes(table):
        return given
    path = ("plugins", model.CRI[number], "containerd", "default_runtime_name")
    layer = next(one for one in layers if tomltext.value(one.document, path) == wants.name)
    text = tomltext.assigned(layer.text, path, former.get("default") or "runc")
    if text is None:
        message = f"{tomltext.dotted(path)} is {wants.name!r}, which goes"
        raise tomltext.at(layer.path, layer.text, path, message, "name another one first")
    kept = [edit for edit in given if edit.path != layer.path]
    before = target.data(layer.path)
    return (Edit(layer.path, before, tomltext.encoded(text, before)), *kept)
