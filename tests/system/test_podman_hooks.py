# SPDX-License-Identifier: Apache-2.0
"""podman with the prestart hook by its OCI hook file, and nothing else of ours."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from system import images
from system.engines.podman import OPTIONS, RUNC, Podman
from system.nodes import CHECKOUT
from system.test_gpus import GPU_0, SCRIPT, seen, wanted

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

    from system.nodes import Node

pytestmark = pytest.mark.system

ENGINES = ("podman_engine", "newer_podman")
OPENS = ("probe", "open", "/dev/nvidia0", "/dev/nvidiactl")
NONE = ["/dev/nvidia0: ENOENT", "/dev/nvidiactl: ENOENT"]


@pytest.fixture(scope="module")
def hooks_dir(simulated: Node, scratch: str) -> str:
    """A folder with the hook file as it is delivered, but for where the hook is installed."""
    with open(f"{CHECKOUT}/hooks/hooks.d/oci-nvidia-hook.json", encoding="utf-8") as stream:
        document = json.load(stream)
    document["hook"]["path"] = f"{simulated.prefix}/bin/gpubind-runtime-hook"
    folder = os.path.join(scratch, "hooks.d")
    os.mkdir(folder)
    with open(f"{folder}/oci-nvidia-hook.json", "w", encoding="utf-8") as stream:
        json.dump(document, stream)
    return folder


@pytest.fixture
def podman(request: pytest.FixtureRequest) -> Podman:
    """The machine's podman and the newer one, in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Podman)
    return found


def run(
    podman: Podman,
    hooks_dir: str,
    *words: str,
    environment: Mapping[str, str] | None = None,
    runtime: str = RUNC,
    status: int | None = 0,
) -> subprocess.CompletedProcess[str]:
    """Run a container of a podman that knows the hook file."""
    values = [f"--env={key}={value}" for key, value in (environment or {}).items()]
    given = (f"--hooks-dir={hooks_dir}", "run", *OPTIONS, *values, images.TAG)
    return podman.call(*given, *words, runtime=runtime, status=status)


@pytest.mark.parametrize("podman", ENGINES, indirect=True)
def test_a_container_that_asks_has_its_gpu(podman: Podman, hooks_dir: str, simulated: Node) -> None:
    environment = {**GPU_0, "LIBCUDA": simulated.libcuda}
    done = run(podman, hooks_dir, "sh", "-c", SCRIPT, environment=environment)
    assert seen(done) == wanted(simulated)


@pytest.mark.parametrize("podman", ENGINES, indirect=True)
@pytest.mark.parametrize("environment", [{}, {"NVIDIA_VISIBLE_DEVICES": "void"}])
def test_others_are_untouched(podman: Podman, hooks_dir: str, environment: dict[str, str]) -> None:
    look = f"{' '.join(OPENS)}; grep -c nvidia /proc/mounts; ls /etc/ld.so.conf.d; ldconfig -p"
    alone = podman.run("sh", "-c", look, environment=environment)
    done = run(podman, hooks_dir, "sh", "-c", look, environment=environment)
    assert seen(done)[:3] == [*NONE, "0"]
    assert (done.stdout, done.stderr) == (alone.stdout, alone.stderr)


@pytest.mark.parametrize("podman", ENGINES, indirect=True)
def test_a_gpu_that_is_not_there_is_told_and_nothing_starts(podman: Podman, hooks_dir: str) -> None:
    asked = {"NVIDIA_VISIBLE_DEVICES": "42"}
    done = run(podman, hooks_dir, "echo", "started", environment=asked, status=126)
    assert done.stdout == ""
    assert "[REGISTRY-DEVICE]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_shim_takes_the_hook_s_place(
    podman_engine: Podman, hooks_dir: str, simulated: Node
) -> None:
    environment = {**GPU_0, "LIBCUDA": simulated.libcuda}
    words = ("sh", "-c", SCRIPT)
    runtime = simulated.runtime
    done = run(podman_engine, hooks_dir, *words, environment=environment, runtime=runtime)
    assert seen(done) == wanted(simulated)


def test_crun_starts_the_hook_too(podman_engine: Podman, hooks_dir: str, simulated: Node) -> None:
    environment = {**GPU_0, "LIBCUDA": simulated.libcuda}
    words = ("sh", "-c", SCRIPT)
    runtime = "/usr/bin/crun"
    done = run(podman_engine, hooks_dir, *words, environment=environment, runtime=runtime)
    assert seen(done) == wanted(simulated)
