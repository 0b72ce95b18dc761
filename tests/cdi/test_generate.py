# SPDX-License-Identifier: Apache-2.0
"""From a driver root to a spec: whole specs against golden files, options, partial results."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import driver_roots
import pytest
from driver_roots import LIBRARIES, VERSION, Char, Known, lib, needs_nodes
from gpubind_cdi import document, files
from gpubind_cdi.generate import Generated, Options, generate
from gpubind_cdi.gpu import Fault
from gpubind_cdi.model import Spec

from gpubind import words
from gpubind.errors import DocumentError, ToolkitError, UsageError
from gpubind.root import Root

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from driver_roots import Tree
    from gpubind_cdi.gpu import GpuSource

pytestmark = needs_nodes

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "golden")
TWO = Known([driver_roots.gpu(0), driver_roots.gpu(1)])
PARTS = Known(
    [
        driver_roots.gpu(0, driver_roots.mig(0, 1), driver_roots.mig(1, 2)),
        driver_roots.gpu(1, mig_enabled=True),
        driver_roots.gpu(2),
    ]
)
PLAIN = Options(machine="x86_64")


def two() -> dict[str, Any]:
    """Give the tree of a small host with two GPUs, one of them with a display."""
    return {
        **driver_roots.driver(),
        **driver_roots.control(),
        "/dev/nvidia0": Char(195, 0),
        "/dev/nvidia1": Char(195, 1),
        "/sys/bus/pci/devices/0000:01:00.0/drm/card0": None,
        "/sys/bus/pci/devices/0000:01:00.0/drm/renderD128": None,
        "/dev/dri/card0": Char(226, 0, 0o660),
        "/dev/dri/renderD128": Char(226, 128, 0o660),
        "/dev/dri/by-path/pci-0000:01:00.0-card": "-> ../card0",
        "/dev/dri/by-path/pci-0000:01:00.0-render": "-> ../renderD128",
        f"{LIBRARIES}/libEGL_nvidia.so.{VERSION}": lib("libEGL_nvidia.so.0"),
        f"/usr/lib/i386-linux-gnu/libcuda.so.{VERSION}": lib("libcuda.so.1", "i386"),
        f"{LIBRARIES}/vdpau/libvdpau_nvidia.so.{VERSION}": lib("libvdpau_nvidia.so.1"),
        "/usr/bin/nvidia-smi": "x",
        f"/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin": "x",
        "/usr/share/glvnd/egl_vendor.d/10_nvidia.json": "{}",
        "/run/nvidia-persistenced/socket": driver_roots.SOCKET,
    }


def parts() -> dict[str, Any]:
    """Give the tree of a host with one partitioned GPU, one ready for it and a whole one."""
    caps = {f"/dev/nvidia-caps/nvidia-cap{n}": Char(508, n, 0o444) for n in (12, 13, 21, 22)}
    return {
        **driver_roots.driver(),
        **driver_roots.control(),
        **{f"/dev/nvidia{index}": Char(195, index) for index in range(3)},
        **caps,
        "/proc/driver/nvidia-caps/mig-minors": (
            "config 1\ngpu0/gi1/access 12\ngpu0/gi1/ci0/access 13\n"
            "gpu0/gi2/access 21\ngpu0/gi2/ci0/access 22\n"
        ),
    }


def made(folder: Path, tree: Tree, gpus: GpuSource = TWO, options: Options = PLAIN) -> Generated:
    with Root(driver_roots.grow(folder, tree)) as root:
        return generate(options, gpus, root, root)


def again(folder: Path, gpus: GpuSource = TWO, options: Options = PLAIN) -> Generated:
    with Root(str(folder)) as root:
        return generate(options, gpus, root, root)


def names(generated: Generated) -> list[str]:
    return [device.name for device in generated.spec.devices]


def node_paths(generated: Generated, name: str) -> list[str]:
    device = next(device for device in generated.spec.devices if device.name == name)
    return [node.path for node in device.container_edits.device_nodes]


def hook_words(generated: Generated) -> list[str]:
    return [word for hook in generated.spec.container_edits.hooks for word in hook.args]


@pytest.mark.parametrize(("name", "gpus"), [("two", TWO), ("parts", PARTS)])
def test_a_whole_spec_is_the_golden_one(tmp_path: Path, name: str, gpus: GpuSource) -> None:
    found = made(tmp_path, {"two": two, "parts": parts}[name](), gpus)
    with open(os.path.join(GOLDEN, f"{name}.yaml"), encoding="utf-8") as file:
        want = file.read()
    assert files.text(found).decode().replace(str(tmp_path), "/driver-root") == want
    assert found.missing == ()


def test_the_sidecar_says_what_the_spec_cannot(tmp_path: Path) -> None:
    facts = made(tmp_path, two()).sidecar
    assert facts["driver"] == {"version": VERSION, "root": str(tmp_path), "cuda": "12.4"}
    assert [gpu["uuid"] for gpu in facts["gpus"]] == [gpu.uuid for gpu in TWO.known]
    assert facts["items"][f"{LIBRARIES}/libcuda.so.{VERSION}"] == {
        "capabilities": ["compute", "video"],
        "required": True,
        "why": "CUDA driver API",
    }
    assert facts["items"]["/dev/dri/card0"]["capabilities"] == ["graphics", "display"]
    assert facts["items"]["/dev/nvidia0"] == {"capabilities": [], "required": True, "why": "GPU"}
    assert facts["folders"] == [LIBRARIES, "/usr/lib/i386-linux-gnu"]
    by_path = [link for link in facts["links"] if link["devices"]]
    assert by_path[0] == {
        "link": "/dev/dri/by-path/pci-0000:01:00.0-card",
        "target": "../card0",
        "capabilities": ["graphics", "display"],
        "devices": ["0", TWO.known[0].uuid],
        "why": "card0 by its PCI address",
    }
    paths = [path for path, _, _ in facts["inputs"]]
    assert f"{tmp_path}/usr/bin/nvidia-smi" in paths


def test_everything_in_the_spec_is_in_the_sidecar(tmp_path: Path) -> None:
    found = made(tmp_path, two())
    edits = [found.spec.container_edits, *(one.container_edits for one in found.spec.devices)]
    places = {node.path for one in edits for node in one.device_nodes}
    places |= {mount.container_path for one in edits for mount in one.mounts}
    assert set(found.sidecar["items"]) == places
    (hook,) = found.spec.container_edits.hooks
    (*made_links, cache) = words.parse(list(hook.args[1:])).operations
    common = [link for link in found.sidecar["links"] if not link["devices"]]
    assert [str(link) for link in made_links] == [
        f"link {link['link']} -> {link['target']}" for link in common
    ]
    assert str(cache) == (
        f"enter {len(found.sidecar['libraries'])} libraries of "
        f"{', '.join(found.sidecar['folders'])} into /etc/ld.so.cache"
    )


def test_the_order_of_folders_and_gpus_changes_nothing(tmp_path: Path) -> None:
    tree = list(two().items())
    random.Random(4).shuffle(tree)
    one = made(tmp_path / "a", two())
    other = made(tmp_path / "b", dict(tree))
    texts = [files.text(found).decode() for found in (one, other)]
    assert texts[0].replace("/a/", "/b/") == texts[1]


def test_a_spec_reads_back_as_it_was(tmp_path: Path) -> None:
    found = made(tmp_path, two())
    for form in ("yaml", "json"):
        loaded = document.load(files.text(found, form), f"spec.{form}")
        assert Spec.parse(loaded) == found.spec


@pytest.mark.parametrize(
    ("strategies", "want"),
    [
        (("index",), ["0", "1", "all"]),
        (("type-index",), ["all", "gpu0", "gpu1"]),
        (("uuid",), [*(gpu.uuid for gpu in TWO.known), "all"]),
    ],
)
def test_devices_are_named_by_the_strategies(
    tmp_path: Path, strategies: tuple[str, ...], want: list[str]
) -> None:
    options = replace(PLAIN, device_name_strategies=strategies)
    assert names(made(tmp_path, two(), options=options)) == want


@pytest.mark.parametrize(
    ("ids", "want"),
    [
        (("0",), ["0", "all"]),
        (("gpu1", "1", TWO.known[1].uuid.lower()), ["1", "all"]),
        (("0000:02:00.0",), ["1", "all"]),
        (("all",), ["0", "1", "all"]),
        (("none",), ["none"]),
        (("none", "1"), ["1", "none"]),
        (("none", "all"), ["0", "1", "none"]),
    ],
)
def test_only_the_devices_asked_for_are_described(
    tmp_path: Path, ids: tuple[str, ...], want: list[str]
) -> None:
    options = replace(PLAIN, device_name_strategies=("index",), device_ids=ids)
    assert names(made(tmp_path, two(), options=options)) == want


@pytest.mark.parametrize(
    ("ids", "want", "nodes"),
    [
        ((), ["0:0", "0:1", "2", "all"], None),
        (("0",), ["0", "all"], ["/dev/nvidia0"]),
        (("mig0:1",), ["0:1", "all"], None),
        (("1",), ["1", "all"], ["/dev/nvidia1"]),
    ],
)
def test_a_partitioned_gpu_stands_for_its_parts_unless_asked_for(
    tmp_path: Path, ids: tuple[str, ...], want: list[str], nodes: list[str] | None
) -> None:
    options = replace(PLAIN, device_name_strategies=("index",), device_ids=ids)
    found = made(tmp_path, parts(), PARTS, options)
    assert names(found) == want
    assert nodes is None or node_paths(found, want[0]) == nodes


def test_all_holds_every_node_once(tmp_path: Path) -> None:
    assert node_paths(made(tmp_path, parts(), PARTS), "all") == [
        "/dev/nvidia0",
        "/dev/nvidia2",
        *(f"/dev/nvidia-caps/nvidia-cap{n}" for n in (12, 13, 21, 22)),
    ]


def test_the_device_all_can_be_left_out(tmp_path: Path) -> None:
    assert "all" not in names(made(tmp_path, two(), options=replace(PLAIN, no_all_device=True)))


def test_hooks_can_be_disabled_and_the_sidecar_follows(tmp_path: Path) -> None:
    made(tmp_path, two())
    for disabled, enabled, want in (
        (("create-symlinks",), (), ["update-ldcache"]),
        (("update-ldcache",), (), ["create-symlinks"]),
        (("all",), (), []),
        (("all",), ("update-ldcache",), ["update-ldcache"]),
        (("chmod", "enable-cuda-compat"), (), ["create-symlinks", "update-ldcache"]),
    ):
        options = replace(PLAIN, disable_hooks=disabled, enable_hooks=enabled)
        found = again(tmp_path, options=options)
        given = [
            word for word in hook_words(found) if word in ("create-symlinks", "update-ldcache")
        ]
        assert given == want
        assert bool(found.sidecar["links"]) == ("create-symlinks" in want)
        assert bool(found.sidecar["libraries"]) == ("update-ldcache" in want)


def test_the_hooks_name_is_that_of_its_program(tmp_path: Path) -> None:
    made(tmp_path, two())
    for path, want in (
        ("/opt/bin/gpubind-cdi-hook", ["gpubind-cdi-hook", "create-symlinks"]),
        ("/usr/bin/nvidia-ctk", ["nvidia-ctk", "hook"]),
    ):
        found = again(tmp_path, options=replace(PLAIN, hook_path=path))
        assert hook_words(found)[:2] == want
        assert found.spec.container_edits.hooks[0].path == path


def test_the_version_is_the_lowest_that_does(tmp_path: Path) -> None:
    made(tmp_path, two())
    gids = replace(PLAIN, additional_gids=True, device_name_strategies=("uuid",))
    os.chown(tmp_path / "dev/dri/card0", 0, 44)
    assert again(tmp_path).spec.cdi_version == "0.5.0"
    assert again(tmp_path, options=gids).spec.cdi_version == "0.7.0"
    devices = again(tmp_path, options=gids).spec.devices
    assert [device.container_edits.additional_gids for device in devices] == [(44,), (), (44,)]


def test_what_an_old_engine_cannot_read_is_left_out_and_said(tmp_path: Path) -> None:
    made(tmp_path, two())
    os.chown(tmp_path / "dev/dri/card0", 0, 44)
    options = replace(PLAIN, additional_gids=True, cdi_version_max="0.5.0")
    found = again(tmp_path, options=options)
    assert found.spec.cdi_version == "0.5.0"
    assert found.left_out == ("additionalGids (needs CDI 0.7.0)",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device_name_strategies": ("foo",)}, "unknown device name strategy 'foo'"),
        ({"device_ids": ("7",)}, "no device '7'; there are: 0, GPU-"),
        ({"device_ids": ("",)}, "no device ''"),
        ({"disable_hooks": ("update-ldcash",)}, "no hook 'update-ldcash'; there are: create-"),
        ({"enable_hooks": ("chmod",)}, "the hook 'chmod' can't be enabled; these can: create-"),
        ({"enable_hooks": ("all",)}, "the hook 'all' can't be enabled"),
        ({"cdi_version_max": "9.9.9"}, "no CDI version '9.9.9'; there are: 0.1.0"),
        ({"cdi_version_max": "0.4.0"}, "CDI 0.4.0 is too old: deviceNodes.hostPath needs 0.5.0"),
        ({"cdi_version_max": "0.5.0", "device_class": "gpu.x"}, "a dot in the class needs 0.6.0"),
        ({"library_search_paths": ("/nowhere",)}, "/nowhere is no folder in the driver root"),
    ],
)
def test_options_that_name_nothing_are_bad_usage(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        made(tmp_path, two(), options=replace(PLAIN, **options))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"vendor": "nvidia..com/x"}, "kind"),
        ({"device_class": ""}, "kind"),
        ({"hook_path": ""}, "hooks[0]"),
    ],
)
def test_a_spec_that_would_break_a_rule_is_not_given(
    tmp_path: Path, options: dict[str, Any], place: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        made(tmp_path, two(), options=replace(PLAIN, **options))
    assert place in caught.value.path


def missing(generated: Generated) -> list[str]:
    return [str(one) for one in generated.missing]


def test_a_gpu_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    gpus = Known([driver_roots.gpu(0)], [Fault(index=1, message="GPU is lost")])
    found = made(tmp_path, two(), gpus)
    assert "0" in names(found)
    assert missing(found) == ["GPU 1: could not be read: GPU is lost"]
    with pytest.raises(UsageError, match=r"GPU 1 could not be read: GPU is lost"):
        again(tmp_path, gpus, replace(PLAIN, device_ids=("1",)))


@pytest.mark.parametrize("node", [None, "a file", "-> gone"])
def test_a_gpu_without_its_node_is_left_out_and_named(tmp_path: Path, node: str | None) -> None:
    found = made(tmp_path, {**two(), "/dev/nvidia1": node})
    assert names(found) == ["0", TWO.known[0].uuid, "all"]
    (line,) = missing(found)
    assert line.startswith(f"GPU 1 ({TWO.known[1].uuid}): left out: /dev/nvidia1 (GPU): ")
    assert line.endswith("; run nvidia-modprobe -c 1")


def test_a_mig_device_without_its_capability_is_left_out_and_named(tmp_path: Path) -> None:
    tree = parts()
    del tree["/dev/nvidia-caps/nvidia-cap22"]
    found = made(tmp_path, tree, PARTS, replace(PLAIN, device_name_strategies=("index",)))
    assert names(found) == ["0:0", "2", "all"]
    assert missing(found)[0].startswith("MIG device 0:1 (MIG-1")


@pytest.mark.parametrize("gone", ["/dev/nvidiactl", f"{LIBRARIES}/libcuda.so.{VERSION}"])
def test_what_is_required_and_gone_is_named_and_the_rest_described(
    tmp_path: Path, gone: str
) -> None:
    tree = two()
    del tree[gone]
    found = made(tmp_path, tree)
    assert len(found.missing) == 1
    assert os.path.basename(gone) in missing(found)[0]
    assert len(found.spec.container_edits.mounts) >= 6


def test_what_a_healthy_host_may_lack_is_not_missing(tmp_path: Path) -> None:
    found = made(tmp_path, two())
    assert found.missing == ()
    assert "nvidia-imex (memory export between nodes): not found" in [
        str(one) for one in found.explain_missing
    ]


@pytest.mark.parametrize(
    ("gpus", "gone", "message"),
    [
        (Known(), (), "the driver serves none [DRV-NO-GPU]"),
        (Known(lost=[Fault(index=0, message="lost")]), (), "GPU 0: could not be read: lost"),
        (TWO, ("/dev/nvidia0", "/dev/nvidia1"), "GPU 1 ("),
        (replace(TWO, version="535.1"), (), "kernel module is 550.54.15, NVML says 535.1"),
        (replace(TWO, version="../.."), (), "[DRV-VERSION]"),
    ],
)
def test_without_any_gpu_or_a_fitting_driver_there_is_no_spec(
    tmp_path: Path, gpus: GpuSource, gone: Sequence[str], message: str
) -> None:
    tree = {name: content for name, content in two().items() if name not in gone}
    with pytest.raises(ToolkitError) as caught:
        made(tmp_path, tree, gpus)
    assert message in str(caught.value)


def test_the_device_none_needs_no_gpu(tmp_path: Path) -> None:
    found = made(tmp_path, two(), Known(), replace(PLAIN, device_ids=("none",)))
    assert found.spec.devices[0].container_edits.env == ("NVCT_EMPTY_DEVICE=",)


def test_device_nodes_may_come_from_another_root(tmp_path: Path) -> None:
    driver_root = driver_roots.grow(tmp_path / "driver", driver_roots.driver())
    tree = {name: content for name, content in two().items() if name.startswith("/dev/")}
    dev_root = driver_roots.grow(tmp_path / "host", tree)
    with Root(driver_root) as root, Root(dev_root) as devices:
        found = generate(PLAIN, TWO, root, devices)
    edits = found.spec.container_edits
    assert {node.host_path.removesuffix(node.path) for node in edits.device_nodes} == {dev_root}
    assert all(mount.host_path.startswith(f"{driver_root}/") for mount in edits.mounts)


def test_a_hostile_root_leads_nowhere_else(tmp_path: Path) -> None:
    outside = driver_roots.grow(tmp_path / "outside", {"/secret": "x", **two()})
    up = "../" * 30
    tree = {
        **two(),
        "/usr/bin/nvidia-smi": f"-> {outside}/secret",
        f"{LIBRARIES}/libnvidia-cfg.so.{VERSION}": f"-> {up}{outside}/secret",
        f"{LIBRARIES}/libnvidia-fbc.so.{VERSION}": driver_roots.FIFO,
        f"{LIBRARIES}/libnvidia-ngx.so.{VERSION}": f"-> libnvidia-ngx.so.{VERSION}",
        "/lib/firmware": None,
        f"/lib/firmware/nvidia/{VERSION}": f"-> {outside}",
        "/etc/vulkan": f"-> {outside}",
        "/etc/ld.so.cache": b"glibc-ld.so.cache1.1" + b"\xff" * 4096,
        "/dev/dri/card0": f"-> {outside}/dev/nvidia0",
        "/sys/module/firmware_class/parameters/path": "../../../outside",
    }
    del tree[f"/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin"]
    found = made(tmp_path / "root", tree)
    assert "outside" not in files.text(found).decode()
    assert found.missing == ()
