# SPDX-License-Identifier: Apache-2.0
"""Images of every kind with every kind of library cache: what injection makes of their roots.

The tree is the same whether the shim or the CDI hook did it, and a second time changes nothing.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import compat_libs
import image_roots
import pytest
import trees
from system import injected, roots
from system.engines.low_level import LowLevel

if TYPE_CHECKING:
    from pathlib import Path

    from system.nodes import Node
    from system.place import Place

pytestmark = pytest.mark.system

CASES = [
    *(("debian", cache) for cache in ("absent", "new", "older driver")),
    *((kind, cache) for kind in image_roots.GLIBC for cache in image_roots.CACHES),
    *((kind, "as it is") for kind in image_roots.NEVER_CACHED),
]
INCLUDE = b"include /etc/ld.so.conf.d/*.conf\n"
OLD_NAME = f"libnvidia-glcore.so.{image_roots.OLDER}"


@pytest.fixture(scope="module")
def quiet(scratch: str) -> Node:
    """A node whose low-level runtime does nothing."""
    return injected.node(os.path.join(scratch, "quiet"))


def made(kind: str, folder: str, minimal_root: str) -> str:
    """Make a root of a kind, with a GPU's node as a runtime makes it before hooks run."""
    programs = (f"{minimal_root}/usr/bin/probe",)
    if kind == "debian":
        return roots.copy(minimal_root, folder)
    if kind == "alpine":
        os.makedirs(f"{folder}/bin")
        shutil.copy("/bin/busybox", f"{folder}/bin")
    return image_roots.lay_out(kind, folder, programs)


def prepared(kind: str, cache: str, tmp_path: Path, minimal_root: str) -> tuple[list[str], bytes]:
    """Give two equal roots, for the two ways, and the cache they come with."""
    for way in injected.WAYS:
        os.mkdir(tmp_path / way)
    first = made(kind, str(tmp_path / "shim/rootfs"), minimal_root)
    data = b""
    if cache != "as it is":
        data = image_roots.with_cache(first, cache)
    elif os.path.exists(f"{first}{image_roots.STORE}-etc/etc/ld.so.cache"):
        data = (tmp_path / f"shim/rootfs{image_roots.STORE}-etc/etc/ld.so.cache").read_bytes()
    os.makedirs(f"{first}/dev", exist_ok=True)
    trees.build(first, {"/dev/nvidia0": trees.device(195, 0)})
    return [first, roots.copy(first, str(tmp_path / "hook/rootfs"))], data


def conf_after(root: str) -> bytes | None:
    try:
        with open(f"{root}/etc/ld.so.conf", "rb") as stream:
            return None if b"ld.so.conf.d/*.conf" in stream.read() else INCLUDE
    except FileNotFoundError:
        return INCLUDE


@pytest.mark.parametrize(("kind", "cache"), CASES)
def test_shim_and_hook_make_the_expected_tree_and_a_second_time_changes_nothing(
    kind: str, cache: str, quiet: Node, tmp_path: Path, minimal_root: str
) -> None:
    places, data = prepared(kind, cache, tmp_path, minimal_root)
    driver = injected.driver(quiet)
    wanted = injected.expected(injected.state(places[0]), driver, conf_after(places[0]))
    for way, root in zip(injected.WAYS, places, strict=True):
        done = injected.inject(quiet, way, root)
        assert (done.stdout, done.stderr) == ("", "")
        assert injected.without_cache(injected.state(root)) == wanted
        file = f"{root}/etc/ld.so.cache"
        assert sorted(injected.read(file)) == injected.libraries(data, driver)
        assert injected.listed(file) == injected.read(file)
        before = trees.seen(root)
        injected.inject(quiet, way, root)
        assert trees.seen(root) == before
    assert injected.state(places[0]) == injected.state(places[1])


def test_an_older_driver_s_names_lead_to_this_one(
    quiet: Node, tmp_path: Path, minimal_root: str
) -> None:
    [root, _], data = prepared("debian", "older driver", tmp_path, minimal_root)
    link = f"{root}{image_roots.LIB}/libcuda.so.1"
    assert os.readlink(link) == f"libcuda.so.{image_roots.OLDER}"
    assert OLD_NAME.encode() in data
    injected.inject(quiet, "shim", root)
    assert os.readlink(link) == "libcuda.so.550.54.15"
    found = injected.listed(f"{root}/etc/ld.so.cache")
    cuda = [line for line in found if line.startswith("libcuda.so.1 ")]
    assert cuda == [f"libcuda.so.1 => {image_roots.LIB}/libcuda.so.1"]


@pytest.mark.parametrize("way", injected.WAYS)
def test_the_levels_of_the_processor_stay_known(
    way: str, quiet: Node, tmp_path: Path, minimal_root: str
) -> None:
    (root, _), _ = prepared("fedora", "new", tmp_path, minimal_root)
    injected.inject(quiet, way, root)
    found = [line for line in injected.listed(f"{root}/etc/ld.so.cache") if "libmine" in line]
    mine = image_roots.MINE
    assert found == [
        f"libmine.so.1 => {mine}/{image_roots.LEVEL}/libmine.so.1",
        f"libmine.so.1 => {mine}/libmine.so.1",
    ]


