# SPDX-License-Identifier: Apache-2.0
"""A host whose files are in memory, for engines' configurators: the double of their port."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubind_ctl.engine.engine import Daemon, Engine, Service, Wants


class FakeHost:
    """Files by path, the words of every unit, and the release that every daemon tells."""

    def __init__(
        self,
        files: Mapping[str, bytes | str],
        release: str = "",
        command: tuple[str, ...] = (),
        uid: int = 0,
    ) -> None:
        self.files = {p: d.encode() if isinstance(d, str) else d for p, d in files.items()}
        self.release = release
        self.command = command
        self.uid = uid
        self.env: Mapping[str, str] = {"HOME": "/root" if not uid else "/srv/user"}

    def read(self, path: str) -> bytes | None:
        """Give a file's bytes."""
        return self.files.get(path)

    def names(self, folder: str) -> tuple[str, ...]:
        """Give the names in a folder."""
        start = folder.rstrip("/") + "/"
        here = [path[len(start) :] for path in self.files if path.startswith(start)]
        return tuple(sorted({name.split("/")[0] for name in here}))

    def running(self, service: Service) -> Daemon | None:
        """Give no daemon."""
        del service
        return None

    def unit(self, name: str) -> tuple[str, ...]:
        """Give the words of the one unit."""
        del name
        return self.command

    def output(self, *words: str) -> str:
        """Give what `--version` prints."""
        return f"{words[0]} github.com/x/y v{self.release}" if self.release else ""

    def tried(self, files: Mapping[str, bytes], *words: str) -> str:
        """Give nothing: there is no such program."""
        del files, words
        return ""

    def configure(self, engine: Engine, wants: Wants) -> list[str]:
        """Do what a configure does, but for the journal; gives the paths it wrote."""
        target = engine.find(wants, self)
        edits = engine.edit(target, wants)
        engine.prove(target, edits, wants)
        for edit in edits:
            assert edit.before == self.files.get(edit.path)
            assert edit.after is not None
            self.files[edit.path] = edit.after
        return [edit.path for edit in edits]

    def unconfigure(self, engine: Engine, wants: Wants) -> None:
        """Do what an unconfigure does where nothing but the files is left."""
        target = engine.find(wants, self)
        for edit in engine.remove(target, wants, {}):
            assert edit.before == self.files[edit.path]
            if edit.after is None:
                del self.files[edit.path]
            else:
                self.files[edit.path] = edit.after
