# SPDX-License-Identifier: Apache-2.0
"""A pod that asks Kubernetes for GPUs, from the device plugin's answer to the container.

The plugin runs as its DaemonSet runs it, in a place of its own that shares with the engine's the
folder of CDI specs and the kubelet's. The kubelet is the tests' own; what the plugin answers it is
handed to containerd's CRI as the kubelet does: the plugin's variables first, then the pod's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from plugin import kubelet as kubelets
from system import images, nodes
from system.place import Place
from system.test_configured_containerd import host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from plugin.kubelet import Kubelet
    from system.nodes import Node
    from system.test_configured_containerd import Host

pytestmark = pytest.mark.system

GPUS = 8
RESOURCE = "nvidia.com/gpu"
DRIVER = "/run/driver-root"  # where the plugin's pod has the host's driver
CDI = "/var/run/cdi"
SHIM = "nvidia"  # the RuntimeClass's handler
CONFIG = f"""\
accept-nvidia-visible-devices-as-volume-mounts = true
[nvidia-container-runtime]
runtimes = ["/usr/sbin/runc"]
[nvidia-container-runtime.modes.cdi]
spec-dirs = ["{{specs}}", "{CDI}"]
"""
PREDICTOR = "gpubind.test/predictor"
PREDICTORS = {
    "PATH": "/opt/predictor/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LD_LIBRARY_PATH": "/opt/predictor/lib",
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    "CUDA_VERSION": "12.4.1",
}
PODS = {"MODEL_NAME": "llama", "STORAGE_URI": "pvc://models/llama"}
NODES = tuple(f"/dev/nvidia{number}" for number in range(GPUS))
SCRIPT = f"""\
probe open {" ".join(NODES)} /dev/nvidiactl /dev/nvidia-uvm
probe make /tmp/other 195 "$OTHER"
LD_TRACE_LOADED_OBJECTS=1 LD_PRELOAD=libcuda.so.1 cat | grep -o 'libcuda.so.1 => [^ ]*'
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """A release's containerd beside the plugin's node."""

    release: str
    node: Node
    host: Host
    specs: str

    def run(
        self,
        answer: Any,
        taken: list[int],
        script: str = SCRIPT,
        *,
        handler: str = SHIM,
        pods: Mapping[str, str] | None = None,
        image: str = images.TAG,
    ) -> list[str]:
        """Start a pod's container with what the plugin answered; gives what it wrote.

        It is told the number of a GPU that is not its own.
        """
        other = min(set(range(GPUS)) - set(taken))
        return self.host.cri.run(
            *("sh", "-c", script),
            handler=handler,
            environment={**answer.envs, **(pods or {}), "OTHER": str(other)},
            devices=[one.name for one in answer.cdi_devices],
            annotations=dict(answer.annotations),
            mounts=[(one.host_path, one.container_path) for one in answer.mounts],
            nodes=[(one.host_path, one.container_path) for one in answer.devices],
            image=image,
        )

    def wanted(self, taken: list[int]) -> list[str]:
        """Give what a container with these GPUs finds."""
        seen = [
            f"{node}: {'allowed' if number in taken else 'ENOENT'}"
            for number, node in enumerate(NODES)
        ]
        common = ["/dev/nvidiactl: allowed", "/dev/nvidia-uvm: allowed", "/tmp/other: EPERM"]
        return [*seen, *common, f"libcuda.so.1 => {self.node.libcuda}"]


@pytest.fixture(scope="module")
def gpu_node(scratch: str) -> Node:
    """A node whose shim reads the plugin's specs as well, and takes volume mounts."""
    node = nodes.make("simulated", os.path.join(scratch, "kubernetes"))
    with open(f"{node.prefix}/etc/gpubind/config.toml", "w", encoding="utf-8") as stream:
        stream.write(CONFIG.format(specs=os.path.dirname(node.spec)))
    return node


@pytest.fixture(scope="module", params=["bookworm", "sid"])
def engine(
    gpu_node: Node, minimal_root: str, scratch: str, request: pytest.FixtureRequest
) -> Iterator[Engine]:
    """Each release's containerd, with the RuntimeClass's handler and the plugin's specs."""
    release = request.param
    root = request.getfixturevalue("newer_root") if release == "sid" else "/"
    folder, specs = (os.path.join(scratch, f"kubernetes-{what}-{release}") for what in ("", "cdi"))
    os.mkdir(folder)
    os.mkdir(specs)
    env = [f"{key}={value}" for key, value in PREDICTORS.items()]
    archive = images.archive(minimal_root, PREDICTOR, env=env)
    with host(root, gpu_node, minimal_root, folder) as made:
        share(made.place, specs, CDI)
        made.operator("configure", f"--nvidia-runtime-path={gpu_node.runtime}")
        made.containerd.call("--namespace=k8s.io", "images", "import", archive)
        yield Engine(release, gpu_node, made, specs)


