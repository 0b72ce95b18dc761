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
    *(("bookworm", row, kind) for row in matrix.rows("bookworm") for kind in kinds.NAMES),
    *(("sid", row, "debian") for row in matrix.rows("sid")),
]


@pytest.fixture(scope="module")
def hosts(scratch: str) -> Iterator[Callable[[str], Host]]:
    """Give the node of a release, which stays for the others that ask for it."""
    packages = packaged.built(f"{scratch}/dropin")
    with contextlib.ExitStack() as all_of_them:
        yield functools.cache(
            lambda release: all_of_them.enter_context(Host(release, packages, scratch))
        )


@pytest.mark.parametrize(
    ("release", "row", "kind"),
    CELLS,
    ids=[f"{release}-{row.engine}-{row.asks}-{kind}" for release, row, kind in CELLS],
)
def test_a_container_has_what_it_asks_for_and_nothing_else(
    release: str, row: matrix.Row, kind: str, hosts: Callable[[str], Host]
) -> None:
    try:
        host = hosts(release)
    except debian.UnavailableError as error:
        pytest.skip(f"no Debian {release}: {error}")
    assert row.cell(host, kind) == kinds.wanted(kind, row.gpus)
