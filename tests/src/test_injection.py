# SPDX-License-Identifier: Apache-2.0
"""A bundle before and after: config.json, the root, and what is told."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import compat_libs
import pytest
import specs
import trees

from gpubind import config, injection, request
from gpubind.errors import DocumentError, ToolkitError
from gpubind.oci import spec as oci
from gpubind.operation import compat

if TYPE_CHECKING:
    from pathlib import Path

DRIVERLESS = not any(map(os.path.exists, injection._DRIVER_SIGNS))


class Place:
    """A bundle, compiled specs and a configuration."""

    def __init__(self, folder: Path, document: Any, registry: Any) -> None:
        trees.build(folder, {"/cdi": trees.FOLDER, "/b/rootfs": trees.FOLDER})
        trees.build(folder, {"/b/config.json": json.dumps(document)})
        self.file = f"{folder}/b/config.json"
        self.root = f"{folder}/b/rootfs"
        self.state = f"{folder}/state"
        self.settings = specs.settings(f"{folder}/cdi")
        specs.put(self.state, registry, f"{folder}/cdi")

    def inject(self, *names: str, capabilities: tuple[str, ...] = ("compute",)) -> list[str]:
        wanted = request.Request(names, capabilities)
        spec = oci.load(self.file)
        return injection.into(self.file, spec, wanted, self.settings, self.state)

    def document(self) -> Any:
        return oci.load(self.file)


BUNDLE: dict[str, Any] = {"root": {"path": "rootfs"}, "process": {"env": ["A=b"]}, "new": 1}


def place(tmp_path: Path, document: Any = None, registry: Any = None) -> Place:
    known = specs.compiled(specs.spec()) if registry is None else registry
    return Place(tmp_path, BUNDLE if document is None else document, known)


def test_a_gpu_is_injected(tmp_path: Path) -> None:
    made = place(tmp_path)
    assert made.inject("0") == []
    given = made.document()
    assert given["process"]["env"] == ["A=b", "FROM_SPEC=1", "NVIDIA_VISIBLE_DEVICES=void"]
    assert [node["path"] for node in given["linux"]["devices"]] == ["/dev/nvidia0"]
    assert [mount["destination"] for mount in given["mounts"]] == [specs.CUDA]
    assert given["new"] == 1
    assert "hooks" not in given
    assert os.readlink(f"{made.root}/usr/lib/gpu/libcuda.so") == "libcuda.so.1"
    assert os.path.exists(f"{made.root}/etc/ld.so.cache")


@pytest.mark.parametrize("names", [("nvidia.com/gpu=0",), ("0", "nvidia.com/gpu=0")])
def test_a_gpu_named_in_any_way_is_injected_once(tmp_path: Path, names: tuple[str, ...]) -> None:
    made = place(tmp_path)
    made.inject(*names)
    assert len(made.document()["linux"]["devices"]) == 1


def test_a_uuid_is_found_in_any_case(tmp_path: Path) -> None:
    made = place(tmp_path)
    made.inject("gpu-ABC")
    assert made.document()["linux"]["devices"][0]["path"] == "/dev/nvidia1"


def test_what_was_injected_asks_for_nothing_more(tmp_path: Path) -> None:
    made = place(tmp_path)
    made.inject("0")
    assert made.document()["process"]["env"][-1] == "NVIDIA_VISIBLE_DEVICES=void"


def test_a_second_injection_changes_nothing(tmp_path: Path) -> None:
    made = place(tmp_path, {**BUNDLE, "mounts": [{"destination": "/etc", "source": "/x"}]})
    made.inject("0")
    once, root = made.document(), trees.seen(made.root)
    made.inject("0")
    assert (made.document(), trees.seen(made.root)) == (once, root)
    assert len(once["hooks"]["createContainer"]) == 1


def test_what_a_mount_hides_is_left_to_the_hook(tmp_path: Path) -> None:
    made = place(tmp_path, {**BUNDLE, "mounts": [{"destination": "/etc"}, {"destination": "/usr"}]})
    made.inject("0")
    [hook] = made.document()["hooks"]["createContainer"]
    assert hook["args"][:6] == [
        *("gpubind-cdi-hook", "--root", made.root, "create-symlinks"),
        *("--link", "libcuda.so.1::/usr/lib/gpu/libcuda.so"),
    ]
    assert os.listdir(made.root) == []


def test_only_the_capabilities_asked_for_come_in(tmp_path: Path) -> None:
    made = place(tmp_path)
    made.inject("0", capabilities=("utility",))
    assert "mounts" not in made.document()
    assert os.listdir(made.root) == []


def test_none_brings_the_driver_without_a_gpu(tmp_path: Path) -> None:
    made = place(tmp_path)
    made.inject("none")
    assert "linux" not in made.document()
    assert len(made.document()["mounts"]) == 1


def test_best_effort_that_is_gone_leaves_a_note(tmp_path: Path) -> None:
    mount: Any = {"hostPath": "/absent", "containerPath": "/x", "required": False}
    made = place(tmp_path, registry=specs.compiled(specs.spec(containerEdits={"mounts": [mount]})))
    assert made.inject("0") == ["/absent: No such file or directory"]
    assert "mounts" not in made.document()


@pytest.mark.skipif(not DRIVERLESS, reason="this host has an NVIDIA driver")
def test_a_host_without_driver_starts_without_gpu_and_says_so(tmp_path: Path) -> None:
    made = place(tmp_path, registry=specs.compiled())
    [note] = made.inject("all")
    assert note.startswith("NVIDIA_VISIBLE_DEVICES=all asks for GPUs, but this host has no NVIDIA")
    assert made.document() == BUNDLE


@pytest.mark.skipif(not DRIVERLESS, reason="this host has an NVIDIA driver")
def test_a_host_without_driver_still_gives_what_was_named_in_full(tmp_path: Path) -> None:
    registry = specs.compiled(specs.spec(kind="vendor.org/net"))
    made = place(tmp_path, registry=registry)
    assert len(made.inject("0", "vendor.org/net=0")) == 1
    assert len(made.document()["linux"]["devices"]) == 1


UNCHANGED: list[tuple[str, Any, Any, str]] = [
    ("9", BUNDLE, None, r"unresolvable CDI devices nvidia.com/gpu=9: .* has 0, GPU-AbC"),
    ("all", BUNDLE, None, "REGISTRY-DEVICE"),
    ("0", {**BUNDLE, "root": {"path": "absent"}}, None, "SPEC-ROOT"),
    ("0", {**BUNDLE, "root": {"path": "/"}}, None, "is the host's own root"),
    ("0", {"process": {}}, None, "expected a folder's name at root.path"),
    ("0", {**BUNDLE, "mounts": {}}, None, "expected a list of objects at mounts"),
    ("0", {**BUNDLE, "linux": []}, None, "expected an object at linux"),
    (
        "0",
        BUNDLE,
        {"containerEdits": {"mounts": [{"hostPath": "/absent", "containerPath": "/x"}]}},
        "SPEC-STALE",
    ),
    ("0", BUNDLE, {"links": [{**specs.spec()["links"][0], "link": "/a\0"}]}, "ARG-LINK"),
]


@pytest.mark.parametrize(("name", "document", "changes", "message"), UNCHANGED)
def test_an_error_leaves_the_bundle_as_it_was(
    tmp_path: Path, name: str, document: Any, changes: Any, message: str
) -> None:
    made = place(tmp_path, document, specs.compiled(specs.spec(**(changes or {}))))
    before = trees.seen(tmp_path / "b")
    with pytest.raises(ToolkitError, match=message):
        made.inject(name)
    assert trees.seen(tmp_path / "b") == before


def test_a_root_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    made = place(tmp_path, {**BUNDLE, "root": {"path": "config.json"}})
    with pytest.raises(ToolkitError, match=r"rootfs|config.json: Not a directory \[ROOT-OPEN\]"):
        made.inject("0")


def test_a_decision_names_what_it_would_do(tmp_path: Path) -> None:
    made = place(tmp_path)
    wanted = request.Request(("0",), ("compute",))
    decision = injection.decide(made.file, made.document(), wanted, made.settings, made.state)
    assert str(decision.now[0]).startswith("link /usr/lib/gpu")
    assert (decision.root, decision.later, decision.notes) == (made.root, [], [])
    assert made.document() == BUNDLE


def test_a_configuration_of_another_shape_is_told(tmp_path: Path) -> None:
    made = place(tmp_path)
    made.settings.values[config.SPEC_DIRS] = "/etc/cdi"
    with pytest.raises(DocumentError, match="expected a list of texts at nvidia-container-runtime"):
        made.inject("0")


@pytest.mark.parametrize(
    ("note", "used"), [("12.8", True), ("12.6", False), ("", False)], ids=["newer", "same", "none"]
)
def test_a_tegras_newer_cuda_is_told_by_the_version_of_cuda(
    tmp_path: Path, note: str, *, used: bool
) -> None:
    folder = "/usr/local/cuda/compat_orin"
    driver = {"version": "540.4.0", "root": "/", "cuda": "12.6", "compat": folder}
    tegra = specs.spec(driver=driver, operations=["enable-cuda-compat"])
    made = place(tmp_path, registry=specs.compiled(tegra))
    facts = compat_libs.note({"Format": 1, "CUDA Version": note, "Driver": [], "Device": []})
    library = compat_libs.library("libcuda.so.1", facts if note else None)
    trees.build(made.root, {f"{folder}/libcuda.so.1.1": library})
    assert made.inject("0") == []
    assert os.path.exists(f"{made.root}{compat.DROP_IN}") is used
