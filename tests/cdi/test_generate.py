# SPDX-License-Identifier: Apache-2.0
"""From a driver root to a spec: whole specs against golden files, and the options."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from driver_roots import LIBRARIES, VERSION, needs_nodes
from generated_hosts import PARTS, PLAIN, TWO, again, made, names, node_paths, parts, two
from gpubind_cdi import document, files, hooks
from gpubind_cdi.model import Spec

from gpubind import words
from gpubind.errors import DocumentError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from gpubind_cdi.generate import Generated
    from gpubind_cdi.gpu import GpuSource

pytestmark = needs_nodes

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "golden")


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
    (*made_links, _, cache, _, _) = words.parse(list(hook.args[1:])).operations
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
    empty = f"GPU 1 ({PARTS.known[1].uuid}): MIG is enabled, and it has no MIG devices"
    assert (empty in map(str, found.explain_missing)) == (ids == ())


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
    links, cache = ["create-symlinks"], ["update-ldcache"]
    compat = ["enable-cuda-compat"]
    others = ["update-application-profile", "disable-device-node-modification"]
    for disabled, enabled, want in (
        ((), (), [*links, *compat, *cache, *others]),
        (("create-symlinks",), (), [*compat, *cache, *others]),
        (("update-ldcache",), (), [*links, *others]),
        (("all",), (), []),
        (("all",), ("update-ldcache",), cache),
        (("chmod", "enable-cuda-compat"), (), [*links, *cache, *others]),
        (("update-application-profile",), ("chmod",), [*links, *compat, *cache, others[1]]),
    ):
        options = replace(PLAIN, disable_hooks=disabled, enable_hooks=enabled)
        found = again(tmp_path, options=options)
        given = [word for word in hook_words(found) if word in hooks.NAMES]
        assert given == want
        assert bool(found.sidecar["links"]) == ("create-symlinks" in want)
        assert bool(found.sidecar["libraries"]) == ("update-ldcache" in want)


def test_chmod_is_for_devices_with_nodes_in_a_folder_of_their_own(tmp_path: Path) -> None:
    found = made(tmp_path, two(), options=replace(PLAIN, enable_hooks=("chmod",)))
    lines = {
        device.name: hook.args
        for device in found.spec.devices
        for hook in device.container_edits.hooks
    }
    assert lines["0"][-5:] == ("chmod", "--mode", "755", "--path", "/dev/dri")
    assert "1" not in lines


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
    os.chown(tmp_path / "dev/nvidia1", 0, 45)  # everyone may open it, so no group is needed
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
        ({"enable_hooks": ("chmodd",)}, "no hook 'chmodd'; there are: create-"),
        ({"enable_hooks": ("all",)}, "not all hooks can be enabled at once"),
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
        ({"device_class": "-"}, "kind"),
        ({"hook_path": ""}, "hooks[0]"),
    ],
)
def test_a_spec_that_would_break_a_rule_is_not_given(
    tmp_path: Path, options: dict[str, Any], place: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        made(tmp_path, two(), options=replace(PLAIN, **options))
    assert place in caught.value.path