def test_an_image_s_newer_cuda_comes_first_in_both_ways(
    quiet: Node, tmp_path: Path, minimal_root: str
) -> None:
    places, _ = prepared("distroless", "new", tmp_path, minimal_root)
    facts = {"Format": 1, "CUDA Version": "12.9", "Driver": [535, 550, 570]}
    library = compat_libs.library("libcuda.so.1", compat_libs.note(facts))
    compat = "/usr/local/cuda-12.9/compat"
    for way, root in zip(injected.WAYS, places, strict=True):
        trees.build(root, {"/usr/local/cuda": "-> cuda-12.9"})
        trees.build(root, {f"{compat}/libcuda.so.575.57.08": library})
        trees.build(root, {f"{compat}/libcuda.so.1": "-> libcuda.so.575.57.08"})
        injected.inject(quiet, way, root)
        found = injected.listed(f"{root}/etc/ld.so.cache")
        assert [line for line in found if line.startswith("libcuda.so.1 ")] == [
            f"libcuda.so.1 => {compat}/libcuda.so.1",
            f"libcuda.so.1 => {image_roots.LIB}/libcuda.so.1",
        ]
    assert injected.state(places[0]) == injected.state(places[1])


KINDS = ["debian", *image_roots.TREES]


@pytest.fixture(scope="module")
def places_of_kinds(minimal_root: str, scratch: str) -> dict[str, str]:
    """A root of every kind, with the cache it usually has."""
    base = os.path.join(scratch, "kinds")
    made_roots = {kind: made(kind, f"{base}/{kind}", minimal_root) for kind in KINDS[1:]}
    image_roots.with_cache(made_roots["fedora"], "new")
    return {**made_roots, "debian": minimal_root}


ALLOWED = "/dev/nvidia0: allowed\n/dev/nvidiactl: allowed\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_of_it_has_its_gpu(
    kind: str, simulated: Node, place: Place, places_of_kinds: dict[str, str], scratch: str
) -> None:
    probe = "/usr/bin/probe" if kind == "debian" else "/probe"
    shim = LowLevel(place, places_of_kinds[kind], scratch, simulated.runtime)
    done = shim.run(probe, "open", "/dev/nvidia0", "/dev/nvidiactl", environment=injected.GPU_0)
    assert (done.stdout, done.stderr) == (ALLOWED, "")


@pytest.mark.parametrize("kind", ["debian", *image_roots.GLIBC])
def test_the_loader_in_it_finds_the_driver(
    kind: str, simulated: Node, place: Place, places_of_kinds: dict[str, str], scratch: str
) -> None:
    shim = LowLevel(place, places_of_kinds[kind], scratch, simulated.runtime)
    program = "/bin/true" if kind == "debian" else "/true"
    loader = image_roots.HOST_LOADER
    words = (loader, "--list", "--preload", "libcuda.so.1", program)
    done = shim.run(*words, environment=injected.GPU_0)
    assert f"libcuda.so.1 => {simulated.libcuda} " in done.stdout
    assert "libc.so.6 => /" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", injected.WAYS)
def test_a_read_only_root_is_left_as_it_is_with_one_note(
    kind: str,
    way: str,
    quiet: Node,
    place: Place,
    places_of_kinds: dict[str, str],
    scratch: str,
) -> None:
    folder = os.path.join(scratch, f"read-only-{way}-{kind.replace(' ', '-')}")
    rootfs = f"{folder}/rootfs"
    os.makedirs(rootfs)
    injected.bundle(rootfs)
    place.run("mount", "--bind", places_of_kinds[kind], rootfs)
    place.run("mount", "-o", "remount,bind,ro", rootfs)
    try:
        before = injected.state(places_of_kinds[kind])
        done = injected.inject(quiet, way, rootfs, place.words([]))
        assert done.stderr.count("\n") == 1
        assert "container's root is read-only, left out: " in done.stderr
        assert "[ROOT-READONLY]" in done.stderr
        assert injected.state(places_of_kinds[kind]) == before
    finally:
        place.run("umount", rootfs)


def test_an_image_that_has_it_all_starts_from_a_read_only_root(
    simulated: Node, place: Place, places_of_kinds: dict[str, str], scratch: str
) -> None:
    root = places_of_kinds["distroless"]
    shim = LowLevel(place, root, scratch, simulated.runtime)
    words = ("/probe", "open", "/dev/nvidia0", "/dev/nvidiactl")
    folder = shim.bundle(words, injected.GPU_0)
    assert shim.run_bundle(folder).stdout == ALLOWED
    layers = f"lowerdir=/run/layers/{os.path.basename(folder)}/upper:{root}"
    place.run("mount", "-t", "overlay", "-o", layers, "layers", f"{folder}/rootfs")
    again = shim.run_bundle(folder)
    assert (again.stdout, again.stderr) == (ALLOWED, "")
