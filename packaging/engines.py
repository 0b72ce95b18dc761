# SPDX-License-Identifier: Apache-2.0
"""Ask every engine for GPUs in every way, in containers of every kind: `./dev engines`.

All of it runs from the installed packages, in private places (see docs/testing.md). It prints a
table, and with --write puts it into docs/engines.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
import tempfile
from typing import TYPE_CHECKING

import grpc
import install
from system import debian, kinds, matrix, packaged
from system.dropin import Host

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAGE = os.path.join(install.CHECKOUT, "docs/engines.md")
TABLE = re.compile(r"^\| engine \|.*?(?=^[^|])", re.MULTILINE | re.DOTALL)


def problem(seen: list[str], wanted: list[str]) -> str:
    """Give in few words what is not as wanted, empty where all is."""
    if seen == wanted:
        return ""
    missing = [line for line in wanted if line not in seen]
    surplus = [line for line in seen if line not in wanted]
    return "; ".join([*(f"no {line}" for line in missing), *surplus]) or "another order"


def run(
    release: str, layout: str, packages: Sequence[str], folder: str
) -> Iterator[tuple[str, ...]]:
    """Give the lines of a release and a layout of cgroups: engine, asked by, what each kind saw."""
    behind = ", cgroup v2" if layout == "unified" else ""
    with Host(release, packages, folder, layout=layout) as host:
        for row in matrix.rows(release, layout):
            cells = []
            for kind in kinds.NAMES:
                try:
                    found = problem(row.cell(host, kind), kinds.wanted(kind, row.gpus))
                except (AssertionError, grpc.RpcError) as error:
                    found = str(error).strip().rpartition("\n")[2]
                cells.append(found.replace("|", "/") or "yes")
            yield f"{row.engine} {host.version(row.engine)}{behind}", row.asks, *cells


def table(found: Sequence[tuple[str, ...]]) -> str:
    """Give the table as the page has it."""
    head = ("engine", "asked by", *kinds.NAMES)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ("---",) * len(head), *found))


def main(words: list[str]) -> int:
    """Run the releases named; gives 1 where a cell is not yes, 3 where a release is left out."""
    parser = argparse.ArgumentParser(prog="./dev engines", description=__doc__.split("\n")[0])
    parser.add_argument(
        "releases", nargs="*", help=f"Debian's: {', '.join(matrix.RELEASES)} (both)"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/engines.md")
    options = parser.parse_args(words)
    if unknown := set(options.releases) - {*matrix.RELEASES}:
        parser.error(f"not a release that has a table: {' '.join(sorted(unknown))}")
    if os.geteuid():
        print("./dev engines needs uid 0: namespaces, mounts, device nodes", file=sys.stderr)
        return 1
    found: list[tuple[str, ...]] = []
    left_out = 0
    with tempfile.TemporaryDirectory(prefix="gpubind-engines-") as folder:
        packages = packaged.built(f"{folder}/packages")
        releases = options.releases or matrix.RELEASES
        for release, layout in itertools.product(releases, matrix.LAYOUTS):
            try:
                for line in run(release, layout, packages, folder):
                    print(" | ".join(line), flush=True)
                    found.append(line)
            except debian.UnavailableError as error:
                print(f"Debian {release} is left out: {error}", file=sys.stderr)
                left_out = 3
    if options.write:
        write(found)
    return 1 if any(cell != "yes" for _, _, *cells in found for cell in cells) else left_out


def write(found: Sequence[tuple[str, ...]]) -> None:
    """Put the table into the page, in place of the one there."""
    with open(PAGE, encoding="utf-8") as file:
        text = file.read()
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(TABLE.sub(lambda _: table(found), text))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
