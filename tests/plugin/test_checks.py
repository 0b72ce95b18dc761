# SPDX-License-Identifier: Apache-2.0
"""What the health variables say of Xids."""

from __future__ import annotations

import pytest

from gpubind_plugin import checks


@pytest.mark.parametrize(
    ("disable", "enable", "counting", "off"),
    [
        ("", "", {}, False),
        ("xids", "", {79: False, 31: False}, True),
        ("All", "", {79: False}, True),
        ("79, 48", "", {79: False, 48: False, 13: None}, False),
        ("", "31,43", {31: True, 43: True, 13: None}, False),
        ("", "all", {13: True, 79: True}, False),
        ("all", "79", {79: True, 48: False}, False),
        ("79", "79", {79: True}, False),
    ],
)
def test_the_health_variables_say_which_xids_count(
    disable: str, enable: str, counting: dict[int, bool], *, off: bool
) -> None:
    environ = {checks.DISABLE: disable, checks.ENABLE: enable}
    found = checks.health(environ, "")[0]
    assert {xid: found.says(xid) for xid in counting} == counting
    assert found.off is off


def test_a_malformed_xid_is_told_and_ignored() -> None:
    environ = {checks.DISABLE: "79,x,-1", checks.ENABLE: "xids"}
    found, warnings = checks.health(environ, "")
    assert warnings == (
        "Ignoring malformed Xid value in DP_DISABLE_HEALTHCHECKS: x",
        "Ignoring malformed Xid value in DP_DISABLE_HEALTHCHECKS: -1",
        "Ignoring malformed Xid value in DP_ENABLE_HEALTHCHECKS: xids",
    )
    assert found.disabled == {79}
