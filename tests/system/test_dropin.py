# SPDX-License-Identifier: Apache-2.0
"""Our packages in the place of NVIDIA's toolkit: engines of two releases, asked in every way.

The rows are those of `./dev engines`; the newer release's are run with one kind of image here.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import pytest
from system import debian, kinds, matrix, packaged
from system.dropin import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.system

CELLS = [
    (release, layout, row, kind)
    for release in matrix.RELEASES
    for layout in matrix.LAYOUTS
    for row in matrix.rows(release, layout)
    for kind in (kinds.NAMES if (release, layout) == ("bookworm", "machine") else ["debian"])
]


@pytest.fixture(scope="module")
def hosts(scratch: str) -> Iterator[Callable[[str, str], Host]]:
    """Give the node of a release and a layout, which stays for the others that ask for it."""
    packages = packaged.built(f"{scratch}/dropin")
    with contextlib.ExitStack() as all_of_them:
        yield functools.cache(
            lambda release, layout: all_of_them.enter_context(
                Host(release, packages, scratch, layout=layout)
            )
        )


@pytest.mark.parametrize(
    ("release", "layout", "row", "kind"),
    CELLS,
    ids=["-".join([*where, row.engine, row.asks, kind]) for *where, row, kind in CELLS],
)
def test_a_container_has_what_it_asks_for_and_nothing_else(
    release: str, layout: str, row: matrix.Row, kind: str, hosts: Callable[[str, str], Host]
) -> None:
    try:
        host = hosts(release, layout)
    except debian.UnavailableError as error:
        pytest.skip(f"no Debian {release}: {error}")
    assert row.cell(host, kind) == kinds.wanted(kind, row.gpus)
