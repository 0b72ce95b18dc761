# SPDX-License-Identifier: Apache-2.0
"""Write the pack of an installation's start path: `python3 -m gpubind.packing FOLDER [SHOWN]`.

Run by the interpreter that containers start, when gpubind is installed; see `pack`. SHOWN is the
folder that a failure's place is told in, where the installation is moved there afterwards.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER

from gpubind import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("gpubind", "gpubind_hooks")


def packed(folder: str, shown: str) -> bytes:
    """Give the pack of the packages in a folder. Raises OSError, SyntaxError."""
    index: dict[str, tuple[bool, int, int]] = {}
    codes: list[bytes] = []
    length = 0
    for file in (file for package in PACKAGES for file in _files(folder, package)):
        with open(f"{folder}/{file}", "rb") as source:
            code = compile(source.read(), f"{shown}/{file}", "exec", dont_inherit=True, optimize=2)
        codes.append(marshal.dumps(code))
        name = file.removesuffix(".py").replace("/", ".")
        index[name.removesuffix(".__init__")] = (name.endswith("__init__"), length, len(codes[-1]))
        length += len(codes[-1])
    known = marshal.dumps(index)
    size = pack.HEAD + len(known) + length
    head = (MAGIC_NUMBER, len(known).to_bytes(4, "little"), size.to_bytes(8, "little"))
    return b"".join([*head, known, *codes])


def _files(folder: str, package: str) -> Iterator[str]:
    """Give the sources of a package and those below it, named from `folder`, in order."""
    for name in sorted(os.listdir(f"{folder}/{package}")):
        file = f"{package}/{name}"
        if name.endswith(".py"):
            yield file
        elif name != "__pycache__":
            yield from _files(folder, file)


def main(words: list[str]) -> None:
    """Write the pack of the folder the words name."""
    folder, shown = words[1], words[-1]
    with open(f"{folder}/{pack.NAME}", "wb") as file:
        file.write(packed(folder, shown))


if __name__ == "__main__":
    main(sys.argv)
