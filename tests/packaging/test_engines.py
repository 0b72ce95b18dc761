# SPDX-License-Identifier: Apache-2.0
"""The table of ./dev engines: what a cell says, and that the page has a line for every row."""

from __future__ import annotations

import re

import checkout
import engines
import pytest
from system import kinds, matrix

LINE = re.compile(r"^\| (\w+) [^|]*?(, cgroup v2)? \| ([^|]+) \| (.+) \|$", re.MULTILINE)
WANTED = ["/dev/nvidia0: allowed", "/dev/nvidia1: ENOENT"]


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (WANTED, ""),
        (WANTED[:1], "no /dev/nvidia1: ENOENT"),
        ([*WANTED, "/x: EPERM"], "/x: EPERM"),
        (WANTED[::-1], "another order"),
        ([WANTED[0], "/dev/nvidia1: allowed"], "no /dev/nvidia1: ENOENT; /dev/nvidia1: allowed"),
    ],
)
def test_a_cell_says_what_is_missing_and_what_should_not_be(seen: list[str], told: str) -> None:
    assert engines.problem(seen, WANTED) == told


def test_a_new_table_takes_the_place_of_the_old_one_alone() -> None:
    old, new = (engines.table([("docker 1", "x", *[cell] * 4)]) for cell in ("no", "yes"))
    text = "# Page\n\n{}\nAfter\n\n| another | table |\n| --- | --- |\n"
    assert engines.TABLE.sub(new, text.format(old)) == text.format(new)


def test_the_page_has_a_line_for_every_row() -> None:
    found = LINE.findall(checkout.text(checkout.ROOT, "docs/engines.md"))
    shown = [(engine, bool(v2), asks) for engine, v2, asks, _ in found if engine != "engine"]
    assert shown == [
        (row.engine, layout == "unified", row.asks)
        for release in matrix.RELEASES
        for layout in matrix.LAYOUTS
        for row in matrix.rows(release, layout)
    ]
    assert {len(cells.split(" | ")) for *_, cells in found} == {len(kinds.NAMES)}


def test_an_unknown_release_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        engines.main(["etch"])
    assert ended.value.code == 2
    assert "not a release that has a table: etch" in capsys.readouterr().err
