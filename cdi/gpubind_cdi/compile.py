# SPDX-License-Identifier: Apache-2.0
"""All spec directories as one JSON document with the stamps of its sources, for the start path.

Reading YAML costs a container start more than all the rest, so it is done here, once per change.
A bad file is an entry under `errors` and stops nothing. Shadowing and conflicts are resolved: the
directory with the highest priority wins; two files of one priority that give the same device make
it unusable until one of them goes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import gpubind
from gpubind import registry as core
from gpubind.config import DEFAULT_KIND, DEFAULTS
from gpubind.errors import DocumentError, printable
from gpubind_cdi import document, files, names, sidecar, sources, validate
from gpubind_cdi.model import Spec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gpubind_cdi.sidecar import Capabilities, Sidecar
    from gpubind_cdi.sources import Source, Stamp

MANY = 32  # specs of other vendors that are kept apart; fewer cost less than a second file
FORMAT = 1
GENERATOR = f"gpubind {gpubind.VERSION}"
FILE = "compiled.json"
CONFIG_FILE = "config.json"


def compiled(
    config: Mapping[str, object],
    spec_dirs: Sequence[str],
    sidecars_dir: str,
    *,
    shared_sidecars: str = "",
    stamps: Mapping[str, Stamp] | None = None,
    owners: Collection[int] | None = None,
    capabilities_of: Capabilities | None = None,
) -> dict[str, Any]:
    """Give the compiled registry of `spec_dirs`, which are in ascending priority.

    Of the operator's keys in `config` those nobody knows stay out: JSON may have no form for their
    values. `stamps` are those of the files they were read from, taken before. `shared_sidecars` is
    looked into after `sidecars_dir`: a user's own state lacks those of the host's specs. `owners`
    are the users whose files are trusted: root and the caller.
    Nothing in a spec directory makes this fail.
    """
    gathering = _Gathering(
        [sidecars_dir, *([shared_sidecars] if shared_sidecars else [])],
        sources.default_owners() if owners is None else owners,
        _by_name if capabilities_of is None else capabilities_of,
    )
    gathering.stamps |= stamps or {}
    for priority, folder in enumerate(spec_dirs):
        gathering.add_folder(folder, priority)
    devices, conflicts = resolved(gathering.specs)
    return {
        "format": FORMAT,
        "generator": GENERATOR,
        "stamps": gathering.stamps,
        "config": {key: value for key, value in config.items() if key in DEFAULTS},
        "specs": gathering.specs,
        "devices": devices,
        "conflicts": conflicts,
        "errors": gathering.errors,
    }


def resolved(specs: Sequence[Mapping[str, Any]]) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Give which spec serves each qualified name, and the names that nothing serves by conflict."""
    givers: dict[str, list[int]] = {}
    for index, spec in enumerate(specs):
        for device in spec["devices"]:
            known = givers.setdefault(names.qualified(spec["kind"], device), [])
            if known and specs[known[0]]["priority"] < spec["priority"]:
                known.clear()
            known.append(index)
    devices = {name: known[0] for name, known in givers.items() if len(known) == 1}
    conflicts = {
        name: [specs[index]["path"] for index in known]
        for name, known in givers.items()
        if len(known) > 1
    }
    return devices, conflicts


def write(state_dir: str, registry: Mapping[str, Any], config_file: str = "") -> None:
    """Put the compiled registry into `state_dir`, whole or not at all.

    With `config_file` also the operator's keys, with the stamp the registry holds for that file.
    """
    make_folder(state_dir)
    if config_file:
        stamp = registry["stamps"].get(config_file)
        twin = {"file": config_file, "stamp": stamp, "values": registry["config"]}
        put(state_dir, CONFIG_FILE, twin)
    ours, others = apart(registry)
    if others:
        put(state_dir, core.APART, others)
    put(state_dir, FILE, ours)


