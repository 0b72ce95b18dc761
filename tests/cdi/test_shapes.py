# SPDX-License-Identifier: Apache-2.0
"""Specs without hooks: what links and the loader's cache did is done by mounts and nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from driver_roots import LIBRARIES, VERSION, lib, needs_nodes
from generated_hosts import PLAIN, made, two
from gpubind_cdi import shapes
from gpubind_cdi.discover.found import READ_ONLY, Entry, Found, Link, Mount
from gpubind_cdi.libraries import UNKNOWN
from gpubind_cdi.modes.mode import Described

from gpubind.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from gpubind_cdi.generate import Generated
    from gpubind_cdi.model import ContainerEdits

CURRENT = f"{LIBRARIES}/nvidia/current"


def shaped(folder: Path, shape: str, tree: dict[str, Any] | None = None) -> Generated:
    return made(folder, tree or two(), options=replace(PLAIN, shape=shape))


def every(generated: Generated) -> list[ContainerEdits]:
    devices = generated.spec.devices
    return [generated.spec.container_edits, *(device.container_edits for device in devices)]


def mounts(generated: Generated) -> dict[str, str]:
    """Give container path to host path."""
    known = generated.spec.container_edits.mounts
    return {mount.container_path: mount.host_path for mount in known}


@pytest.mark.parametrize("shape", ["hook-free", "nested"])
@needs_nodes
def test_there_is_no_hook_and_nothing_left_to_one(tmp_path: Path, shape: str) -> None:
    found = shaped(tmp_path, shape)
    assert [edits.hooks for edits in every(found)] == [()] * len(every(found))
    facts = found.sidecar
    assert (facts["links"], facts["libraries"], facts["operations"]) == ([], [], [])
    variables = [word for edits in every(found) for word in edits.env]
    assert variables == ["NVIDIA_VISIBLE_DEVICES=void"]


@needs_nodes
def test_every_link_is_a_mount_of_the_file_it_leads_to(tmp_path: Path) -> None:
    plain, free = shaped(tmp_path / "a", "hooks"), shaped(tmp_path / "b", "hook-free")
    links = [one["link"] for one in plain.sidecar["links"] if not one["devices"]]
    given = mounts(free)
    assert [link for link in links if link not in given] == []
    library = f"{tmp_path}/b{LIBRARIES}/libcuda.so.{VERSION}"
    assert [given[f"{LIBRARIES}/libcuda.so{end}"] for end in ("", ".1", f".{VERSION}")] == [
        library
    ] * 3


@needs_nodes
def test_a_library_lies_where_any_distributions_loader_looks(tmp_path: Path) -> None:
    given = mounts(shaped(tmp_path, "hook-free"))
    library = f"{tmp_path}{LIBRARIES}/libcuda.so.{VERSION}"
    assert {place for place, host in given.items() if host == library} == {
        f"{LIBRARIES}/libcuda.so.{VERSION}",
        f"{LIBRARIES}/libcuda.so.1",
        f"{LIBRARIES}/libcuda.so",
        "/usr/lib64/libcuda.so.1",
    }
    narrow = {place for place, host in given.items() if "i386" in host}
    assert "/usr/lib/libcuda.so.1" in narrow
    assert "/usr/lib64/libvdpau_nvidia.so.1" not in given  # no loader looks for it


@needs_nodes
def test_a_driver_in_a_folder_of_its_own_is_found_too(tmp_path: Path) -> None:
    tree = {
        **two(),
        f"{CURRENT}/libnvidia-cfg.so.{VERSION}": lib("libnvidia-cfg.so.1"),
    }
    given = mounts(shaped(tmp_path, "hook-free", tree))
    for folder in (LIBRARIES, "/usr/lib64", CURRENT):
        assert given[f"{folder}/libnvidia-cfg.so.1"].endswith(
            f"{CURRENT}/libnvidia-cfg.so.{VERSION}"
        )


@needs_nodes
def test_a_node_by_its_pci_address_is_a_node(tmp_path: Path) -> None:
    found = shaped(tmp_path, "hook-free")
    nodes = {node.path: node for node in found.spec.devices[0].container_edits.device_nodes}
    by_path = nodes["/dev/dri/by-path/pci-0000:01:00.0-render"]
    card = nodes["/dev/dri/renderD128"]
    assert (by_path.host_path, by_path.minor) == (card.host_path, card.minor)
    assert found.sidecar["items"][by_path.path]["capabilities"] == ["graphics", "display"]


@needs_nodes
def test_a_nested_spec_names_only_what_the_outer_container_has(tmp_path: Path) -> None:
    outer, inner = shaped(tmp_path / "a", "hooks"), shaped(tmp_path / "b", "nested")
    there = {mount.container_path for edits in every(outer) for mount in edits.mounts}
    there |= {node.path for edits in every(outer) for node in edits.device_nodes}
    named = {mount.host_path for edits in every(inner) for mount in edits.mounts}
    named |= {node.host_path or node.path for edits in every(inner) for node in edits.device_nodes}
    assert named == there
    assert inner.spec.devices[0].container_edits.device_nodes[0].host_path == ""


def test_links_that_lead_round_or_nowhere_are_left_out() -> None:
    def link(place: str, target: str) -> Link:
        return Link(link=place, target=target, capabilities=(), why="")

    file = Mount(host="/x/a.so.1", container="/l/a.so.1", options=READ_ONLY, use=UNKNOWN)
    links = (
        link("/l/b", "a.so.1"),
        link("/m/c", "../l/b"),
        link("/l/round", "about"),
        link("/l/about", "round"),
        link("/l/gone", "none"),
    )
    entry = Entry(path="/l/gone", machine="x86-64", capabilities=())
    found = Described(common=Found(mounts=(file,), links=links, entries=(entry,)), devices={})
    common = shapes.hook_free(found).common
    assert [(one.container, one.host) for one in common.mounts] == [
        ("/l/a.so.1", "/x/a.so.1"),
        ("/l/b", "/x/a.so.1"),
        ("/m/c", "/x/a.so.1"),
    ]


@pytest.mark.parametrize(("shape", "hooks"), [("", ()), ("Nested", ()), ("hook-free", ("chmod",))])
def test_a_shape_that_is_none_and_a_hook_in_a_spec_without_are_refused(
    shape: str, hooks: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError, match="USE-SHAPE"):
        shapes.check(shape, hooks)
