# SPDX-License-Identifier: Apache-2.0
"""Mode wsl: which driver store is in use, and what a container gets of it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import driver_roots
import generated_hosts
import ldcaches
import pytest
from driver_roots import Char, Known, lib, needs_nodes
from generated_hosts import made, node_paths
from tegras import NO_NVML

from gpubind.errors import ToolkitError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from gpubind_cdi.generate import Generated

pytestmark = needs_nodes
WSL = replace(generated_hosts.PLAIN, mode="wsl", machine="x86_64")
STORES, LENT = "/usr/lib/wsl/drivers", "/usr/lib/wsl/lib"
STORE = f"{STORES}/nv_dispi.inf_amd64_0c5ed7b0e5a4a1b2"


def store(at: str = STORE, mark: str = "") -> dict[str, Any]:
    """Give a driver store; `mark` tells its files from another's."""
    return {
        f"{at}/libcuda.so.1.1": lib("libcuda.so.1") + mark.encode(),
        f"{at}/libcuda_loader.so": lib("libcuda.so.1") + b"loader" + mark.encode(),
        f"{at}/libnvidia-ml.so.1": lib("libnvidia-ml.so.1"),
        f"{at}/libnvidia-ml_loader.so": lib("libnvidia-ml.so.1"),
        f"{at}/libnvidia-ptxjitcompiler.so.1": lib("libnvidia-ptxjitcompiler.so.1"),
        f"{at}/libnvdxgdmal.so.1": lib("libnvdxgdmal.so.1"),
        f"{at}/nvcubins.bin": "cubins",
        f"{at}/nvidia-smi": f"smi {mark}",
    }


def tree(**more: Any) -> dict[str, Any]:
    """Give a WSL2 machine with one store."""
    core = {f"{LENT}/libdxcore.so": lib("libdxcore.so"), "/dev/dxg": Char(10, 127)}
    return {**core, **store(), **more}


def without(files: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in files.items() if not name.endswith(names)}


def inner(generated: Generated, text: str) -> str:
    return text.replace(generated.sidecar["driver"]["root"], "")


def mounts(generated: Generated) -> list[str]:
    return [mount.container_path for mount in generated.spec.container_edits.mounts]


def chosen(folder: Path, files: dict[str, Any]) -> str:
    """Give the note on the store that was chosen, without the folder that holds all of them."""
    generated = made(folder, files, NO_NVML, WSL)
    (note,) = generated.notes
    return inner(generated, note).removeprefix(f"driver store {STORES}/")


def test_one_device_is_all_gpus(tmp_path: Path) -> None:
    generated = made(tmp_path, tree(), NO_NVML, WSL)
    assert generated_hosts.names(generated) == ["all"]
    assert node_paths(generated, "all") == ["/dev/dxg"]
    assert generated.spec.kind == "nvidia.com/gpu"
    assert generated.missing == ()


def test_the_store_and_dxcore_are_mounted_where_they_are(tmp_path: Path) -> None:
    more = {f"{STORE}/libnvcuvid.so.1": lib("libnvcuvid.so.1"), f"{STORE}/nvwgf2umx.dll": "dll"}
    left = {f"{STORE}/nv_dispi.inf": "inf", f"{STORE}/sub/libx.so": "x"}
    generated = made(tmp_path, tree(**more, **left), NO_NVML, WSL)
    names = [*(path.rpartition("/")[2] for path in (*store(), *more))]
    assert sorted(mounts(generated)) == sorted(
        [f"{LENT}/libdxcore.so", *(f"{STORE}/{name}" for name in names)]
    )
    root = generated.sidecar["driver"]["root"]
    for mount in generated.spec.container_edits.mounts:
        assert mount.host_path == root + mount.container_path
        assert mount.options == ("ro", "nosuid", "nodev", "rbind", "rprivate")


