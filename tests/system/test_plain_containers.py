# SPDX-License-Identifier: Apache-2.0
"""The harness itself: each engine runs a container without GPU in its private place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from system import cgroups
from system.engines import low_level
from system.place import PREFIX, Place

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.system

SCRIPT = "probe open /dev/null /dev/nvidia0; probe make /dev/nvidia0 195 0"
WANTED = "/dev/null: allowed\n/dev/nvidia0: ENOENT\n/dev/nvidia0: EPERM\n"


@pytest.mark.parametrize("program", ["/usr/sbin/runc", "/usr/bin/crun"])
def test_a_low_level_runtime_denies_a_made_gpu_node(
    low_level_runtime: Callable[[str], low_level.LowLevel], program: str
) -> None:
    assert low_level_runtime(program).run("sh", "-c", SCRIPT).stdout == WANTED


def test_runc_denies_a_made_gpu_node_where_only_cgroup_version_2_is_seen(
    minimal_root: str, scratch: str
) -> None:
    with Place("unified") as place:
        assert (
            low_level.LowLevel(place, minimal_root, scratch).run("sh", "-c", SCRIPT).stdout
            == WANTED
        )


@pytest.mark.parametrize("engine", ["podman_engine", "docker_engine", "containerd_engine"])
def test_an_engine_runs_a_container(engine: str, request: pytest.FixtureRequest) -> None:
    running = request.getfixturevalue(engine)
    done = running.run(
        "sh", "-c", 'echo "$GIVEN"; ls -d /etc/ld.so.cache', environment={"GIVEN": "x"}
    )
    assert done.stdout == "x\n/etc/ld.so.cache\n"


def test_a_place_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    place = Place()
    daemon = place.start("sleep", "1000", log=str(tmp_path / "log"))
    place.run("sh", "-c", "mkdir /sys/fs/cgroup/unified/x || mkdir /sys/fs/cgroup/x", status=None)
    place.run("mount", "-t", "tmpfs", "tmpfs", str(tmp_path))
    place.init.kill()
    place.close()
    daemon.wait(10)
    folders = [one.folder for one in cgroups.hierarchies()]
    mine = f"{PREFIX}-{os.getpid()}-"
    assert not [n for f in folders for n in os.listdir(f) if n in place.folders and mine in n]
    assert not os.path.ismount(tmp_path)
