# SPDX-License-Identifier: Apache-2.0
"""docs/engines-cdi.md shows the table of engines as it is."""

from __future__ import annotations

import checkout

from gpubind_ctl import engine_versions


def row(name: str, release: dict[str, str]) -> str:
    known = f"[its CDI library]({release['of']})"
    if release["source"] == "measured":
        known = f"measured with {release['of']}"
    cells = (f"{name} {release['since']}", release["reads"], known, release.get("note", ""))
    return f"| {' | '.join(cells)} |"


def test_the_page_has_the_rows_of_the_table() -> None:
    page = checkout.text(checkout.ROOT, "docs/engines-cdi.md").splitlines()
    start = page.index("|---|---|---|---|") + 1
    rows = [
        row(name, release)
        for name, engine in engine_versions.table().items()
        for release in engine["releases"]
    ]
    assert page[start : page.index("", start)] == rows