def share(place: Place, source: str, target: str) -> None:
    """Mount a folder of the host's in a place."""
    place.run("sh", "-c", 'mkdir -p "$2" && mount --bind "$1" "$2"', "sh", source, target)


@contextlib.contextmanager
def served(engine: Engine, *options: str) -> Iterator[Kubelet]:
    """Run the plugin with these options; gives the kubelet that it is registered with."""
    words = (
        f"{engine.node.prefix}/bin/gpubind-device-plugin",
        f"--nvidia-cdi-hook-path={engine.node.prefix}/bin/gpubind-cdi-hook",
        f"--driver-root={engine.node.root}",
        f"--driver-root-ctr-path={DRIVER}",
        *options,
    )
    with tempfile.TemporaryDirectory(prefix="gpubind-") as short, Place(root="/") as pod:
        share(pod, engine.node.root, DRIVER)
        share(pod, engine.specs, CDI)
        with kubelets.running(Path(short) / "dp") as kubelet:
            pod.start(*words, f"--kubelet-socket={kubelet.socket}", log=f"{short}/log")
            try:
                kubelet.until(lambda one: len(one.lists().get(RESOURCE, ())) == GPUS)
            except AssertionError as error:
                raise AssertionError(Path(f"{short}/log").read_text(encoding="utf-8")) from error
            yield kubelet


def allocated(kubelet: Kubelet, size: int, pod: str) -> tuple[Any, list[int]]:
    """Have a pod get GPUs; gives the plugin's answer and their indices."""
    answer = kubelet.allocate(RESOURCE, size, pod)
    places = list(kubelet.lists()[RESOURCE])
    return answer, sorted(places.index(one) for one in kubelet.allocations[pod][RESOURCE])


SHIMS = (
    ("--device-list-strategy=envvar",),
    ("--device-list-strategy=envvar", "--device-id-strategy=index"),
    ("--device-list-strategy=envvar", "--pass-device-specs"),
    ("--device-list-strategy=volume-mounts",),
    ("--device-list-strategy=cdi-annotations",),
    ("--device-list-strategy=cdi-cri,cdi-annotations,envvar",),
)


@pytest.mark.parametrize("options", SHIMS, ids=" ".join)
def test_through_the_shim_each_pod_sees_its_gpus_and_no_others(
    engine: Engine, options: tuple[str, ...]
) -> None:
    with served(engine, *options) as kubelet:
        for pod, size in (("first", 1), ("second", 2)):
            answer, taken = allocated(kubelet, size, pod)
            assert len(taken) == size
            assert engine.run(answer, taken) == engine.wanted(taken)


@pytest.mark.parametrize("way", ["cdi-cri", "cdi-annotations"])
def test_by_containerd_s_own_cdi_each_pod_sees_its_gpus_and_no_others(
    engine: Engine, way: str
) -> None:
    if engine.release == "bookworm":
        pytest.skip("containerd 1.6 knows no CDI")
    with served(engine, f"--device-list-strategy={way}") as kubelet:
        for pod, size in (("first", 1), ("second", 2)):
            answer, taken = allocated(kubelet, size, pod)
            assert len(taken) == size
            assert engine.run(answer, taken, handler="") == engine.wanted(taken)


@pytest.mark.parametrize("way", ["envvar", "volume-mounts", "cdi-annotations"])
def test_a_predictor_keeps_its_own_environment_and_gets_one_gpu(engine: Engine, way: str) -> None:
    with served(engine, f"--device-list-strategy={way}") as kubelet:
        answer, taken = allocated(kubelet, 1, "predictor")
        lines = engine.run(answer, taken, f"env; {SCRIPT}", pods=PODS, image=PREDICTOR)
    looked = engine.wanted(taken)
    assert lines[-len(looked) :] == looked
    found = dict(line.split("=", 1) for line in lines[: -len(looked)])
    own = PREDICTORS | PODS | {"NVIDIA_VISIBLE_DEVICES": "void"}  # it has been seen to
    assert {key: found.get(key) for key in own} == own


@pytest.mark.parametrize("way", ["volume-mounts", "cdi-annotations"])
def test_what_a_pod_says_of_its_own_gets_it_no_more(engine: Engine, way: str) -> None:
    with served(engine, f"--device-list-strategy={way}") as kubelet:
        answer, taken = allocated(kubelet, 1, "greedy")
        lines = engine.run(answer, taken, pods={"NVIDIA_VISIBLE_DEVICES": "all"})
    assert lines == engine.wanted(taken)


def test_a_pod_that_asks_for_no_gpu_gets_none(engine: Engine) -> None:
    with served(engine) as kubelet:
        kubelet.allocate(RESOURCE, 1)
        assert engine.host.plain() == ["/dev/nvidia0: ENOENT"]
