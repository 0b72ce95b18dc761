# SPDX-License-Identifier: Apache-2.0
"""The systemd units and udev rules are ones, and their programs work with the rights they leave.

systemd as the first process can't be had on the build machines, so no unit is started: what is run
are systemd's and udev's own checkers, and the units' commands with the capabilities that are left.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import checkout
import pytest
from simulated_nodes import node
from system import debian

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system

UNITS = os.path.join(checkout.ROOT, "packaging/systemd")
RULES = os.path.join(checkout.ROOT, "packaging/udev")
SERVICES = sorted(name for name in os.listdir(UNITS) if name.endswith(".service"))
ENGINES = ("docker.service", "containerd.service", "crio.service", "podman-restart.service")
PROGRAM = "/usr/bin/gpubind"


def settings(name: str) -> dict[str, list[str]]:
    """Give a unit's settings, each with all its values in order."""
    found: dict[str, list[str]] = {}
    for line in checkout.text(UNITS, name).splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, env=env)


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """Give the units with programs that this machine has in place of those of the package."""
    for name in SERVICES:
        text = checkout.text(UNITS, name).replace(PROGRAM, "/bin/true")
        (tmp_path / name).write_text(text.replace("/sbin/modprobe", "/bin/true"))
    return [str(tmp_path / name) for name in SERVICES]


def test_systemd_takes_the_units(units: list[str]) -> None:
    done = run("/usr/bin/systemd-analyze", "verify", "--man=no", *units)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_would_not_take_a_wrong_one(units: list[str]) -> None:
    with open(units[0], "a", encoding="utf-8") as file:
        file.write("\n[Service]\nProtectHome=perhaps\n")
    done = run("/usr/bin/systemd-analyze", "verify", "--man=no", *units)
    assert "Failed to parse protect home value" in done.stderr


@pytest.mark.parametrize("number", range(len(SERVICES)))
def test_what_the_units_leave_exposed_is_little(units: list[str], number: int) -> None:
    words = ("security", "--offline=true", "--no-pager", "--threshold=50", units[number])
    done = run("/usr/bin/systemd-analyze", *words)
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("name", SERVICES)
def test_the_units_come_before_the_engines(name: str) -> None:
    before = " ".join(settings(name)["Before"]).split()
    assert set(ENGINES) <= set(before)


def test_nodes_come_before_specs() -> None:
    assert "gpubind-device-nodes.service" in settings("gpubind-cdi-refresh.service")["After"][0]


@pytest.mark.parametrize("name", SERVICES)
def test_the_units_conditions_are_commands_that_end(name: str) -> None:
    for line in settings(name)["ExecCondition"]:
        program, *words = shlex.split(line)
        if os.access(program, os.X_OK):
            assert run(program, *words).returncode in (0, 1)


def udev() -> str:
    """Give a root with a udev that has `udevadm verify`, which is younger than Debian 12."""
    names = ("udev", "base-files")
    needless = ("dev", "usr/share/doc", "usr/lib/udev/hwdb.d", "usr/share/locale")

    def build(root: str) -> None:
        debian.strap(root, names, "trixie")
        for name in needless:
            shutil.rmtree(os.path.join(root, name), ignore_errors=True)

    key = repr((debian.archive_lines("trixie", ["main"]), names, needless))
    return debian.cached("udev", key, build)


def verified(rules: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Have udev check a text of rules."""
    try:
        root = udev()
    except debian.UnavailableError as error:
        pytest.skip(str(error))
    copy = place / "root"
    shutil.copytree(root, copy, symlinks=True)
    (copy / "etc/udev/rules.d").mkdir(parents=True, exist_ok=True)
    (copy / "etc/udev/rules.d/70-gpubind.rules").write_text(rules)
    words = ("/usr/bin/udevadm", "verify", "--no-style", "/etc/udev/rules.d/70-gpubind.rules")
    return run("/usr/sbin/chroot", str(copy), *words)


def test_udev_takes_the_rules(tmp_path: Path) -> None:
    done = verified(checkout.text(RULES, "70-gpubind.rules"), tmp_path)
    assert (done.returncode, "Success: 1" in done.stdout) == (0, True), done.stdout + done.stderr


def test_udev_would_not_take_a_wrong_rule(tmp_path: Path) -> None:
    assert verified('ACTION=="add", SUBSYSTEM=="module", KERNEL+="x"\n', tmp_path).returncode != 0


def test_the_rules_want_units_there_are() -> None:
    text = checkout.text(RULES, "70-gpubind.rules")
    wanted = {
        name for names in re.findall(r'SYSTEMD_WANTS}\+="([^"]+)"', text) for name in names.split()
    }
    assert wanted == set(SERVICES)


def rights(name: str) -> list[str]:
    """Give the program that leaves a command no more rights than the unit does."""
    kept = [
        f"+{one.removeprefix('CAP_').lower()}"
        for one in settings(name)["CapabilityBoundingSet"][0].split()
    ]
    bounds = ",".join(["-all", *kept])
    return [
        "/usr/bin/setpriv",
        "--no-new-privs",
        f"--bounding-set={bounds}",
        f"--inh-caps={bounds}",
    ]


def command(name: str, number: int = 0) -> list[str]:
    words = shlex.split(settings(name)["ExecStart"][number].removeprefix("-"))
    assert words[0] == PROGRAM
    return [sys.executable, "-m", "gpubind_ctl", *words[1:]]


def test_nodes_links_and_spec_are_made_with_the_rights_of_the_units(tmp_path: Path) -> None:
    root = node("dgx-a100-mig", tmp_path)
    shutil.rmtree(root / "dev")
    (root / "dev").mkdir()
    env = {"DRIVER_ROOT": str(root), "NVIDIA_CTK_DRIVER_ROOT": str(root), "PATH": "/usr/bin:/bin"}
    for number in range(2):
        name = "gpubind-device-nodes.service"
        words = [word for word in command(name, number) if word != "--load-kernel-modules"]
        done = run(*rights(name), *words, env=env)
        assert (done.returncode, done.stderr) == (0, "")
    assert (root / "dev/nvidia7").exists()
    assert len(list((root / "dev/char").iterdir())) == 34
    name = "gpubind-cdi-refresh.service"
    output = tmp_path / "cdi/nvidia.yaml"
    env |= {"NVIDIA_CTK_CDI_OUTPUT_FILE_PATH": str(output)}
    words = [word for word in command(name) if word != "--watch"]
    done = run(*rights(name), *words, f"--state-dir={tmp_path}/state", env=env)
    assert (done.returncode, output.exists()) == (0, True), done.stderr
