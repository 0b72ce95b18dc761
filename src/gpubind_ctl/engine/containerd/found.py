# SPDX-License-Identifier: Apache-2.0
"""containerd's configuration as it was found, and in what way it is edited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind_ctl.engine import block, tomltext
from gpubind_ctl.engine.containerd import model
from gpubind_ctl.engine.engine import Target

if TYPE_CHECKING:
    from gpubind_ctl.engine.containerd.model import Layer

SHARED = "(shared)"
"""The block with what all runtimes of ours need; no runtime can have this name."""
IN_PLACE, DROP_IN, TEMPLATE, PATCH = "in-place", "drop-in", "template", "patch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Target):
    """A target, and in what way it is edited.

    `way`: IN_PLACE, the file that has the CRI plugin's table; DROP_IN, a file that `main` imports;
    TEMPLATE, the text that `rendered` is made of at the next start; PATCH, a file that is merged
    into `main` then. `pattern` is what `main` must import for the drop-in, if it does not yet.
    """

    layout: str = ""
    way: str = IN_PLACE
    drop_in: str = ""
    pattern: str = ""
    rendered: str = ""
    default: str = ""

    def major(self) -> int:
        """Give containerd's major release, 0 where unknown."""
        return self.version[0] if self.version else 0

    def text(self, path: str, name: str = "") -> str:
        """Give a file's text, empty where absent; without the runtime of that name."""
        text = tomltext.decoded(self.data(path) or b"", path)
        if not name:
            return text
        text, _ = block.removed(text, name)
        return text if self.others(name) else block.removed(text, SHARED)[0]

    def others(self, name: str) -> bool:
        """Tell whether the files have runtimes of ours besides the one of that name."""
        blocks = {
            one for file in self.files for one in block.names((file.data or b"").decode("latin-1"))
        }
        return not blocks <= {name, SHARED}

    def layers(self, name: str = "") -> tuple[Layer, ...]:
        """Give the files in the daemon's order, without the blocks of that name."""
        known = {file.path: file.data for file in self.files}

        def read(path: str) -> bytes | None:
            data = known.get(path)
            return self.text(path, name).encode() if data is not None and name else data

        def names(folder: str) -> set[str]:
            start = folder.rstrip("/") + "/"
            here = [path for path, data in known.items() if data is not None]
            return {one[len(start) :].split("/")[0] for one in here if one.startswith(start)}

        start = self.rendered or self.main
        merged = model.layers(start, read, names, self.major())
        if self.way == PATCH and known.get(self.drop_in) is not None:
            text = self.text(self.drop_in, name)
            merged += (model.Layer(self.drop_in, text, tomltext.parsed(text, self.drop_in)),)
        return merged
