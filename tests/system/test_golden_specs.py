# SPDX-License-Identifier: Apache-2.0
"""The specs of real drivers, Debian's 535 and 550, whole, against golden files.

The driver's release is taken out of them, as Debian's changes. To change them on purpose, run this
file once with GPUBIND_WRITE_GOLDEN=1 and read the difference before you commit it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from system import debian, drivers

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.nodes import Node

pytestmark = pytest.mark.system

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "golden", "drivers")


@pytest.mark.parametrize("branch", sorted(drivers.RELEASES))
def test_a_real_drivers_spec_is_the_golden_one(
    branch: str, node_named: Callable[[str], Node]
) -> None:
    try:
        node = node_named(f"debian-{branch}")
    except debian.UnavailableError as error:
        pytest.skip(f"no driver root {branch}: {error}")
    with open(node.spec, encoding="utf-8") as stream:
        text = stream.read()
    places = {f"{node.prefix}/host": "/dev-root", node.root: "/driver-root", node.prefix: "/prefix"}
    for place, name in {**places, drivers.debian_driver(branch).version: "VERSION"}.items():
        text = text.replace(place, name)
    file = os.path.join(GOLDEN, f"{branch}.yaml")
    if os.environ.get("GPUBIND_WRITE_GOLDEN"):
        os.makedirs(GOLDEN, exist_ok=True)
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(text)
    with open(file, encoding="utf-8") as stream:
        assert text == stream.read()