def apart(registry: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what every start reads, and the specs of other vendors where there are many.

    Nearly all starts want a GPU; reading hundreds of other specs first would cost them more than
    looking whether those have changed.
    """
    default = str(registry["config"].get(DEFAULT_KIND) or DEFAULTS[DEFAULT_KIND])
    known = {"nvidia.com", default.partition("/")[0]}
    indices: tuple[list[int], list[int]] = ([], [])
    for index, spec in enumerate(registry["specs"]):
        vendor = spec["kind"].partition("/")[0]
        indices[vendor not in known and not vendor.endswith(".nvidia.com")].append(index)
    if len(indices[1]) < MANY:
        return dict(registry), {}
    ours, others = (_part(registry, part) for part in indices)
    files, stamps = _as_text(registry["stamps"], {spec["path"] for spec in others["specs"]})
    kinds = f" {' '.join(sorted({spec['kind'] for spec in others['specs']}))} "
    return {**registry, **ours, "stamps": stamps, "files": files, "elsewhere": kinds}, others


def _part(registry: Mapping[str, Any], indices: Sequence[int]) -> dict[str, Any]:
    new = {old: place for place, old in enumerate(indices)}
    devices = {name: new[old] for name, old in registry["devices"].items() if old in new}
    return {"specs": [registry["specs"][old] for old in indices], "devices": devices}


def _as_text(
    stamps: Mapping[str, Stamp], paths: Collection[str]
) -> tuple[list[tuple[str, str, str]], dict[str, Stamp]]:
    """Give the stamps of `paths` as a start compares them, see `registry.numbers`, and the others.

    For each folder its name, its files' names, their stamps' numbers: texts, since JSON would take
    longer to read them one by one than a start takes to look at the files.
    """
    folders: dict[str, dict[str, Sequence[int]]] = {}
    rest = dict(stamps)
    for path, stamp in stamps.items():
        folder, _, name = path.rpartition("/")
        if path in paths and stamp and folder and "\n" not in name:
            folders.setdefault(folder, {})[name] = stamp[2:]
            del rest[path]
    texts = [
        (folder, "\n".join(known), str([one for numbers in known.values() for one in numbers]))
        for folder, known in folders.items()
    ]
    return texts, rest


class _Gathering:
    """What has been read so far."""

    def __init__(
        self, sidecars: Sequence[str], owners: Collection[int], capabilities_of: Capabilities
    ) -> None:
        self.sidecars = sidecars
        self.owners = owners
        self.capabilities_of = capabilities_of
        self.stamps: dict[str, Stamp] = {}
        self.specs: list[dict[str, Any]] = []
        self.errors: list[dict[str, str]] = []
        for folder in sidecars:
            self.note(sources.folder(folder))

    def note(self, source: Source) -> bool:
        """Keep a source's stamp and fault; say whether it holds something to parse."""
        self.stamps.setdefault(source.path, source.stamp)
        if source.fault:
            self.errors.append({"path": source.path, "message": source.fault})
        return source.stamp is not None and not source.fault

    def add_folder(self, folder: str, priority: int) -> None:
        """Read one spec directory."""
        for source in sources.specs(folder, self.owners):
            if self.note(source) and source.path != folder:
                try:
                    self.add_spec(source, priority)
                except DocumentError as error:
                    self.refuse(source.path, error)

    def add_spec(self, source: Source, priority: int) -> None:
        """Parse and check one spec. Raises DocumentError."""
        spec = Spec.parse(document.load(source.data, source.path))
        validate.check(spec)
        beside = self.sidecar_of(source)
        held = {
            device.name: sidecar.woven(device.container_edits, beside, self.capabilities_of)
            for device in spec.devices
        }
        self.specs.append(
            {
                "path": source.path,
                "priority": priority,
                "kind": spec.kind,
                "cdiVersion": spec.cdi_version,
                "containerEdits": sidecar.woven(spec.container_edits, beside, self.capabilities_of),
                "devices": held,
                **(beside.beside() if beside else sidecar.NOTHING_BESIDE),
            }
        )

    def sidecar_of(self, source: Source) -> Sidecar | None:
        """Give the sidecar that fits a spec, if one does."""
        places = [sidecar.paths_of(folder, source.path) for folder in self.sidecars]
        for path in (path for place in places for path in place):
            found = sources.read(path, self.owners)
            if not self.note(found):
                continue
            try:
                known = sidecar.Sidecar.parse(found.data, path)
            except DocumentError as error:
                self.refuse(path, error)
                continue
            if known.fits(source.path, sidecar.digest(source.data)):
                return known
        return None

    def refuse(self, path: str, error: DocumentError) -> None:
        """Keep what is wrong with a file, without its name, which the entry has already."""
        place = f" at {error.path}" if error.path else ""
        self.errors.append({"path": path, "message": printable(f"{error.message}{place}")})


def _by_name(path: str) -> tuple[str, ...] | None:
    """Look a path up in the table of the driver's files, read only when a spec needs it."""
    from gpubind_cdi import libraries

    return libraries.capabilities_of(path)


def make_folder(path: str) -> None:
    """Make the state folder where it is absent."""
    if os.path.isdir(path):
        return
    os.makedirs(path, exist_ok=True)
    os.chmod(path, 0o755)  # noqa: S103 - whatever the umask says: non-root engines read it too


def put(folder: str, name: str, value: object) -> None:
    """Put a value as JSON into a file of `folder`, whole or not at all."""
    import json

    data = json.dumps(value, separators=(",", ":"), default=str).encode()  # str: dates of TOML
    files.put(f"{folder}/{name}", data)
