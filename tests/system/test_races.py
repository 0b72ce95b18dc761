# SPDX-License-Identifier: Apache-2.0
"""A container that moves its folders while the hook works in them gains nothing by it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import yaml
from system import roots

if TYPE_CHECKING:
    from system.nodes import Node
    from system.place import Place

pytestmark = pytest.mark.system

RUNS = 100
# Exchanges a folder with a link to the host for as long as it lives, see renameat2(2).
SWAP = """\
import ctypes, sys
libc = ctypes.CDLL(None)
folder, link = (word.encode() for word in sys.argv[1:])
while True:
    libc.renameat2(-100, folder, -100, link, 2)
"""
HOOK = """\
cd "$1" && shift
for i in $(seq "$RUNS"); do printf '{"ociVersion":"1.0.2"}' | "$@" 2>/dev/null; done; true
"""


@pytest.mark.parametrize("folder", ["etc", "etc/ld.so.conf.d", "usr", "usr/lib"])
def test_a_folder_exchanged_with_a_link_out_of_the_root(
    folder: str, simulated: Node, place: Place, minimal_root: str, scratch: str
) -> None:
    name = folder.replace("/", "-")
    root = roots.copy(minimal_root, os.path.join(scratch, f"race-{name}"))
    outside = os.path.join(scratch, f"outside-{name}")
    os.makedirs(f"{outside}/x86_64-linux-gnu")
    os.makedirs(f"{outside}/ld.so.conf.d")
    os.symlink(outside, f"{root}/swapped")
    with open(simulated.spec, "rb") as stream:
        hook = yaml.safe_load(stream)["containerEdits"]["hooks"][0]
    swap = place.start(
        *("/usr/bin/python3", "-IS", "-c", SWAP, f"{root}/{folder}", f"{root}/swapped"),
        log=f"{scratch}/swap.log",
    )
    before = sorted(os.walk(outside))
    command = [hook["path"], *hook["args"][1:]]
    place.run("sh", "-c", HOOK, "sh", root, *command, environment={"RUNS": str(RUNS)})
    place.stop(swap)  # the kill of nsenter alone would leave it exchanging
    assert sorted(os.walk(outside)) == before
