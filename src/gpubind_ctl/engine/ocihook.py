# SPDX-License-Identifier: Apache-2.0
"""The OCI hook file that podman and CRI-O read from their hooks.d, as an engine of one file."""

from __future__ import annotations

import json
import os.path
from typing import TYPE_CHECKING, Any

from gpubind.errors import UsageError
from gpubind_ctl.engine import engine
from gpubind_ctl.engine.engine import Edit, File, Service, Setting, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpubind_ctl.engine.engine import Former, Host, Wants

FOLDERS = ("/usr/share/containers/oci/hooks.d",)
"""Where podman and CRI-O look; where `hooks_dir` names folders, these alone count.

Seen with podman 4.3 under strace: /etc/containers/oci/hooks.d is not read by itself.
"""
NAME = "nvidia"
"""What stands for a runtime's name; a hook has none."""
_ENV = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"


def document(hook: str) -> bytes:
    """Give the file that has `hook` started before each container's process."""
    value = {
        "version": "1.0.0",
        "hook": {"path": hook, "args": [hook.rpartition("/")[2], "prestart"], "env": [_ENV]},
        "when": {"always": True, "commands": [".*"]},
        "stages": ["prestart"],
    }
    return json.dumps(value, indent=2).encode() + b"\n"


def program(data: bytes) -> str:
    """Give the path of the GPU hook that a hook file starts, empty where it starts another."""
    path = _path(data)
    return path if path.rpartition("/")[2] in engine.HOOKS else ""


def _path(data: bytes) -> str:
    try:
        value: Any = json.loads(data)
        return str(value["hook"]["path"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def found(table: Mapping[str, Any], host: Host) -> tuple[File, ...]:
    """Give the hook files that inject GPUs, of the folders an engine's table names."""
    files = []
    for folder in dict.fromkeys(table.get("hooks_dir") or FOLDERS):
        for name in host.names(folder) if folder.startswith("/") else ():
            data = host.read(f"{folder}/{name}") if name.endswith(".json") else None
            if data is not None and program(data):
                files.append(File(f"{folder}/{name}", data))
    return tuple(files)


def notes(hooks: Sequence[File], name: str, wants: Wants) -> list[str]:
    """Tell of hook files that inject GPUs beside a runtime that does."""
    verb = "is removed" if wants.sweep else "--remove-old-hooks removes it"
    return [
        f"warning: {one.path} has {name} start {program(one.data or b'')} in every container, so "
        f"that GPUs are injected twice; {verb}"
        for one in hooks
    ]


def former(hooks: Sequence[File]) -> Former:
    """Give what the journal keeps of hook files that go."""
    kept = {one.path: (one.data or b"").decode("utf-8", "replace") for one in hooks}
    return {"hooks": kept} if kept else {}


def swept(hooks: Sequence[File]) -> list[Edit]:
    """Give the edits that remove hook files."""
    return [Edit(one.path, one.data, None) for one in hooks]


def back(hooks: Sequence[File], former: Former) -> list[Edit]:
    """Give the edits that bring removed hook files back, but for those that are there again."""
    present = {one.path for one in hooks}
    kept: dict[str, str] = former.get("hooks") or {}
    return [Edit(path, None, text.encode()) for path, text in kept.items() if path not in present]


def left(hooks: Sequence[File], target: Target) -> tuple[str, ...]:
    """Give the paths of those hook files that a target's edits have not removed."""
    gone = {file.path for file in target.files if file.data is None}
    return tuple(one.path for one in hooks if one.path not in gone)


class OciHook:
    """The configurator of a hook file: it is ours as a whole, or refused."""

    name = "oci-hook"
    service = Service()

    def find(self, wants: Wants, host: Host) -> Target:
        """Give the file that is named on the command line."""
        if not os.path.isabs(wants.hook) or not os.path.isabs(wants.hook_file):
            raise UsageError(
                f"{wants.hook_file} and {wants.hook} must be absolute paths", identifier="USE-PATH"
            )
        file = File(wants.hook_file, host.read(wants.hook_file))
        return Target(main=wants.hook_file, files=(file,), how="named on the command line")

    def notes(self, target: Target, wants: Wants) -> tuple[str, ...]:
        """Tell where engines would not look."""
        del wants
        folder = os.path.dirname(target.main)
        if folder in FOLDERS:
            return ()
        return (f"warning: engines read {folder} only where hooks_dir names it",)

    def former(self, target: Target, wants: Wants) -> Former:
        """Give whether the file is new; its bytes are in the journal."""
        del wants
        return {engine.CREATED: True} if target.data(target.main) is None else {}

    def edit(self, target: Target, wants: Wants) -> tuple[Edit, ...]:
        """Give the file as it must be. A file that starts another hook is refused."""
        before, after = target.data(target.main), document(wants.hook)
        ours = engine.CREATED in wants.former
        if before is not None and not program(before) and _path(before) != wants.hook and not ours:
            raise engine.refused(
                f"{target.main} starts another hook", "name another file with --oci-hook-path"
            )
        if before is not None and json.loads(before) == json.loads(after):
            return ()
        return (Edit(target.main, before, after),)

    def remove(self, target: Target, wants: Wants, former: Former) -> tuple[Edit, ...]:
        """Give the file's removal where it still starts a GPU hook."""
        del wants, former
        data = target.data(target.main)
        return (Edit(target.main, data, None),) if data and program(data) else ()

    def prove(self, target: Target, edits: tuple[Edit, ...], wants: Wants) -> None:
        """Refuse a file whose program is not the hook that was wanted."""
        data = target.after(edits).data(target.main)
        if data is None or _path(data) != wants.hook:
            raise engine.refused(f"{target.main} does not start {wants.hook}")

    def read(self, target: Target) -> Setting:
        """Give the hook of the file as the one runtime there is."""
        data = target.data(target.main)
        path = _path(data) if data else ""
        return Setting(runtimes={NAME: path} if path else {}, cdi=True)
