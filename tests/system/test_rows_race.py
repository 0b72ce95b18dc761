# SPDX-License-Identifier: Apache-2.0
"""A root whose folders are exchanged with links to the host while two thousand plans are done.

The plan is that of a real spec. Another process exchanges the names, so that nothing of ours holds
it up; row 60.
"""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import image_roots
import pytest
import trees
from system import injected

from gpubind import plan, words
from gpubind.errors import ToolkitError
from gpubind.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from system.nodes import Node

pytestmark = pytest.mark.system

EXCHANGE = 2  # RENAME_EXCHANGE, see renameat2(2)
FOLDERS = ("usr", "usr/lib", image_roots.LIB[1:], "etc", "etc/ld.so.conf.d")
RUNS = 2000 // (2 * len(FOLDERS))


@contextmanager
def exchanged(first: str, second: str) -> Iterator[None]:
    """Exchange two names without end, in another process."""
    child = os.fork()
    if not child:
        exchange = ctypes.CDLL(None).renameat2
        names = os.fsencode(first), os.fsencode(second)
        while True:
            exchange(-100, names[0], -100, names[1], EXCHANGE)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("walking", [False, True], ids=["openat2", "walking"])
def test_row60_the_host_is_left_alone(
    name: str,
    walking: bool,  # noqa: FBT001 - a parameter of the test
    simulated: Node,
    tmp_path: Path,
) -> None:
    operations = words.parse(injected.hook(simulated)["args"][1:]).operations
    root = image_roots.lay_out("distroless", str(tmp_path / "root"))
    trees.build(root, {"/etc/ld.so.conf.d/x.conf": ""})
    # The canary has all that the plan could want, so that a way out would be taken.
    canary = str(tmp_path / "canary")
    trees.build(canary, {f"/{inner}/x": "" for inner in ("lib/x86_64-linux-gnu", "ld.so.conf.d")})
    trees.build(canary, {"/x86_64-linux-gnu/x": "", "/ld.so.cache": "the host's"})
    trees.build(root, {"/swapped": f"-> {canary}"})
    before = trees.seen(canary)
    whole = refused = 0
    with exchanged(f"{root}/{name}", f"{root}/swapped"):
        for turn in range(RUNS):
            own = plan.Link(f"v{turn}", f"{image_roots.LIB}/libturn.so")
            try:
                with Root(root, walking=walking) as opened:
                    whole += bool(plan.perform(opened, [own, *operations], []))
            except ToolkitError as error:
                refused += 1
                assert error.identifier == "ROOT-WRITE"  # noqa: PT017 - either is right
    assert trees.seen(canary) == before
    assert whole
    assert whole + refused <= RUNS
