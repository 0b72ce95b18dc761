# SPDX-License-Identifier: Apache-2.0
"""docker's --gpus with plain runc: our prestart hook under the name dockerd looks for."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from system.engines.docker import Docker
from system.place import ENVIRONMENT, Place

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from system.nodes import Node

pytestmark = pytest.mark.system

NODES = "ls /dev | grep '^nvidia[0-9]'"
LIBCUDA = "ldconfig -p | grep -F 'libcuda.so.1 '"
FOUND = "\tlibcuda.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcuda.so.1"
TASKS = "/run/docker-tests/exec/containerd/daemon/io.containerd.runtime.v2.task/moby"


@pytest.fixture(scope="module", params=["machine", "unified"])
def engine(
    request: pytest.FixtureRequest, image: str, scratch: str, simulated: Node
) -> Iterator[Docker]:
    """Give a dockerd that finds our hook; besides runc it has the shim, as `shim`.

    One on this machine's cgroups, of version 1, and one on version 2, where runc guards devices by
    a BPF program.
    """
    folder = os.path.join(scratch, f"prestart-{request.param}")
    os.makedirs(folder)
    hook = f"{simulated.prefix}/bin/gpubind-runtime-hook"
    os.symlink(hook, f"{folder}/nvidia-container-runtime-hook")
    path = {"PATH": f"{folder}:{ENVIRONMENT['PATH']}"}
    with Place(request.param) as made:
        yield Docker(made, image, folder, {"shim": simulated.runtime}, path)


def seen(done: subprocess.CompletedProcess[str]) -> list[str]:
    return done.stdout.splitlines()


def uuids(node: Node) -> list[str]:
    with open(f"{node.root}/gpubind-node.json", encoding="utf-8") as file:
        return [gpu["uuid"] for gpu in json.load(file)["gpus"]]


def test_all_gpus(engine: Docker) -> None:
    names = " ".join(f"/dev/nvidia{number}" for number in range(8))
    script = f"{NODES}; probe open {names} /dev/nvidiactl; probe make /tmp/x 195 9; {LIBCUDA}"
    done = engine.run("sh", "-c", script, options=["--gpus=all"])
    assert seen(done) == [
        *(f"nvidia{number}" for number in range(8)),
        *(f"/dev/nvidia{number}: allowed" for number in range(8)),
        "/dev/nvidiactl: allowed",
        "/tmp/x: EPERM",
        FOUND,
    ]


@pytest.mark.parametrize("change", [str, str.lower, lambda name: "GPU-" + name[4:].upper()])
def test_a_gpu_by_its_uuid_in_any_case(engine: Docker, simulated: Node, change: Any) -> None:
    name = change(uuids(simulated)[3])
    script = f"{NODES}; probe open /dev/nvidia3; probe make /tmp/x 195 0; {LIBCUDA}"
    done = engine.run("sh", "-c", script, options=[f"--gpus=device={name}"])
    assert seen(done) == ["nvidia3", "/dev/nvidia3: allowed", "/tmp/x: EPERM", FOUND]


def test_a_number_of_gpus(engine: Docker) -> None:
    done = engine.run("sh", "-c", NODES, options=["--gpus=2"])
    assert seen(done) == ["nvidia0", "nvidia1"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("utility", ["libnvidia-ml.so.1"]),
        ("compute,utility", ["libcuda.so.1", "libnvidia-ml.so.1"]),
        ("compute,utility,graphics", ["libGLX_nvidia.so.0", "libcuda.so.1", "libnvidia-ml.so.1"]),
    ],
)
def test_capabilities(engine: Docker, wanted: str, found: list[str]) -> None:
    names = "libGLX_nvidia.so.0 libcuda.so.1 libnvidia-ml.so.1"
    script = f"for name in {names}; do ldconfig -p | grep -q $name && echo $name; done; true"
    done = engine.run("sh", "-c", script, options=["--gpus", f'all,"capabilities={wanted}"'])
    assert seen(done) == found


def test_a_container_without_gpus_has_none(engine: Docker) -> None:
    script = f"{NODES}; {LIBCUDA}; probe make /tmp/x 195 0"
    assert seen(engine.run("sh", "-c", script)) == ["/tmp/x: EPERM"]


def test_a_gpu_that_is_not_there_is_one_line_for_the_user(engine: Docker) -> None:
    done = engine.run("true", options=["--gpus=device=42"], status=125)
    told = done.stderr
    asked = "gpubind-runtime-hook: NVIDIA_VISIBLE_DEVICES: "
    assert f"{asked}unresolvable CDI devices nvidia.com/gpu=42: " in told
    assert "[REGISTRY-DEVICE]" in told
    assert "Traceback" not in told


def test_a_read_only_root_gets_links_and_cache_too(engine: Docker) -> None:
    script = f"{LIBCUDA}; touch /x 2>/dev/null || echo read-only"
    done = engine.run("sh", "-c", script, options=["--gpus=1", "--read-only"])
    assert seen(done) == [FOUND, "read-only"]


def test_a_user_may_open_the_nodes(engine: Docker) -> None:
    options = ["--gpus=1", "--user=1000:1000", "--cap-drop=ALL"]
    done = engine.run("probe", "open", "/dev/nvidia0", options=options)
    assert seen(done) == ["/dev/nvidia0: allowed"]


def test_the_host_s_node_and_library_are_not_the_container_s_to_change(
    engine: Docker, simulated: Node
) -> None:
    library = "/usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15"
    before = [os.stat(f"{simulated.root}{name}") for name in ("/dev/nvidia0", library)]
    script = f"chmod 0 /dev/nvidia0; chmod 0 {library}; echo x >>{library}; cat /dev/null"
    engine.run("sh", "-c", f"({script}) 2>/dev/null; true", options=["--gpus=1"])
    after = [os.stat(f"{simulated.root}{name}") for name in ("/dev/nvidia0", library)]
    assert after == before


def test_a_container_is_started_again(engine: Docker) -> None:
    script = f"{NODES}; probe open /dev/nvidia0; {LIBCUDA}"
    options = ("--network=none", "--gpus=1", "gpubind.test/minimal:latest")
    name = engine.call("create", *options, "sh", "-c", script).stdout.strip()
    wanted = ["nvidia0", "/dev/nvidia0: allowed", FOUND]
    try:
        for _ in range(2):
            assert seen(engine.call("start", "--attach", name)) == wanted
    finally:
        engine.call("rm", "--force", name)


def test_the_host_s_whole_dev_is_left_as_it_is(engine: Docker) -> None:
    before = sorted(os.listdir("/dev"))
    options = ["--gpus=1", "--volume=/dev:/dev:ro"]
    engine.run("true", options=options, status=None)
    assert sorted(os.listdir("/dev")) == before


def test_the_shim_takes_the_hook_out_and_puts_every_device_into_the_spec(engine: Docker) -> None:
    options = ("--rm", "--detach", "--network=none", "--gpus=2", "--runtime=shim")
    name = engine.call("run", *options, "gpubind.test/minimal:latest", "sleep", "60").stdout.strip()
    try:
        spec = json.loads(engine.place.run("cat", f"{TASKS}/{name}/config.json").stdout)
        script = f"{NODES}; probe open /dev/nvidia0 /dev/nvidia1; grep -c /dev/nvidia /proc/mounts"
        done = engine.call("exec", name, "sh", "-c", script, status=1)
    finally:
        engine.call("kill", name)
    stages = {stage: [hook["path"] for hook in hooks] for stage, hooks in spec["hooks"].items()}
    assert not [path for path in stages.get("prestart", []) if "nvidia" in path]
    nodes = {node["path"] for node in spec["linux"]["devices"]}
    assert {"/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl"} <= nodes
    wanted = ["nvidia0", "nvidia1", "/dev/nvidia0: allowed", "/dev/nvidia1: allowed", "0"]
    assert seen(done) == wanted
