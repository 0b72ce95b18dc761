# SPDX-License-Identifier: Apache-2.0
"""containerd set up by `gpubind runtime configure`, asked by its CRI as a kubelet asks it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import grpc
import pytest
from system import cri, images
from system.engines.containerd import CONFIG, Containerd
from system.place import Place
from system.test_configured_engines import NOTHING, PLAIN, gpubind, text, write
from system.test_gpus import GPU_0, SCRIPT, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.nodes import Node

pytestmark = pytest.mark.system

CONFIG_TOML = "/etc/containerd/config.toml"
# An operator's file, with CRI as it can run in a place: no network, no capability for OOM scores.
OPERATORS = f"""\
{CONFIG.replace('disabled_plugins = ["io.containerd.grpc.v1.cri"]', "# ours")}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}:latest"   # no registry here
  restrict_oom_score_adj = true
  disable_apparmor = true
"""


class Host:
    """A place with containerd, its operator and a kubelet."""

    def __init__(
        self, place: Place, node: Node, minimal_root: str, folder: str, config: str
    ) -> None:
        self.place, self.node = place, node
        write(place, CONFIG_TOML, config)
        image, pause = images.archive(minimal_root), images.pause(minimal_root)
        self.containerd = Containerd(place, image, folder, CONFIG_TOML)
        for archive in (image, pause):
            self.containerd.call("--namespace=k8s.io", "images", "import", archive)
        self.cri = cri.Cri(self.containerd, folder)

    def operator(self, verb: str, *words: str) -> None:
        """Configure or unconfigure, and restart."""
        gpubind(self.place, self.node, verb, "--runtime=containerd", *words)
        self.containerd.stop()
        self.containerd.start()

    def look(self, handler: str = "", devices: tuple[str, ...] = ()) -> list[str]:
        """Run a container that looks for GPU 0, which it asks for unless by a CDI device."""
        asked = {"LIBCUDA": self.node.libcuda} | ({} if devices else GPU_0)
        words = ("sh", "-c", SCRIPT)
        return self.cri.run(*words, handler=handler, environment=asked, devices=devices)

    def plain(self) -> list[str]:
        return self.cri.run(*PLAIN)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the daemon and the containers log."""
    return str(tmp_path_factory.mktemp("log"))


@contextlib.contextmanager
def host(
    root: str, node: Node, minimal_root: str, folder: str, config: str = OPERATORS
) -> Iterator[Host]:
    with Place(root=root) as place:
        made = Host(place, node, minimal_root, folder, config)
        yield made
        made.containerd.stop()


@pytest.mark.parametrize("root", ["/", "newer"])
def test_it_gives_gpus_once_configured_and_is_as_before_when_given_back(
    root: str, simulated: Node, minimal_root: str, folder: str, request: pytest.FixtureRequest
) -> None:
    ours = f"--nvidia-runtime-path={simulated.runtime}"
    root = request.getfixturevalue("newer_root") if root == "newer" else root
    with host(root, simulated, minimal_root, folder) as here:
        with pytest.raises(grpc.RpcError, match="nvidia"):
            here.look("nvidia")

        here.operator("configure", ours)
        assert here.look("nvidia") == wanted(simulated)
        assert here.plain() == NOTHING

        here.operator("configure", ours, "--set-as-default")
        assert here.look() == wanted(simulated)
        assert here.plain() == NOTHING

        here.operator("unconfigure")
        assert text(here.place, CONFIG_TOML) == OPERATORS
        assert here.plain() == NOTHING
        with pytest.raises(grpc.RpcError, match="nvidia"):
            here.look("nvidia")


def test_it_takes_cdi_devices_once_cdi_is_turned_on(
    newer_root: str, simulated: Node, minimal_root: str, folder: str
) -> None:
    off = f"{OPERATORS}  enable_cdi = false\n"
    device = ("nvidia.com/gpu=0",)
    with host(newer_root, simulated, minimal_root, folder, off) as here:
        here.place.run("cp", simulated.spec, "/etc/cdi/nvidia.yaml")
        assert "/dev/nvidia0: ENOENT" in here.look(devices=device)
        ours = f"--nvidia-runtime-path={simulated.runtime}"
        here.operator("configure", ours, "--cdi.enabled")
        assert here.look(devices=device) == wanted(simulated)
        assert here.plain() == NOTHING
        here.operator("unconfigure")
        assert text(here.place, CONFIG_TOML) == off
        assert "/dev/nvidia0: ENOENT" in here.look(devices=device)
