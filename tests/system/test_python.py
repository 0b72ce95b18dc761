# SPDX-License-Identifier: Apache-2.0
"""The start path with Debian sid's Python: all tests of its code, run by that.

The launchers run with it in test_newer_engines.py, the installed packages in test_dropin.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import checkout
import pytest
from system import debian, packaged
from system.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

ROOMS = ("src", "hooks", "cdi")
TESTS = ("tests/src", "tests/hooks")
# As an editable installation has it: seen by a Python that takes no paths from its environment.
NAMED = "/usr/lib/python3/dist-packages/gpubind.pth"
PYTEST = ("python3", "-m", "pytest", "-q", "-p", "no:cacheprovider")


@pytest.fixture(scope="module")
def newer() -> Iterator[Place]:
    try:
        root = packaged.root_with_pytest("sid")
    except debian.UnavailableError as error:
        pytest.skip(f"no Debian sid: {error}")
    with Place(root=root) as place:
        paths = [f"{checkout.ROOT}/{room}" for room in ROOMS]
        place.run("sh", "-c", f'printf "%s\\n" "$@" >{NAMED}', "sh", *paths)
        yield place


def test_the_start_path_s_tests_pass_with_it(newer: Place, tmp_path: Path) -> None:
    version = newer.run("python3", "-c", "import sys; print(*sys.version_info[:2])").stdout
    assert tuple(int(number) for number in version.split()) > (3, 12)
    named = [f"--basetemp={tmp_path}/newer", *TESTS]
    words = ("sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", checkout.ROOT, *PYTEST, *named)
    told = newer.run(*words, environment={"PYTHONDONTWRITEBYTECODE": "1"}, timeout=580)
    passed = re.search(r"^(\d+) passed", told.stdout, re.MULTILINE)
    assert passed, told.stdout
    assert int(passed[1]) > 2000
