# SPDX-License-Identifier: Apache-2.0
"""Mode csv: what a Tegra's lists name becomes a spec, whatever NVML says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import driver_roots
import generated_hosts
import pytest
from driver_roots import Char, lib, needs_nodes
from generated_hosts import made, node_paths
from tegras import LIBRARIES, LISTS, NO_NVML, cuda, tree

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path

    from gpubind_cdi.generate import Generated

pytestmark = needs_nodes
CSV = replace(generated_hosts.PLAIN, mode="csv")


def mounts(generated: Generated) -> dict[str, str]:
    """Give what is mounted where, host paths without the root."""
    root = generated.sidecar["driver"]["root"]
    return {
        mount.container_path: mount.host_path.removeprefix(root)
        for mount in generated.spec.container_edits.mounts
    }


def links(generated: Generated) -> dict[str, str]:
    return {link["link"]: link["target"] for link in generated.sidecar["links"]}


def absent(generated: Generated) -> list[str]:
    root = generated.sidecar["driver"]["root"]
    return [str(one).replace(root, "") for one in generated.explain_missing]


def test_the_nodes_of_the_lists_are_one_device(tmp_path: Path) -> None:
    generated = made(tmp_path, tree(), NO_NVML, CSV)
    assert generated_hosts.names(generated) == ["0", "all"]
    assert node_paths(generated, "0") == ["/dev/nvidia0", "/dev/nvmap"]
    assert node_paths(generated, "all") == ["/dev/nvidia0", "/dev/nvmap"]
    assert generated.spec.kind == "nvidia.com/gpu"
    assert generated.spec.container_edits.env[-1] == "NVIDIA_VISIBLE_DEVICES=void"
    assert generated.missing == ()


def test_a_library_is_mounted_with_its_links_and_made_known_to_the_loader(tmp_path: Path) -> None:
    line = f"sym, {LIBRARIES}/libcuda.so"
    generated = made(tmp_path, {**tree(line), **cuda()}, NO_NVML, CSV)
    library = f"{LIBRARIES}/nvidia/libcuda.so.1.1"
    assert mounts(generated) == {library: library, "/etc/nv_tegra_release": "/etc/nv_tegra_release"}
    assert links(generated) == {
        f"{LIBRARIES}/libcuda.so": "nvidia/libcuda.so",
        f"{LIBRARIES}/nvidia/libcuda.so": "libcuda.so.1.1",
        f"{LIBRARIES}/nvidia/libcuda.so.1": "libcuda.so.1.1",
    }
    assert generated.sidecar["libraries"] == [
        {
            "path": f"{LIBRARIES}/nvidia/libcuda.so.1",
            "arch": "aarch64",
            "capabilities": ["compute", "video"],
        }
    ]
    assert generated.sidecar["folders"] == [f"{LIBRARIES}/nvidia"]


def test_folders_files_and_a_file_through_a_link_are_mounted(tmp_path: Path) -> None:
    lines = ("dir, /usr/share/tegra", "lib, /lib/firmware/a.bin", "lib, /etc/real.cfg", "sym, /d")
    files: dict[str, Any] = {
        "/usr/share/tegra/x": "",
        "/usr/lib/firmware/a.bin": "firmware",
        "/lib": "-> usr/lib",
        "/etc/real.cfg": "-> alternatives/real",
        "/etc/alternatives/real": "text",
        "/d": "-> usr/share/tegra",
    }
    generated = made(tmp_path, {**tree(*lines), **files}, NO_NVML, CSV)
    assert mounts(generated) == {
        "/etc/alternatives/real": "/etc/alternatives/real",
        "/etc/nv_tegra_release": "/etc/nv_tegra_release",
        "/lib/firmware/a.bin": "/usr/lib/firmware/a.bin",
        "/usr/share/tegra": "/usr/share/tegra",
    }
    assert links(generated) == {"/etc/real.cfg": "alternatives/real", "/d": "usr/share/tegra"}


@pytest.mark.parametrize(
    ("line", "files", "why"),
    [
        ("lib, /absent.so", {}, "no such file or directory"),
        ("dir, /f", {"/f": "x"}, "not a folder"),
        ("lib, /d", {"/d": None}, "not a regular file"),
        ("lib, /p", {"/p": driver_roots.FIFO}, "not a regular file"),
        ("sym, /p", {"/p": Char(1, 3)}, "not a regular file"),
        ("sym, /a", {"/a": "-> b", "/b": "-> a"}, "too many levels of symbolic links"),
        ("sym, /a", {"/a": "-> nowhere"}, "no such file or directory"),
        ("dev, /dev/none", {}, "no such file or directory"),
        ("dev, /dev/none*", {}, "not found"),
        ("dev, /dev/f", {"/dev/f": "x"}, "not a character device"),
    ],
)
def test_what_a_list_names_and_is_not_there_is_one_line(
    tmp_path: Path, line: str, files: dict[str, Any], why: str
) -> None:
    generated = made(tmp_path, {**tree(line), **files}, NO_NVML, CSV)
    path = line.partition(", ")[2]
    assert f"{path} (listed in {LISTS}/l4t.csv:1): {why}" in absent(generated)
    assert generated.missing == ()
    assert generated.notes == (
        "3 entries in the lists, 2 that are not there or can't be used: "
        "--explain-missing names them",
    )


def test_a_bad_line_is_named_with_its_file_and_line(tmp_path: Path) -> None:
    generated = made(tmp_path, tree("dev /dev/x", "", "boo, /x"), NO_NVML, CSV)
    assert f"{LISTS}/l4t.csv:1: skipped: no comma: expected `type, path`" in absent(generated)
    assert (
        f"{LISTS}/l4t.csv:3: skipped: no type 'boo': expected one of dev, dir, lib, sym"
        in absent(generated)
    )


def test_links_lead_nowhere_outside_of_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_text("outside")
    files = {"/a": "-> ../../../../secret", "/b": f"-> {outside}", "/secret": "inside"}
    generated = made(tmp_path / "root", {**tree("sym, /a", "sym, /b"), **files}, NO_NVML, CSV)
    assert mounts(generated)["/secret"] == "/secret"
    assert [one for one in absent(generated) if one.startswith("/b ")] == [
        f"/b (listed in {LISTS}/l4t.csv:2): no such file or directory"
    ]


def test_an_absolute_link_is_one_inside_of_the_root(tmp_path: Path) -> None:
    files = {"/d/a": "-> /etc/other/a", "/etc/other/a": "-> ../../b", "/b": "inside"}
    generated = made(tmp_path, {**tree("sym, /d/a"), **files}, NO_NVML, CSV)
    assert mounts(generated)["/b"] == "/b"
    assert links(generated) == {"/d/a": "/etc/other/a", "/etc/other/a": "../../b"}


def test_the_release_file_is_the_driver_roots(tmp_path: Path) -> None:
    with_file = made(tmp_path / "a", tree(), NO_NVML, CSV)
    file = "/etc/nv_tegra_release"
    root = with_file.sidecar["driver"]["root"]
    assert [mount.host_path for mount in with_file.spec.container_edits.mounts] == [root + file]
    lacking = {name: value for name, value in tree().items() if name != file}
    assert mounts(made(tmp_path / "b", lacking, NO_NVML, CSV)) == {}


def test_an_ignored_link_is_left_out_and_a_library_of_that_name_stays(tmp_path: Path) -> None:
    lines = ("sym, /usr/lib/a.so", "lib, /usr/lib/libb.so", "sym, /usr/lib/c.so.1")
    files: dict[str, Any] = {
        "/usr/lib/a.so": "-> libb.so",
        "/usr/lib/libb.so": lib("libb.so", "aarch64"),
        "/usr/lib/c.so.1": "-> c.bin",
        "/usr/lib/c.bin": "c",
    }
    wanted = replace(CSV, csv_ignore_patterns=("**/*.so",))
    generated = made(tmp_path, {**tree(*lines), **files}, NO_NVML, wanted)
    assert links(generated) == {"/usr/lib/c.so.1": "c.bin"}
    assert {"/usr/lib/libb.so", "/usr/lib/c.bin"} <= set(mounts(generated))


def test_a_library_is_looked_for_below_a_search_path_first(tmp_path: Path) -> None:
    files: dict[str, Any] = {"/opt/l4t/usr/lib/x.bin": "new", "/usr/lib/x.bin": "old"}
    files |= {"/usr/lib/y.bin": "y", "/opt/l4t/d": None, "/d": None}
    lines = ("lib, /usr/lib/x.bin", "lib, /usr/lib/y.bin", "dir, /d")
    wanted = replace(CSV, library_search_paths=("/opt/l4t",))
    found = mounts(made(tmp_path, {**tree(*lines), **files}, NO_NVML, wanted))
    assert found["/usr/lib/x.bin"] == "/opt/l4t/usr/lib/x.bin"
    assert (found["/usr/lib/y.bin"], found["/d"]) == ("/usr/lib/y.bin", "/d")


def test_only_the_usual_lists_are_read_unless_all_are_wanted(tmp_path: Path) -> None:
    files = {**tree("lib, /x", name="more.csv"), "/x": ""}
    assert "/x" not in mounts(made(tmp_path, files, NO_NVML, CSV))
    every = generated_hosts.again(tmp_path, NO_NVML, replace(CSV, csv_every=True))
    assert "/x" in mounts(every)


def test_a_list_can_be_named_in_the_root_or_on_this_machine(tmp_path: Path) -> None:
    outside = tmp_path / "mine.csv"
    outside.write_text("dev, /dev/nvmap\nlib, /x\n")
    files = {**tree(), "/in.csv": "dev, /dev/nvidia2\n", "/x": ""}
    wanted = replace(CSV, csv_files=("/in.csv", str(outside)))
    generated = made(tmp_path / "root", files, NO_NVML, wanted)
    assert node_paths(generated, "0") == ["/dev/nvidia2", "/dev/nvmap"]
    assert "/x" in mounts(generated)
    assert [path for path, *_ in generated.sidecar["inputs"] if path.endswith(".csv")] == [
        f"{tmp_path}/root/in.csv",
        str(outside),
    ]


def test_a_named_list_that_is_not_there_is_missing(tmp_path: Path) -> None:
    wanted = replace(CSV, csv_files=("/nowhere.csv", f"{LISTS}/devices.csv"))
    generated = made(tmp_path, tree(), NO_NVML, wanted)
    assert [str(one) for one in generated.missing] == [
        "/nowhere.csv: skipped: no such file or directory"
    ]


def test_without_lists_the_error_says_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ToolkitError, match=r"can be used: .*/devices\.csv: no such.*\[CSV-LISTS\]"):
        made(tmp_path, {"/etc/nv_tegra_release": ""}, NO_NVML, CSV)


def test_without_a_node_the_error_says_so(tmp_path: Path) -> None:
    files = {name: value for name, value in tree().items() if not name.startswith("/dev/")}
    with pytest.raises(ToolkitError, match=r"none of the 2 device nodes .* \[CSV-NODES\]$"):
        made(tmp_path, {**files, "/dev/nvmap": "a file"}, NO_NVML, CSV)
