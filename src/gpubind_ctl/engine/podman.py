# SPDX-License-Identifier: Apache-2.0
"""podman: a drop-in in containers.conf.d, and old OCI hook files that would inject GPUs twice.

podman reads containers.conf of /usr/share and /etc, then each *.conf of containers.conf.d, for a
user also those of the user; a later file wins key by key: containers.conf(5). It has CDI by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubind_ctl.engine import block, engine, ocihook, tomledit, tomltext
from gpubind_ctl.engine.engine import Edit, File, Service, Setting, Target, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_ctl.engine.engine import Former, Host, Wants

ETC, VENDOR = "/etc/containers", "/usr/share/containers"
DROP_IN = "containers.conf.d/99-nvidia.conf"
SPEC_DIRS = ["/etc/cdi", "/var/run/cdi"]
NAMES_SPEC_DIRS = (5, 0)
"""The first release with cdi_spec_dirs; it looks at /etc/cdi alone unless told, older at both."""
LISTS = ("cdi_spec_dirs", "hooks_dir")
_VERSION = re.compile(r"\bversion (\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Target):
    """A target, with the file that gets our keys, which may be absent, and the old hook files."""

    own: str
    hooks: tuple[File, ...] = ()


class Podman:
    """The configurator of podman, which has no daemon."""

    name = "podman"
    service = Service()

    def find(self, wants: Wants, host: Host) -> Target:
        """Give the files podman reads as this user, and hook files that inject GPUs."""
        engine.check_absolute(wants)
        only = wants.config or host.env.get("CONTAINERS_CONF", "")
        base = _base(host)
        own = only or wants.drop_in or f"{base}/{DROP_IN}"
        if wants.drop_in is None and not only:
            own = f"{base}/containers.conf"
        paths = [only] if only else [*_paths(base, host, own)]
        paths += [] if own in paths else [own]
        files = tuple(File(path, host.read(path)) for path in paths)
        match = _VERSION.search(host.output(wants.executable or "podman", "--version"))
        how = "CONTAINERS_CONF names it" if only else "podman reads it by default"
        return Found(
            main=own,
            files=files,
            how="named on the command line" if wants.config else how,
            version=tuple(map(int, match.groups())) if match else (),
            own=own,
            hooks=ocihook.found(_engine(files, own), host),
        )

    def notes(self, target: Target, wants: Wants) -> tuple[str, ...]:
        """Tell of hook files that inject GPUs beside us, and what a default runtime means."""
        here = _found(target)
        notes = ocihook.notes(here.hooks, self.name, wants)
        if wants.default:
            notes.append(
                "warning: as the default runtime it gives GPUs to every container whose image asks"
            )
        return tuple(notes)

    def former(self, target: Target, wants: Wants) -> Former:
        """Give the default runtime and the hook files as they are."""
        here = _found(target)
        found: Former = {}
        if wants.default is not None:
            found["default"] = _merged(here).get("runtime")
        if wants.sweep:
            found |= ocihook.former(here.hooks)
        if here.data(here.own) is None:
            found[engine.CREATED] = True
        return found

    def edit(self, target: Target, wants: Wants) -> tuple[Edit, ...]:
        """Give the file with our runtime, and the removal of old hook files where it is wanted."""
        here = _found(target)
        _merged(here)
        data = here.data(here.own)
        text = f"{block.MADE}\n" if data is None else tomltext.decoded(data, here.own)
        text, _ = block.removed(text, wants.name)
        keys: dict[tuple[str, ...], Any] = {("engine", "runtimes", wants.name): [wants.path]}
        if _is_default(here, wants):
            keys["engine", "runtime"] = wants.name
        if wants.cdi and here.version >= NAMES_SPEC_DIRS:
            named = _merged(here).get("cdi_spec_dirs") or []
            keys["engine", "cdi_spec_dirs"] = [*dict.fromkeys([*named, *SPEC_DIRS])]
        new = tomledit.done(text, tomledit.Change(keys=keys), wants.name, here.own)
        after = tomltext.encoded(new, data)
        edits = [] if after == data else [Edit(here.own, data, after)]
        if wants.sweep:
            edits += ocihook.swept(here.hooks)
        return tuple(edits)

    def remove(self, target: Target, wants: Wants, former: Former) -> tuple[Edit, ...]:
        """Give the file without our block, and the hook files that were removed."""
        here = _found(target)
        data = here.data(here.own)
        edits = []
        if data is not None:
            text = tomltext.decoded(data, here.own)
            after, _ = block.removed(text, wants.name)
            if after != text:
                new = None if block.left_over(after) else tomltext.encoded(after, data)
                edits.append(Edit(here.own, data, new))
        return (*edits, *ocihook.back(here.hooks, former))

    def prove(self, target: Target, edits: tuple[Edit, ...], wants: Wants) -> None:
        """Refuse where a later file overrides ours, or the default is a runtime nobody defines."""
        setting = self.read(_found(target).after(edits))
        own = _found(target).own
        if setting.runtimes.get(wants.name) != wants.path:
            raise refused(
                f"a file that podman reads after {own} gives {wants.name} another program"
            )
        if wants.default and setting.default != wants.name:
            message = f"a file that podman reads after {own} makes {setting.default} the default"
            raise refused(message, "remove engine.runtime there")

    def read(self, target: Target) -> Setting:
        """Give the runtimes, the default, and hook files that inject GPUs."""
        here = _found(target)
        merged = _merged(here)
        runtimes = {name: str((paths or [""])[0]) for name, paths in merged["runtimes"].items()}
        return Setting(
            runtimes=runtimes,
            default=str(merged.get("runtime", "")),
            cdi=True,
            hooks=ocihook.left(here.hooks, here),
        )


def _found(target: Target) -> Found:
    assert isinstance(target, Found)  # noqa: S101 - what our own `find` gave
    return target


def _base(host: Host) -> str:
    """Give the folder of this user's containers.conf."""
    if host.uid == 0:
        return ETC
    home = host.env.get("XDG_CONFIG_HOME") or f"{host.env.get('HOME', '')}/.config"
    return f"{home}/containers"


