# SPDX-License-Identifier: Apache-2.0
"""The packages on hosts that differ: read-only /usr, another Python, the field's toolkit there."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import activate
import pytest
from system import packaged
from system.engines import low_level
from system.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

PEER = """
mkdir -p /run/peer/DEBIAN /run/peer/usr/bin
cat >/run/peer/DEBIAN/control <<TEXT
Package: nvidia-container-toolkit-base
Version: 1.17.0-1
Architecture: all
Maintainer: nobody <nobody@example.com>
Description: stands for the field's package
TEXT
echo theirs >/run/peer/usr/bin/nvidia-ctk
dpkg-deb --build /run/peer /run/peer.deb
dpkg -i /run/peer.deb
"""
UNITS = "/usr/lib/systemd/system"
SERVICES = ("gpubind-cdi-refresh.service", "gpubind-device-nodes.service")
CONFIG = "/etc/nvidia-container-runtime/config.toml"


@pytest.fixture(scope="module")
def debs(scratch: str) -> list[str]:
    return packaged.built(f"{scratch}/debs-for-hosts")


@pytest.fixture
def host() -> Iterator[Place]:
    with Place(root=packaged.root("bookworm")) as place:
        yield place


def install(host: Place, *debs: str) -> None:
    host.run("/usr/bin/dpkg", "-i", *debs, timeout=300)


def test_nothing_is_written_below_usr_once_it_is_installed(
    host: Place, debs: list[str], minimal_root: str, scratch: str
) -> None:
    install(host, *debs)
    host.run("sh", "-ec", "mount --bind /usr /usr; mount -o remount,bind,ro /usr")
    assert host.run("touch", "/usr/x", status=1).stderr.endswith("Read-only file system\n")
    shim = low_level.LowLevel(host, minimal_root, scratch, "/usr/bin/gpubind-runtime")
    assert shim.run("echo", "started").stdout == "started\n"
    assert host.run("gpubind", "cdi", "refresh").stderr == ""


@pytest.fixture
def unpacked(debs: list[str], tmp_path: Path) -> str:
    """Give a root with the packages, ready for use, the machine's units and no other program."""
    for deb in debs:
        subprocess.run(["/usr/bin/dpkg-deb", "-x", deb, tmp_path], check=True)
    activate.activate(f"{tmp_path}{activate.SHARE}", f"{tmp_path}{activate.LIB}")
    for name in ("bin", "sbin"):
        (tmp_path / name).symlink_to("usr/bin")
    for name in ("sh", "modprobe", "kill"):
        shutil.copy("/bin/true", tmp_path / "usr/bin" / name)
    for one in os.scandir(UNITS):
        if one.is_file() and not os.path.exists(f"{tmp_path}{one.path}"):
            shutil.copy(one.path, f"{tmp_path}{UNITS}", follow_symlinks=False)
    return str(tmp_path)


def verify(root: str) -> tuple[int, str]:
    words = ["/usr/bin/systemd-analyze", "verify", "--man=no", f"--root={root}", *SERVICES]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_systemd_takes_the_units_as_they_are_installed(unpacked: str) -> None:
    assert verify(unpacked) == (0, "")


def test_systemd_would_miss_their_program(unpacked: str) -> None:
    os.unlink(f"{unpacked}/usr/bin/gpubind")
    status, told = verify(unpacked)
    assert (status, "/usr/bin/gpubind is not executable" in told) == (1, True)


def test_another_python_has_everything_made_anew(host: Place, debs: list[str]) -> None:
    install(host, *debs)
    link = host.run("readlink", "/usr/lib/gpubind/current").stdout.strip()
    host.run("rm", "-r", f"/usr/lib/gpubind/{link}")  # as good as made by another
    host.run("/usr/bin/dpkg-trigger", "--by-package=python3-minimal", "/usr/bin/python3")
    host.run("/usr/bin/dpkg", "--triggers-only", "gpubind-runtime")
    assert host.run("gpubind-runtime", "--version").stdout.startswith("gpubind-runtime version")
    assert host.run("readlink", "/usr/lib/gpubind/current").stdout.strip() == link


def test_the_fields_packages_give_way_and_their_settings_count(
    host: Place, debs: list[str]
) -> None:
    host.run("sh", "-ec", PEER)
    script = "mkdir -p ${1%/*}; echo disable-require = true >$1"
    host.run("sh", "-ec", script, "sh", CONFIG)
    install(host, *debs)
    assert host.run("readlink", "/usr/bin/nvidia-ctk").stdout == "gpubind\n"
    assert "disable-require = true" in host.run("nvidia-ctk", "config").stdout
    words = ("-W", "-f", "${Status}", "nvidia-container-toolkit-base")
    assert "ok installed" not in host.run("/usr/bin/dpkg-query", *words, status=None).stdout


def test_what_asks_for_the_fields_packages_is_content(host: Place, debs: list[str]) -> None:
    asks = "nvidia-container-toolkit (>= 1.10.0-1)"
    script = PEER.replace("Architecture", f"Depends: {asks}\nArchitecture").replace("-base", "-x")
    script = script.replace("nvidia-ctk", "asks")
    host.run("sh", "-ec", script, status=1)
    install(host, *debs)
    host.run("/usr/bin/dpkg", "--configure", "--pending")


def test_without_the_names_the_fields_packages_stay(host: Place, debs: list[str]) -> None:
    host.run("sh", "-ec", PEER)
    install(host, *debs[:2])
    assert host.run("cat", "/usr/bin/nvidia-ctk").stdout == "theirs\n"
