# SPDX-License-Identifier: Apache-2.0
"""The programs a runtime starts: isolated interpreter, absolute path, little text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST = "#!/usr/bin/python3 -IS"
LINES = 30


def faults(root: str) -> Iterator[str]:
    """Give what is wrong with the launchers in hooks/bin."""
    for name in checkout.files(root, "hooks/bin"):
        content = checkout.text(root, name)
        if content.partition("\n")[0] != FIRST:
            yield f"{name}: does not begin with {FIRST}"
        if not os.stat(os.path.join(root, name)).st_mode & 0o111:
            yield f"{name}: is not executable"
        if content.count("\n") > LINES:
            yield f"{name}: more than {LINES} lines"


def test_launchers_start_an_isolated_interpreter() -> None:
    assert list(faults(checkout.ROOT)) == []


def test_a_launcher_that_could_be_led_astray_is_seen(tmp_path: Path) -> None:
    root = checkout.grow(
        tmp_path,
        {
            "hooks/bin/good": f"{FIRST}\nimport sys\n",
            "hooks/bin/env": "#!/usr/bin/env python3\n",
            "hooks/bin/site": "#!/usr/bin/python3 -I\n",
            "hooks/bin/long": f"{FIRST}\n" + "x = 1\n" * LINES,
            "hooks/bin/dead": f"{FIRST}\n",
        },
    )
    for name in ("good", "env", "site", "long"):
        os.chmod(os.path.join(root, "hooks/bin", name), 0o755)
    assert set(faults(root)) == {
        f"hooks/bin/env: does not begin with {FIRST}",
        f"hooks/bin/site: does not begin with {FIRST}",
        f"hooks/bin/long: more than {LINES} lines",
        "hooks/bin/dead: is not executable",
    }
