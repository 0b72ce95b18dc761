# SPDX-License-Identifier: Apache-2.0
"""A node that NVIDIA's toolkit had set up, and nothing done to it but that our packages came.

Its files are as that toolkit writes them: engines' runtimes by its names, its config.toml, a CDI
spec with its hooks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import yaml
from system import debian, dropin, kinds, matrix, packaged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from system.dropin import Host

pytestmark = pytest.mark.system

DAEMON_JSON = """\
{
    "features": {"containerd-snapshotter": false},
    "runtimes": {
        "nvidia": {
            "args": [],
            "path": "nvidia-container-runtime"
        }
    }
}
"""
CONFIG_TOML = """\
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
    container_annotations = ["cdi.k8s.io/*"]
    privileged_without_host_devices = false
    runtime_engine = ""
    runtime_root = ""
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
      BinaryName = "/usr/bin/nvidia-container-runtime"
"""
THEIRS = "/etc/nvidia-container-runtime/config.toml"
CONFIG = """\
#accept-nvidia-visible-devices-as-volume-mounts = false
#accept-nvidia-visible-devices-envvar-when-unprivileged = true
disable-require = false
supported-driver-capabilities = "compat32,compute,display,graphics,ngx,utility,video"
#swarm-resource = "DOCKER_RESOURCE_GPU"

[nvidia-container-cli]
#debug = "/var/log/nvidia-container-toolkit.log"
environment = []
#ldcache = "/etc/ld.so.cache"
ldconfig = "@/sbin/ldconfig"
load-kmods = true
#no-cgroups = false
#user = "root:video"

[nvidia-container-runtime]
#debug = "/var/log/nvidia-container-runtime.log"
log-level = "info"
mode = "auto"
runtimes = ["docker-runc", "runc", "crun"]

[nvidia-container-runtime.modes]

[nvidia-container-runtime.modes.cdi]
annotation-prefixes = ["cdi.k8s.io/"]
default-kind = "nvidia.com/gpu"
spec-dirs = ["/etc/cdi", "/var/run/cdi"]

[nvidia-container-runtime.modes.csv]
mount-spec-path = "/etc/nvidia-container-runtime/host-files-for-container.d"

[nvidia-container-runtime-hook]
path = "nvidia-container-runtime-hook"
skip-mode-detection = false

[nvidia-ctk]
path = "nvidia-ctk"
"""
FOLDER = os.path.dirname(kinds.LIBCUDA)
HOOKS = (
    ("create-symlinks", "--link", f"libcuda.so.1::{FOLDER}/libcuda.so"),
    ("update-ldcache", "--folder", FOLDER),
)


def spec(libraries: list[str]) -> dict[str, object]:
    """Give a spec of the node's GPUs as the toolkit's own generator makes it."""
    gpus = {str(number): [number] for number in range(kinds.GPUS)}
    gpus["all"] = [*range(kinds.GPUS)]
    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [
            {"name": name, "containerEdits": {"deviceNodes": [*map(node, numbers)]}}
            for name, numbers in gpus.items()
        ],
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void"],
            "deviceNodes": [node("ctl"), node("-uvm")],
            "hooks": [*map(hook, HOOKS)],
            "mounts": [
                {
                    "hostPath": f"{dropin.NODE}{FOLDER}/{name}",
                    "containerPath": f"{FOLDER}/{name}",
                    "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"],
                }
                for name in libraries
            ],
        },
    }


def hook(words: tuple[str, ...]) -> dict[str, object]:
    return {
        "hookName": "createContainer",
        "path": "/usr/bin/nvidia-cdi-hook",
        "args": ["nvidia-cdi-hook", *words],
        "env": ["NVIDIA_CTK_DEBUG=false"],
    }


def node(name: object) -> dict[str, str]:
    return {"path": f"/dev/nvidia{name}", "hostPath": f"{dropin.NODE}/dev/nvidia{name}"}


@pytest.fixture(params=matrix.RELEASES)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    packages = packaged.built(f"{tmp_path}/packages")
    try:
        made = dropin.Host(request.param, packages, str(tmp_path), ready=False)
    except debian.UnavailableError as error:
        pytest.skip(f"no Debian {request.param}: {error}")
    with made:
        made.write(THEIRS, CONFIG)
        found = made.place.run("ls", f"{dropin.NODE}{FOLDER}").stdout.split()
        libraries = [name for name in found if name.endswith(".550.54.15")]
        assert f"{libraries}".count("libcuda.so") == 1
        made.write("/etc/cdi/nvidia.yaml", yaml.safe_dump(spec(libraries)))
        made.files[dropin.DAEMON_JSON] = DAEMON_JSON
        made.files[dropin.CONFIG_TOML] = f"{dropin.CONTAINERD}{CONFIG_TOML}"
        yield made


def test_its_containers_have_their_gpus_as_before(host: Host) -> None:
    # podman never had a runtime of theirs; --gpus: see docs/engines.md, what fell short.
    left_out = ("podman --runtime=nvidia", "docker --gpus")
    found = {
        (row.engine, row.asks): row.cell(host, "debian") == kinds.wanted("debian", row.gpus)
        for row in matrix.rows(host.release)
        if not f"{row.engine} {row.asks.strip('`')}".startswith(left_out)
    }
    assert [asked for asked, right in found.items() if not right] == []
    assert len(found) > 8