def test_the_loader_finds_the_stores_libraries_and_programs_find_nvidia_smi(
    tmp_path: Path,
) -> None:
    generated = made(tmp_path, tree(), NO_NVML, WSL)
    assert {link["link"]: link["target"] for link in generated.sidecar["links"]} == {
        "/usr/bin/nvidia-smi": f"{STORE}/nvidia-smi",
        f"{STORE}/libcuda.so.1": "libcuda.so.1.1",
    }
    assert [entry["path"] for entry in generated.sidecar["libraries"]] == [
        f"{LENT}/libdxcore.so",
        f"{STORE}/libcuda.so.1",
        f"{STORE}/libnvidia-ptxjitcompiler.so.1",
        f"{STORE}/libnvidia-ml.so.1",
        f"{STORE}/libnvdxgdmal.so.1",
    ]
    assert generated.sidecar["folders"] == [LENT, STORE]


def test_a_folder_without_cuda_is_no_store(tmp_path: Path) -> None:
    files = tree(**{f"{STORES}/iigd_dch.inf_amd64_73655f941b1dd71f/libdrv.so": "x"})
    assert (
        chosen(tmp_path, files) == f"{STORE[len(STORES) + 1 :]}: the only one with libcuda.so.1.1"
    )


OLD, NEW = f"{STORES}/nvlti.inf_amd64_1111", f"{STORES}/nvlti.inf_amd64_2222"
FOREIGN = f"{STORES}/u0420529.inf_amd64_94ad"


def aged(folder: Path, files: dict[str, Any], *stores: str) -> dict[str, Any]:
    """Grow the tree with the stores' libcuda each younger than the one before."""
    driver_roots.grow(folder, files)
    for number, name in enumerate(stores):
        os.utime(f"{folder}{name}/libcuda.so.1.1", (10**9 + number, 10**9 + number))
    return {}


def many() -> dict[str, Any]:
    return {**without(tree(), *store()), **store(OLD, "old"), **store(NEW, "new")}


def test_of_several_stores_the_one_windows_copied_is_used(tmp_path: Path) -> None:
    files = {**many(), f"{LENT}/nvidia-smi": "smi old"}
    said = chosen(tmp_path, aged(tmp_path, files, OLD, NEW))
    assert said == (
        f"nvlti.inf_amd64_1111: 2 have libcuda.so.1.1, this one's files are those in {LENT}"
    )


def test_a_copy_of_the_loaders_counts_too(tmp_path: Path) -> None:
    files = {**many(), f"{LENT}/libcuda.so.1.1": lib("libcuda.so.1") + b"loaderold"}
    said = chosen(tmp_path, aged(tmp_path, files, OLD, NEW))
    assert said.startswith("nvlti.inf_amd64_1111: ")


def test_without_a_copy_nvidias_newest_is_used(tmp_path: Path) -> None:
    files = {**many(), **store(FOREIGN, "foreign")}
    said = chosen(tmp_path, aged(tmp_path, files, OLD, NEW, FOREIGN))
    assert said == "nvlti.inf_amd64_2222: 3 have libcuda.so.1.1, this one is NVIDIA's newest"


def test_a_copy_that_is_a_fifo_or_too_large_is_none(tmp_path: Path) -> None:
    files = {**many(), f"{LENT}/nvidia-smi": driver_roots.FIFO}
    assert chosen(tmp_path, aged(tmp_path, files, OLD, NEW)).startswith("nvlti.inf_amd64_2222: ")


def test_a_link_out_of_the_root_is_no_store(tmp_path: Path) -> None:
    driver_roots.grow(tmp_path / "outside", {"/libcuda.so.1.1": "x"})
    files = {**without(tree(), *store()), f"{STORES}/nv_out": "-> ../../../../../outside"}
    with pytest.raises(ToolkitError, match=r"\[WSL-STORE\]$"):
        made(tmp_path / "root", files, NO_NVML, WSL)


