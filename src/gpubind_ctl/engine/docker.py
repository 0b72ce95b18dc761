# SPDX-License-Identifier: Apache-2.0
"""docker: daemon.json, which dockerd merges with its flags and refuses where both say the same.

Our keys are `runtimes.NAME`, `default-runtime` where asked for, and `features.cdi` where the
installed dockerd knows CDI (25.0) and has not turned it on by itself (28.2).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gpubind.errors import UsageError
from gpubind_ctl.engine import engine, jsonreader, jsontext, unit
from gpubind_ctl.engine.engine import Edit, File, Service, Setting, Target, refused

if TYPE_CHECKING:
    from gpubind_ctl.engine.engine import Former, Host, Wants
    from gpubind_ctl.engine.jsonreader import Node

MAIN = "/etc/docker/daemon.json"
SNAP = "/var/snap/docker/current/config/daemon.json"
BUILT_IN = ("runc", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux", "linux")
KNOWS_CDI = (25, 0)
HAS_CDI_ON = (28, 2)
DEFAULT = "default-runtime"
_VERSION = re.compile(r"\bversion (\d+)\.(\d+)(?:\.(\d+))?")
_FLAGS = {"--add-runtime": "runtimes", "--default-runtime": DEFAULT, "--feature": "features"}


class Docker:
    """The configurator of docker."""

    name = "docker"
    service = Service(
        unit="docker.service",
        program="dockerd",
        sockets=("/run/docker.sock", "/var/run/docker.sock"),
        pidfiles=("/run/docker.pid", "/var/run/docker.pid"),
        reloads=True,
        why="it looks for the hook of --gpus only when it starts",
    )

    def find(self, wants: Wants, host: Host) -> Target:
        """Give daemon.json as the running dockerd, its unit, or its kind of installation has it."""
        if wants.drop_in:
            raise UsageError(
                "runtime docker does not support drop-in configs", identifier="USE-DROPIN"
            )
        running = host.running(self.service)
        argv = running.argv if running else host.unit(self.service.unit)
        loaded, how = _loaded(argv, running is not None, host)
        main = wants.config or loaded
        notes = []
        if wants.config and argv and main != loaded:
            notes.append(f"warning: dockerd loads {loaded}, not {main}")
        return Target(
            main=main,
            files=(File(main, host.read(main)),),
            how="named on the command line" if wants.config else how,
            version=_version(host.output(wants.executable or "dockerd", "--version")),
            argv=argv,
            notes=tuple(notes),
            unit="snap.docker.dockerd" if main == SNAP else "--user docker" if host.uid else "",
        )

    def notes(self, target: Target, wants: Wants) -> tuple[str, ...]:
        """Tell where CDI needs no key or can have none, and what a default runtime means."""
        node = _parsed(target)[1]
        notes = []
        if wants.cdi and target.version and target.version < KNOWS_CDI:
            version = ".".join(map(str, target.version))
            notes.append(
                f"warning: docker {version} knows no CDI, 25.0 is the first; it is left out"
            )
        if wants.cdi and target.version >= HAS_CDI_ON and _at(node, "features", "cdi") is None:
            notes.append("CDI is on by default in this docker; no key is written")
        former = _at(node, DEFAULT)
        if wants.default and former not in (None, wants.name):
            notes.append(f"warning: the default runtime was {former}; unconfigure gives it back")
        if wants.default:
            notes.append(
                "warning: as the default runtime it gives GPUs to every container whose image asks"
            )
        return tuple(notes)

    def former(self, target: Target, wants: Wants) -> Former:
        """Give the runtime's path, the default and the CDI switch as they are, where asked for."""
        node = _parsed(target)[1]
        found: Former = {
            "path": _at(node, "runtimes", wants.name, "path"),
            "runtimes": None if node.at(("runtimes",)) is None else {},
        }
        if wants.default is not None:
            found["default"] = _at(node, DEFAULT)
        if wants.cdi is not None:
            found["cdi"] = _at(node, "features", "cdi")
            found["features"] = None if node.at(("features",)) is None else {}
        if target.data(target.main) is None:
            found[engine.CREATED] = True
        return found

    def edit(self, target: Target, wants: Wants) -> tuple[Edit, ...]:
        """Give daemon.json with our keys, all that is beside them as it was."""
        _check(wants)
        text, node, mark, encoding = _text(target)
        _check_types(target.main, text, node)
        file = target.main
        if node.at(("runtimes", wants.name)) is None:
            entry: Any = {"args": [], "path": wants.path}
            text = jsontext.changed(text, ("runtimes", wants.name), entry, file)
        else:
            text = jsontext.changed(text, ("runtimes", wants.name, "path"), wants.path, file)
        text = _with_default(text, node, wants, file)
        text = _with_cdi(text, node, target.version, wants, file)
        return _edits(target, jsonreader.encode(text, mark, encoding))

    def remove(self, target: Target, wants: Wants, former: Former) -> tuple[Edit, ...]:
        """Give daemon.json without our keys; former values come back, objects of ours go."""
        if target.data(target.main) is None:
            return ()
        text, node, mark, encoding = _text(target)
        file, name = target.main, wants.name
        if _at(node, DEFAULT) == name:
            text = _given_back(text, (DEFAULT,), former.get("default"), file)
        if former.get("path") is not None and node.at(("runtimes", name)):
            text = jsontext.changed(text, ("runtimes", name, "path"), former["path"], file)
        else:
            text = jsontext.removed(text, ("runtimes", name), file)
            text = _without_empty(text, "runtimes", former, file)
        if "cdi" in former:
            text = _given_back(text, ("features", "cdi"), former["cdi"], file)
            text = _without_empty(text, "features", former, file)
        empty = former.get(engine.CREATED) and not jsonreader.parse(text, file).members
        return _edits(target, None if empty else jsonreader.encode(text, mark, encoding))

    def prove(self, target: Target, edits: tuple[Edit, ...], wants: Wants) -> None:
        """Refuse what dockerd would not start with, or would read otherwise than wanted."""
        after = target.after(edits)
        node = _parsed(after)[1]
        for flag, key in _FLAGS.items():
            if unit.flag(target.argv, flag) is not None and node.at((key,)):
                message = (
                    f"dockerd is started with {flag}, and {target.main} may not set {key} then"
                )
                raise refused(message, "give the flag up, or add the runtime by flags too")
        setting = self.read(after)
        if setting.runtimes.get(wants.name) != wants.path:
            raise refused(f"{target.main} does not give runtimes.{wants.name}.path = {wants.path}")
        known = (*setting.runtimes, *BUILT_IN, "")
        if setting.default not in known and not setting.default.startswith(("/", "io.containerd.")):
            raise refused(
                f"{target.main}: {DEFAULT} is {setting.default!r}, which is no runtime of the "
                "file: dockerd would not start",
                f"add it to runtimes or remove {DEFAULT}",
            )
        if wants.default and setting.default != wants.name:
            raise refused(f"{target.main} does not make {wants.name} the default runtime")

    def read(self, target: Target) -> Setting:
        """Give runtimes, default and CDI switch of daemon.json."""
        text, node = _parsed(target)
        _check_types(target.main, text, node)
        runtimes = node.at(("runtimes",))
        members = runtimes.members if runtimes else ()
        paths = {one.key: _at(one.node, "path") or _at(one.node, "runtimeType") for one in members}
        cdi = _at(node, "features", "cdi")
        if cdi is None and target.version:
            cdi = target.version >= HAS_CDI_ON
        return Setting(
            runtimes={key: path or "" for key, path in paths.items()},
            default=_at(node, DEFAULT) or unit.flag(target.argv, "--default-runtime") or "",
            cdi=cdi,
        )


