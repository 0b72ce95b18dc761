# SPDX-License-Identifier: Apache-2.0
"""Our packages in the place of NVIDIA's toolkit: engines of two releases, asked in every way.

The rows are those of `./dev engines`; the newer release's are run with one kind of image here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from system import debian, kinds, matrix, packaged
from system.dropin import Host

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

CELLS = [
    *(("bookworm", row, kind) for row in matrix.rows("bookworm") for kind in kinds.NAMES),
    *(("sid", row, "debian") for row in matrix.rows("sid")),
]


@pytest.fixture(scope="module")
def packages(scratch: str) -> list[str]:
    return packaged.built(f"{scratch}/dropin")


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest, packages: list[str], scratch: str) -> Iterator[Host]:
    """The node of a release."""
    try:
        made = Host(request.param, packages, scratch)
    except debian.UnavailableError as error:
        pytest.skip(f"no Debian {request.param}: {error}")
    with made:
        yield made


@pytest.mark.parametrize(
    ("host", "row", "kind"),
    CELLS,
    ids=[f"{release}-{row.engine}-{row.asks}-{kind}" for release, row, kind in CELLS],
    indirect=["host"],
    scope="module",
)
def test_a_container_has_the_gpus_it_asks_for_and_no_others(
    host: Host, row: matrix.Row, kind: str
) -> None:
    assert row.cell(host, kind) == kinds.wanted(kind, row.gpus)