def test_without_a_store_the_error_says_where_it_was_looked_for(tmp_path: Path) -> None:
    files: dict[str, Any] = {"/dev/dxg": Char(10, 127)}
    files |= {f"{LENT}/libdxcore.so": lib("libdxcore.so")}
    with pytest.raises(ToolkitError, match=f"^no NVIDIA driver in .*{STORES}: .*WSL-STORE"):
        made(tmp_path, files, NO_NVML, WSL)


def test_without_the_node_there_is_no_gpu(tmp_path: Path) -> None:
    with pytest.raises(ToolkitError, match=r"/dev/dxg .*: no such file.*\[DRV-NO-GPU\]$"):
        made(tmp_path, without(tree(), "/dev/dxg"), NO_NVML, WSL)


def test_dxcore_is_found_where_the_loader_knows_it(tmp_path: Path) -> None:
    files = without(tree(), "libdxcore.so")
    cache = ldcaches.new([(b"libdxcore.so", b"/opt/dx/libdxcore.so", ldcaches.X86, 0)])
    files |= {"/opt/dx/libdxcore.so": lib("libdxcore.so"), "/etc/ld.so.cache": cache}
    generated = made(tmp_path, files, NO_NVML, WSL)
    assert "/opt/dx/libdxcore.so" in mounts(generated)
    assert generated.missing == ()


def test_without_dxcore_the_spec_is_partial(tmp_path: Path) -> None:
    generated = made(tmp_path, without(tree(), "libdxcore.so"), NO_NVML, WSL)
    assert [inner(generated, str(one)) for one in generated.missing] == [
        f"libdxcore.so (speaks to the GPU on WSL): not found in {LENT}; "
        "run 'wsl --update' on Windows"
    ]


def test_what_an_older_driver_lacks_is_not_required(tmp_path: Path) -> None:
    generated = made(tmp_path, without(tree(), "libnvdxgdmal.so.1"), NO_NVML, WSL)
    assert generated.missing == ()
    assert any("libnvdxgdmal.so.1" in one.what for one in generated.explain_missing)


@pytest.mark.parametrize("name", ["0", "GPU-1", "1:0"])
def test_another_device_than_all_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"no device '{name}': /dev/dxg is all GPUs at once"):
        made(tmp_path, tree(), NO_NVML, replace(WSL, device_ids=(name,)))


def test_none_is_the_driver_without_the_node(tmp_path: Path) -> None:
    files = without(tree(), "/dev/dxg")
    generated = made(tmp_path, files, NO_NVML, replace(WSL, device_ids=("none",)))
    assert generated_hosts.names(generated) == ["none"]
    assert f"{STORE}/libcuda.so.1.1" in mounts(generated)


def test_what_nvml_says_is_in_the_sidecar(tmp_path: Path) -> None:
    known = Known([driver_roots.gpu(0)])
    sidecar = made(tmp_path, tree(), known, WSL).sidecar
    assert (sidecar["driver"]["version"], sidecar["driver"]["cuda"]) == ("550.54.15", "12.4")
    assert [gpu["index"] for gpu in sidecar["gpus"]] == [0]


@pytest.mark.parametrize(
    ("lacking", "mode", "why"),
    [
        ((), "wsl", "there are /dev/dxg and libdxcore.so: this is WSL2"),
        (("/dev/dxg",), "nvml", "nothing speaks for another mode"),
        (("libdxcore.so",), "nvml", "nothing speaks for another mode"),
    ],
)
def test_auto_is_this_mode_where_node_and_library_are(
    tmp_path: Path, lacking: tuple[str, ...], mode: str, why: str
) -> None:
    from gpubind_cdi.modes import table
    from gpubind_cdi.modes.mode import Host

    from gpubind.root import Root

    with Root(driver_roots.grow(tmp_path, without(tree(), *lacking))) as root:
        host = Host(root=root, dev_root=root, system=root, gpus=NO_NVML, machine="x86_64")
        found, reason = table.resolve("auto", host)
    assert (found.name, reason) == (mode, why)