def _loaded(argv: tuple[str, ...], running: bool, host: Host) -> tuple[str, str]:  # noqa: FBT001 - one caller, right above
    """Give the file dockerd loads, and how that is known."""
    named = unit.flag(argv, "--config-file", "-config-file")
    if named:
        return named, "the running dockerd names it" if running else "docker.service names it"
    if host.read(SNAP) is not None and (not running or "/snap/" in argv[0]):
        return SNAP, "docker is a snap"
    if host.uid:
        home = host.env.get("XDG_CONFIG_HOME") or f"{host.env.get('HOME', '')}/.config"
        return f"{home}/docker/daemon.json", "rootless docker reads it"
    return MAIN, "dockerd reads it by default"


def _version(text: str) -> tuple[int, ...]:
    match = _VERSION.search(text)
    return tuple(int(part) for part in match.groups() if part) if match else ()


def _text(target: Target) -> tuple[str, Node, bytes, str]:
    """Give daemon.json's text and object, its BOM and encoding; an absent one is empty."""
    text, mark, encoding = jsonreader.decode(target.data(target.main) or b"", target.main)
    return text, jsonreader.parse(text, target.main), mark, encoding


def _parsed(target: Target) -> tuple[str, Node]:
    return _text(target)[:2]


def _at(node: Node, *path: str) -> Any:
    """Give the value at a path, None where it is absent."""
    found = node.at(path)
    return None if found is None else found.value


