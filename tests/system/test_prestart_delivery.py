# SPDX-License-Identifier: Apache-2.0
"""What the prestart hook attaches in a container's mount namespace, and what it takes back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import trees
from system import deliveries

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.root]

READ_ONLY = ["ro", "nosuid", "nodev", "bind"]
KERNELS = {
    "of today": [],
    "before 5.12": ["mount_setattr"],
    "before 5.2": ["open_tree", "move_mount", "mount_setattr", "openat2"],
}


@pytest.fixture
def host(tmp_path: Path) -> str:
    """A driver of three files and a node, and a canary that containers want to change."""
    tree: Any = {
        "/driver/lib.so": "the driver",
        "/driver/tool": "a program",
        "/driver/data/inner": "a folder's",
        "/canary/file": "the host's",
        "/canary/lib.so": "the host's",
    }
    folder = trees.build(tmp_path / "host", tree)
    os.mknod(f"{folder}/driver/nvidia0", 0o666 | 0o020000, os.makedev(195, 0))
    return folder


def mount(host: str, name: str, place: str, **changes: Any) -> Any:
    given = {"hostPath": f"{host}/driver/{name}", "containerPath": place, "options": READ_ONLY}
    return {**given, **changes}


def node(host: str, **changes: Any) -> Any:
    given = {"path": "/dev/nvidia0", "hostPath": f"{host}/driver/nvidia0", "type": "c"}
    return {**given, "major": 195, "minor": 0, **changes}


def root_of(tmp_path: Path, tree: Any) -> str:
    return trees.build(tmp_path / "rootfs", {"/dev": trees.FOLDER, **tree})


@pytest.mark.parametrize("kernel", KERNELS)
def test_files_folders_and_nodes_are_attached_in_the_container_alone(
    kernel: str, host: str, tmp_path: Path
) -> None:
    root = root_of(tmp_path, {"/usr/lib/old": "x"})
    edits = {
        "mounts": [
            mount(host, "lib.so", "/usr/lib/lib.so"),
            mount(host, "tool", "/new/bin/tool", options=["ro", "nosuid", "nodev", "noexec"]),
            mount(host, "data", "/usr/share/data", options=["rbind", "ro"]),
        ],
        "deviceNodes": [node(host)],
    }
    links = [("lib.so", "/usr/lib/lib.so.1")]
    answer = deliveries.deliver(root, [edits], links=links, old=KERNELS[kernel])
    found = {name: options.removesuffix(",relatime") for name, options in answer["mounts"].items()}
    assert (answer["error"], answer["notes"], answer["own"]) == ("", [], {})
    assert found == {
        "/dev/nvidia0": "ro,nosuid,noexec",
        "/usr/lib/lib.so": "ro,nosuid,nodev",
        "/usr/share/data": "ro",
        "/new/bin/tool": "ro,nosuid,nodev,noexec",
    }
    assert os.readlink(f"{root}/usr/lib/lib.so.1") == "lib.so"
    assert os.stat(f"{root}/usr/lib/lib.so").st_size == 0  # the mount is the container's alone


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_failure_takes_everything_back(kernel: str, host: str, tmp_path: Path) -> None:
    root = root_of(tmp_path, {"/usr/lib/old": "x", "/pipe": trees.FIFO})
    mounts = [mount(host, "lib.so", "/usr/lib/lib.so"), mount(host, "tool", "/pipe/a/b/c/tool")]
    edits = {"mounts": mounts, "deviceNodes": [node(host)]}
    answer = deliveries.deliver(root, [edits], old=KERNELS[kernel])
    assert answer["error"].startswith(f"container's root: mount {host}/driver/tool at /pipe/a/b/c")
    assert answer["error"].endswith("[PRESTART-MOUNT]")
    assert (answer["mounts"], answer["done"]) == ({}, [])
    assert sorted(os.listdir(f"{root}/usr/lib") + os.listdir(f"{root}/dev")) == ["old"]


def test_what_a_failed_plan_leaves_is_not_mounted(host: str, tmp_path: Path) -> None:
    root = root_of(tmp_path, {"/pipe": trees.FIFO})
    edits = {"mounts": [mount(host, "lib.so", "/usr/lib/lib.so")]}
    answer = deliveries.deliver(root, [edits], links=[("x", "/pipe/x")])
    assert (answer["error"].endswith("[ROOT-WRITE]"), answer["mounts"]) == (True, {})


def test_best_effort_is_a_note(host: str, tmp_path: Path) -> None:
    root = root_of(tmp_path, {"/pipe": trees.FIFO})
    mounts = [
        mount(host, "absent", "/a", required=False),
        mount(host, "tool", "/pipe/tool", required=False),
        mount(host, "lib.so", "/lib.so"),
    ]
    answer = deliveries.deliver(root, [{"mounts": mounts}])
    assert (answer["error"], list(answer["mounts"])) == ("", ["/lib.so"])
    assert [note.split(":")[0] for note in answer["notes"]] == [
        f"{host}/driver/absent",
        "container's root",
    ]


def test_a_required_file_that_is_gone_is_an_error_before_anything_is_done(
    host: str, tmp_path: Path
) -> None:
    root = root_of(tmp_path, {})
    mounts = [mount(host, "lib.so", "/lib.so"), mount(host, "absent", "/a")]
    answer = deliveries.deliver(root, [{"mounts": mounts}])
    assert answer["error"].endswith("[PRESTART-SOURCE]")
    assert (answer["mounts"], os.listdir(root)) == ({}, ["dev"])


@pytest.mark.parametrize("change", [{"minor": 1}, {"type": "b"}, {"hostPath": "/etc/passwd"}])
def test_a_node_that_is_another_device_is_refused(
    host: str, tmp_path: Path, change: dict[str, Any]
) -> None:
    answer = deliveries.deliver(root_of(tmp_path, {}), [{"deviceNodes": [node(host, **change)]}])
    assert "is not the device" in answer["error"]
    assert answer["mounts"] == {}


def test_a_node_that_is_a_link_is_refused(host: str, tmp_path: Path) -> None:
    os.symlink("nvidia0", f"{host}/driver/link")
    edits = {"deviceNodes": [node(host, hostPath=f"{host}/driver/link")]}
    assert "is not the device" in deliveries.deliver(root_of(tmp_path, {}), [edits])["error"]


def test_a_device_that_is_there_already_is_left_alone(host: str, tmp_path: Path) -> None:
    root = root_of(tmp_path, {"/dev/nvidia0": trees.device(195, 0)})
    answer = deliveries.deliver(root, [{"deviceNodes": [node(host)]}])
    assert (answer["error"], answer["mounts"]) == ("", {})


def test_another_device_of_that_name_is_covered(host: str, tmp_path: Path) -> None:
    root = root_of(tmp_path, {"/dev/nvidia0": trees.device(1, 5)})
    answer = deliveries.deliver(root, [{"deviceNodes": [node(host)]}])
    assert list(answer["mounts"]) == ["/dev/nvidia0"]


def test_dangling_links_lead_to_new_files_inside_the_root(host: str, tmp_path: Path) -> None:
    tree = {"/usr/lib/lib.so": "-> ../../opt/a", "/opt/a": f"-> {host}/canary/new"}
    root = root_of(tmp_path, tree)
    answer = deliveries.deliver(root, [{"mounts": [mount(host, "lib.so", "/usr/lib/lib.so")]}])
    assert (answer["error"], list(answer["mounts"])) == ("", [f"{host}/canary/new"])
    assert sorted(os.listdir(f"{host}/canary")) == ["file", "lib.so"]


HOSTILE: dict[str, Any] = {
    "the folder of libraries": {"/usr/lib": "-> {host}/canary"},
    "a folder above it": {"/usr": "-> ../../../../../../../../..{host}/canary"},
    "through proc": {"/usr/lib": "-> /proc/self/root{host}/canary"},
    "through process 1": {"/usr/lib": "-> /proc/1/root{host}/canary"},
    "the folder of devices": {"/dev": "-> {host}/canary"},
    "the target to a file": {"/usr/lib/lib.so": "-> {host}/canary/file"},
    "the target to a new file": {"/usr/lib/lib.so": "-> {host}/canary/new"},
    "the node to a file": {"/dev/nvidia0": "-> {host}/canary/file"},
    "the link's folder": {"/opt": "-> {host}/canary"},
    "a loop": {"/usr/lib": "-> ../usr/lib"},
    "the target in a loop": {"/usr/lib/lib.so": "-> lib.so"},
    "a pipe": {"/usr/lib/lib.so": trees.FIFO},
    "a pipe for a folder": {"/usr/lib": trees.FIFO},
    "a socket": {"/usr/lib/lib.so": trees.SOCKET},
    "a folder for a file": {"/usr/lib/lib.so/x": "x"},
    "a file for a folder": {"/usr/lib": "x"},
    "a device that acts when it is opened": {"/usr/lib/lib.so": trees.device(10, 130)},
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("case", HOSTILE)
def test_no_link_leads_out_of_the_root(case: str, kernel: str, host: str, tmp_path: Path) -> None:
    tree = {
        name: content.format(host=host) if isinstance(content, str) else content
        for name, content in HOSTILE[case].items()
    }
    root = trees.build(tmp_path / "rootfs", tree)
    before = trees.seen(host)
    edits = {"mounts": [mount(host, "lib.so", "/usr/lib/lib.so")], "deviceNodes": [node(host)]}
    links = [("lib.so", "/opt/lib.so.1")]
    answer = deliveries.deliver(root, [edits], links=links, old=KERNELS[kernel])
    assert trees.seen(host) == before
    assert answer["own"] == {}
    if answer["error"]:
        assert answer["error"].endswith(("[PRESTART-MOUNT]", "[ROOT-WRITE]"))
        assert answer["mounts"] == {}
    else:
        assert len(answer["mounts"]) == 2
