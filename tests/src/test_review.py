# SPDX-License-Identifier: Apache-2.0
"""What a hostile image, user or document could still do: found by reading, each kept from here."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any

import compat_libs
import pytest
import trees

from gpubind import configfile, modifier, plan, requirement
from gpubind.errors import DocumentError, ToolkitError
from gpubind.oci import codec
from gpubind.oci import spec as oci
from gpubind.operation import compat
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

LIBRARIES = plan.LdCache(["/usr/lib/gpu"], ["/usr/lib/gpu/libcuda.so.1"])
MUSL = f"ld-musl-{os.uname().machine}"
SECRET = "not for the container's users"


def perform(host: Path, *operations: plan.Operation) -> list[str]:
    notes: list[str] = []
    with Root(f"{host}/root") as root:
        plan.perform(root, operations, notes)
    return notes


def test_a_key_that_stands_twice_among_many_is_found_soon() -> None:
    members = ",".join(f'"{number}":0' for number in range(50_000))
    began = time.monotonic()
    with pytest.raises(DocumentError, match="duplicate key '49999'"):
        codec.decode(f'{{{members},"49999":1}}'.encode(), "x")
    assert time.monotonic() - began < 2


def test_a_secret_that_ld_so_conf_leads_to_is_not_copied(host: Path) -> None:
    trees.build(host / "root", {"/volume/key": SECRET, "/etc/ld.so.conf": "-> ../volume/key"})
    os.chmod(host / "root/volume/key", 0o600)
    perform(host, LIBRARIES)
    assert SECRET not in (host / "root/etc/ld.so.conf").read_text()
    assert (host / "root/volume/key").read_text() == SECRET


def test_what_ld_so_conf_leads_to_is_still_read_by_ldconfig(host: Path) -> None:
    trees.build(host / "root", {"/usr/x.conf": "/opt/lib\n", "/etc/ld.so.conf": "-> /usr/x.conf"})
    perform(host, LIBRARIES)
    text = (host / "root/etc/ld.so.conf").read_text()
    assert text == "include /etc/ld.so.conf.d/*.conf\ninclude /usr/x.conf\n"
    perform(host, LIBRARIES)
    assert (host / "root/etc/ld.so.conf").read_text() == text


def test_a_secret_that_musls_path_file_leads_to_is_not_copied(host: Path) -> None:
    trees.build(
        host / "root",
        {
            f"/lib/{MUSL}.so.1": "",
            "/opt/lib": trees.FOLDER,
            "/volume/key": f"/opt/lib:{SECRET}\n/no/such",
            f"/etc/{MUSL}.path": "-> /volume/key",
        },
    )
    perform(host, LIBRARIES)
    assert (host / f"root/etc/{MUSL}.path").read_text() == "/usr/lib/gpu\n/opt/lib"


@pytest.mark.parametrize("place", ["/opt/a\nb", "/opt/a:b"])
def test_a_compat_folder_no_loader_can_be_told_of_is_a_note(host: Path, place: str) -> None:
    library = compat_libs.library("libcuda.so.1", None, "x86-64")
    trees.build(host / "root", {"/usr/local/cuda/compat": f"-> {place}"})
    inner: Any = os.open(host / "root", os.O_PATH)
    for step in place.strip("/").split("/"):
        os.makedirs(f"/proc/self/fd/{inner}/{step}", exist_ok=True)
        inner = os.open(step, os.O_PATH, dir_fd=inner)
    for base in ("libcuda.so.999.1.1", "libcuda.so.1"):
        with open(f"/proc/self/fd/{inner}/{base}", "wb") as file:
            file.write(library)
    notes = perform(host, compat.CudaCompat("550.54.15", ""), LIBRARIES)
    assert (host / "root/etc/ld.so.cache").exists()
    assert any("compat" in note or "loader" in note for note in notes)


@pytest.mark.parametrize("gids", [[{}], [[1]], ["1"], [True], [1.5]])
def test_groups_that_are_no_numbers_are_told(gids: list[object]) -> None:
    with pytest.raises(DocumentError, match="expected a list of numbers"):
        oci.check({"process": {"user": {"additionalGids": gids}}}, "config.json")


@pytest.mark.parametrize("number", [[], {}, "x"])
def test_a_rule_with_a_number_that_is_none_denies_nothing(number: object) -> None:
    rule = {"allow": False, "type": "a", "major": number}
    assert not modifier.denies_devices({"linux": {"resources": {"devices": [rule]}}})


@pytest.mark.parametrize(
    "text",
    [
        '[nvidia-container-cli]\nroot = "/a\\u0000b"',
        '[nvidia-container-runtime]\nruntimes = ["runc", "/a\\u0000"]',
    ],
)
def test_a_setting_with_a_zero_byte_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(DocumentError, match="holds a zero byte"):
        configfile.read(str(tmp_path / "config.toml"))


def test_chmod_changes_what_it_looked_at(host: Path) -> None:
    trees.build(host / "root", {"/dev/dri": trees.FOLDER})
    os.chmod(host / "root/dev/dri", 0o700)
    from gpubind.operation import chmod

    perform(host, chmod.Chmod(0o755, ["/dev/dri"]))
    assert stat.S_IMODE(os.stat(host / "root/dev/dri").st_mode) == 0o755


def test_many_long_requirements_take_no_longer_than_one() -> None:
    text = " ".join(["cuda>=1"] * 8000)
    several = [(f"NVIDIA_REQUIRE_{number}", text) for number in range(200)]
    began = time.monotonic()
    with pytest.raises(ToolkitError, match="NVIDIA_REQUIRE_0 and others: longer than 65536"):
        requirement.check(several, [])
    assert time.monotonic() - began < 2