def _check(wants: Wants) -> None:
    if wants.name in BUILT_IN:
        raise UsageError(
            f"docker has a runtime {wants.name} of its own",
            identifier="USE-RUNTIME",
            hint="choose another --nvidia-runtime-name",
        )
    if not wants.path or ("/" in wants.path and not wants.path.startswith("/")):
        raise UsageError(
            f"the NVIDIA runtime path {wants.path!r} is not an absolute path",
            identifier="USE-PATH",
            hint="give the whole path, or a name on dockerd's PATH",
        )


def _check_types(file: str, text: str, node: Node) -> None:
    """Refuse keys whose type dockerd does not take."""
    kinds: list[tuple[tuple[str, ...], type, str]] = [
        (("runtimes",), dict, "an object"),
        (("features",), dict, "an object"),
        ((DEFAULT,), str, "a text"),
        (("features", "cdi"), bool, "true or false"),
    ]
    runtimes = node.at(("runtimes",))
    names = [member.key for member in runtimes.members] if runtimes else []
    kinds += [(("runtimes", one), dict, "an object") for one in names]
    kinds += [(("runtimes", one, "path"), str, "a text") for one in names]
    for path, kind, word in kinds:
        found = node.at(path)
        if found is not None and not isinstance(found.value, kind):
            raise jsonreader.wrong(file, text, found.start, f"{'.'.join(path)} must be {word}")


def _with_default(text: str, node: Node, wants: Wants, file: str) -> str:
    if wants.default:
        return jsontext.changed(text, (DEFAULT,), wants.name, file)
    if wants.default is False and _at(node, DEFAULT) == wants.name:
        return _given_back(text, (DEFAULT,), wants.former.get("default"), file)
    return text


def _with_cdi(text: str, node: Node, version: tuple[int, ...], wants: Wants, file: str) -> str:
    """Give the text with CDI on or off; the daemon's own default is never written."""
    if wants.cdi is None or (version and version < KNOWS_CDI):
        return text
    default = version >= HAS_CDI_ON if version else None
    if wants.cdi is default and _at(node, "features", "cdi") is None:
        return text
    return jsontext.changed(text, ("features", "cdi"), wants.cdi, file)


def _given_back(text: str, path: tuple[str, ...], value: Any, file: str) -> str:
    """Give the text with a key as it was, None for absent."""
    if value is None:
        return jsontext.removed(text, path, file)
    return jsontext.changed(text, path, value, file)


def _without_empty(text: str, key: str, former: Former, file: str) -> str:
    """Give the text without an empty object that was not there before us."""
    node = jsonreader.parse(text, file).at((key,))
    if node is not None and node.value == {} and former.get(key) is None:
        return jsontext.removed(text, (key,), file)
    return text


def _edits(target: Target, after: bytes | None) -> tuple[Edit, ...]:
    before = target.data(target.main)
    return () if after == before else (Edit(target.main, before, after),)
