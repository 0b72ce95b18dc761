# SPDX-License-Identifier: Apache-2.0
"""What a container asks for through the shim, and what it then has; runc and crun, both cgroups."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from system.engines.low_level import LowLevel
from system.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.nodes import Node

pytestmark = pytest.mark.system


def gpu_names(numbers: str) -> list[str]:
    return [f"nvidia{number}" for number in numbers]


def variables(devices: str, capabilities: str = "") -> dict[str, str]:
    given = {"NVIDIA_DRIVER_CAPABILITIES": capabilities} if capabilities else {}
    return {"NVIDIA_VISIBLE_DEVICES": devices, **given}


@pytest.fixture
def shim(simulated: Node, low_level_runtime: Callable[[str], LowLevel]) -> LowLevel:
    return low_level_runtime(simulated.runtime)


def nodes_seen(shim: LowLevel, environment: dict[str, str], **more: Any) -> list[str]:
    script = "ls /dev | grep -x 'nvidia[0-9]*'; true"
    return shim.run("sh", "-c", script, environment=environment, **more).stdout.split()


@pytest.mark.parametrize(
    ("devices", "numbers"),
    [
        ("all", "01234567"),
        ("none", ""),
        ("void", ""),
        ("", ""),
        ("3,1", "13"),
        ("nvidia.com/gpu=2", "2"),
        ("nvidia.com/gpu=all", "01234567"),
    ],
)
def test_a_request_gives_its_gpus_and_no_others(shim: LowLevel, devices: str, numbers: str) -> None:
    assert nodes_seen(shim, variables(devices)) == gpu_names(numbers)


def test_a_uuid_gives_its_gpu(shim: LowLevel, simulated: Node) -> None:
    with open(f"{simulated.root}/gpubind-node.json", encoding="utf-8") as stream:
        gpus = json.load(stream)["gpus"]
    assert nodes_seen(shim, variables(gpus[5]["uuid"].lower())) == ["nvidia5"]


@pytest.mark.parametrize("devices", ["8", "nvidia.com/gpu=nonsense", "GPU-nonsense"])
def test_a_gpu_that_is_not_there_keeps_the_container_from_being_created(
    shim: LowLevel, devices: str
) -> None:
    done = shim.run("true", environment=variables(devices), status=1)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert devices in done.stderr
    assert "[REGISTRY-DEVICE]" in done.stderr


def test_capabilities_decide_about_libraries(shim: LowLevel) -> None:
    script = "ldconfig -p | grep -oE 'lib(cuda|nvidia-ml|nvidia-encode)[.]so[.]1 ' | sort"
    seen = {
        capabilities: shim.run(
            "sh", "-c", script, environment=variables("0", capabilities)
        ).stdout.split()
        for capabilities in ("compute", "utility", "video", "compute,utility,video")
    }
    assert seen == {
        "compute": ["libcuda.so.1"],
        "utility": ["libnvidia-ml.so.1"],
        "video": ["libcuda.so.1", "libnvidia-encode.so.1"],
        "compute,utility,video": ["libcuda.so.1", "libnvidia-encode.so.1", "libnvidia-ml.so.1"],
    }


PROBE = (
    "probe open /dev/nvidia0; probe make /tmp/other 195 1; ldconfig -p | grep -o 'libcuda.so.1 '"
)
FINE = "/dev/nvidia0: allowed\n/tmp/other: EPERM\nlibcuda.so.1 \n"


def test_only_cgroup_version_2(simulated: Node, minimal_root: str, scratch: str) -> None:
    with Place("unified") as place:
        shim = LowLevel(place, minimal_root, scratch, simulated.runtime)
        assert shim.run("sh", "-c", PROBE, environment=variables("0")).stdout == FINE


def test_crun_instead_of_runc(
    simulated: Node, place: Place, minimal_root: str, scratch: str
) -> None:
    place.run("mkdir", "-p", "/run/crun-only")
    shim = LowLevel(place, minimal_root, scratch, simulated.runtime)
    config = f"{simulated.prefix}/etc/gpubind/config.toml"
    text = place.run("cat", config).stdout.replace("/usr/sbin/runc", "/usr/bin/crun")
    place.run("sh", "-c", 'printf %s "$1" >/run/crun-only/config.toml', "sh", text)
    place.run("mount", "--bind", "/run/crun-only/config.toml", config)
    try:
        assert shim.run("sh", "-c", PROBE, environment=variables("0")).stdout == FINE
    finally:
        place.run("umount", config)


def test_a_root_that_is_read_only_inside(shim: LowLevel) -> None:
    def change(config: dict[str, Any]) -> None:
        config["root"]["readonly"] = True
        tmp = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}
        config["mounts"].append(tmp)

    done = shim.run("sh", "-c", PROBE, environment=variables("0"), change=change)
    assert done.stdout == FINE


def test_a_root_without_a_library_cache(shim: LowLevel) -> None:
    prepare = "rm etc/ld.so.cache"
    done = shim.run("sh", "-c", PROBE, environment=variables("0"), prepare=prepare)
    assert done.stdout == FINE


def test_a_mount_that_hides_the_library_cache(shim: LowLevel) -> None:
    def change(config: dict[str, Any]) -> None:
        etc = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
        config["mounts"].append(etc)

    done = shim.run("sh", "-c", PROBE, environment=variables("0"), change=change)
    assert done.stdout == FINE


def test_a_volume_that_is_the_hosts_own_etc_stays_as_it_is(shim: LowLevel) -> None:
    def change(config: dict[str, Any]) -> None:
        etc = {"destination": "/etc", "type": "bind", "source": "/etc", "options": ["rbind", "rw"]}
        config["mounts"].append(etc)

    look = ("sh", "-c", "sha256sum /etc/ld.so.cache; ls -l /etc/ld.so*")
    before = shim.place.run(*look).stdout
    words = ("sh", "-c", "probe open /dev/nvidia0; probe open /etc/ld.so.conf.d/00-gpubind.conf")
    done = shim.run(*words, environment=variables("0"), change=change)
    assert done.stdout == "/dev/nvidia0: allowed\n/etc/ld.so.conf.d/00-gpubind.conf: ENOENT\n"
    assert shim.place.run(*look).stdout == before


def test_a_user_namespace(shim: LowLevel) -> None:
    def change(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uid", "gid"):
            row = {"containerID": 0, "hostID": 100000, "size": 65536}
            config["linux"][f"{kind}Mappings"] = [row]
        config["mounts"] = [one for one in config["mounts"] if one["destination"] != "/sys"]

    prepare = 'chown -R -h 100000:100000 . && chmod 755 "$(dirname "$PWD")"'
    script = "probe open /dev/nvidia0 /dev/nvidia1; ldconfig -p | grep -o 'libcuda.so.1 '"
    done = shim.run("sh", "-c", script, environment=variables("0"), change=change, prepare=prepare)
    assert done.stdout == "/dev/nvidia0: allowed\n/dev/nvidia1: ENOENT\nlibcuda.so.1 \n"