def _paths(base: str, host: Host, own: str) -> Iterator[str]:
    """Give the files podman reads, in its order, with the place of one that is not there yet."""
    for folder in dict.fromkeys((VENDOR, ETC, base)):
        yield f"{folder}/containers.conf"
        drops = f"{folder}/containers.conf.d"
        names = host.names(drops) if folder != VENDOR else ()
        paths = {f"{drops}/{name}" for name in names if name.endswith(".conf")}
        yield from sorted(paths | ({own} if own.rpartition("/")[0] == drops else set()))


def _merged(target: Found) -> dict[str, Any]:
    return _engine(target.files, target.own)


def _engine(files: tuple[File, ...], own: str) -> dict[str, Any]:
    """Give the table `engine` as podman merges it, without hook files that come or go.

    Raises ToolkitError naming file and line.
    """
    merged: dict[str, Any] = {"runtimes": {}}
    for file in files:
        if file.data is None or (file.path.endswith(".json") and file.path != own):
            continue
        text = tomltext.decoded(file.data, file.path)
        document = tomltext.parsed(text, file.path)
        table = tomltext.table(document, ("engine",), file.path, text)
        runtimes = tomltext.table(document, ("engine", "runtimes"), file.path, text)
        for name, value in runtimes.items():
            tomltext.check_texts(value, ("engine", "runtimes", name), file.path, text)
        lists = {key: _appended(merged, table, key) for key in LISTS if key in table}
        for key, value in lists.items():
            tomltext.check_texts(value, ("engine", key), file.path, text)
        if not isinstance(table.get("runtime", ""), str):
            path = ("engine", "runtime")
            raise tomltext.at(file.path, text, path, "runtime must be a text")
        merged = {**merged, **table, **lists, "runtimes": {**merged["runtimes"], **runtimes}}
    return merged


def _appended(merged: dict[str, Any], table: dict[str, Any], key: str) -> Any:
    """Give a list as podman reads it: `{append = true}` in it keeps what earlier files have."""
    value = table[key]
    if not isinstance(value, list):
        return value
    own = [one for one in value if one not in ({"append": True}, {"append": False})]
    return [*merged.get(key, ()), *own] if {"append": True} in value else own


def _is_default(target: Found, wants: Wants) -> bool:
    """Tell whether our runtime is to be the default; not said is: as it is now."""
    if wants.default is not None:
        return wants.default
    return bool(_merged(target).get("runtime") == wants.name)
