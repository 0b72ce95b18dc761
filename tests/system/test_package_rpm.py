# SPDX-License-Identifier: Apache-2.0
"""The rpms in a root of their own, and what the distributions' own checkers say of all packages.

No Fedora can be had on the build machines: the root is a Debian with a database of rpm's own, so
that the scriptlets run on a real system, and only what rpm does is looked at.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import checkout
import pytest
from system import packaged
from system.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

OLD = "0.0.9"
TE = os.path.join(checkout.ROOT, "packaging/selinux/gpubind.te")
QUIET = os.path.join(checkout.ROOT, "packaging/rpm/rpmlint.toml")


@pytest.fixture(scope="module")
def rpms(scratch: str) -> list[str]:
    return packaged.built(f"{scratch}/rpms", only="rpm")


@pytest.fixture(scope="module")
def older(scratch: str) -> list[str]:
    return packaged.built(f"{scratch}/older-rpms", OLD, only="rpm")


class Root:
    """A root that rpm works on from outside, in a place where it may write."""

    def __init__(self, place: Place, folder: str) -> None:
        self.place, self.folder = place, folder

    def rpm(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run rpm; Python and its packages are there, though rpm does not know them."""
        where = ("--force-debian", "--root", self.folder, "--dbpath", "/var/lib/rpm", "--nodeps")
        return self.place.run("/usr/bin/rpm", *where, *words, status=status, timeout=300)

    def run(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.place.run("/usr/sbin/chroot", self.folder, *words, status=status)

    def files(self) -> set[str]:
        """Give all files but rpm's own, and the folders that have our name."""
        ours = ("(", "-name", "*gpubind*", "-o", "!", "-type", "d", ")")
        words = ("-xdev", "-path", "*/lib/rpm*", "-prune", "-o", *ours, "-print")
        told = self.place.run("find", self.folder, *words)
        return {name.removeprefix(self.folder) for name in told.stdout.splitlines()}


@pytest.fixture
def root() -> Iterator[Root]:
    with Place(root="/") as place:
        layers = "/run/layers/rpm"
        place.run("mkdir", "-p", f"{layers}/upper", f"{layers}/aside", "/run/root")
        lower = f"lowerdir={packaged.root('bookworm')},upperdir={layers}/upper"
        options = f"{lower},workdir={layers}/aside"
        place.run("mount", "-t", "overlay", "-o", options, "root", "/run/root")
        for name in ("dev", "proc"):
            place.run("mount", "--rbind", f"/{name}", f"/run/root/{name}")
        yield Root(place, "/run/root")


def version(root: Root, program: str = "gpubind-runtime") -> str:
    return root.run(f"/usr/bin/{program}", "--version").stdout.partition("\n")[0]


def test_install_upgrade_downgrade_erase(root: Root, rpms: list[str], older: list[str]) -> None:
    before = root.files()
    assert root.rpm("--install", *older).stderr == ""
    assert version(root) == f"gpubind-runtime version {OLD}"
    assert version(root, "nvidia-ctk") == f"gpubind {OLD}"
    root.run("sh", "-c", "echo '#mine' >>/etc/gpubind/cdi-refresh.env")
    assert root.rpm("--upgrade", *rpms).stderr == ""
    assert version(root) != f"gpubind-runtime version {OLD}"
    assert root.run("tail", "-n1", "/etc/gpubind/cdi-refresh.env").stdout == "#mine\n"
    root.rpm("--upgrade", "--oldpackage", *older)
    assert version(root) == f"gpubind-runtime version {OLD}"
    root.rpm("--erase", *packaged.NAMES)
    assert root.files() - before == {"/etc/gpubind", "/etc/gpubind/cdi-refresh.env.rpmsave"}


def test_an_engine_that_names_us_keeps_us(root: Root, rpms: list[str]) -> None:
    root.rpm("--install", *rpms)
    root.run("gpubind", "runtime", "configure", "--runtime", "docker")
    refused = root.rpm("--erase", "gpubind-runtime", status=1)
    assert "unconfigure --runtime docker' and restart docker" in refused.stderr + refused.stdout
    assert version(root).startswith("gpubind-runtime version ")
    root.run("gpubind", "runtime", "unconfigure", "--runtime", "docker")
    root.rpm("--erase", *packaged.NAMES)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=env)


def test_debians_checker_finds_no_error(scratch: str) -> None:
    debs = packaged.built(f"{scratch}/linted")
    done = run("/usr/bin/lintian", "--allow-root", "--fail-on=error", *debs)
    assert (done.returncode, "E: " in done.stdout) == (0, False), done.stdout


def test_fedoras_checker_finds_no_error(rpms: list[str]) -> None:
    done = run("/usr/bin/rpmlint", "--config", QUIET, *rpms)
    errors = [line for line in done.stdout.splitlines() if ": E: " in line]
    assert errors == []
    assert "4 packages" in done.stdout


def test_selinux_takes_the_module(tmp_path: Path) -> None:
    module, packed = f"{tmp_path}/gpubind.mod", f"{tmp_path}/gpubind.pp"
    compiled = run("/usr/bin/checkmodule", "-M", "-m", "-o", module, TE)
    assert (compiled.returncode, compiled.stderr) == (0, "")
    done = run("/usr/bin/semodule_package", "-o", packed, "-m", module)
    assert (done.returncode, os.path.getsize(packed) > 100) == (0, True), done.stderr


def test_selinux_would_not_take_a_wrong_one(tmp_path: Path) -> None:
    wrong = tmp_path / "gpubind.te"
    wrong.write_text(checkout.text("", TE).replace("type container_t;", ""))
    assert run("/usr/bin/checkmodule", "-M", "-m", "-o", f"{tmp_path}/x", str(wrong)).returncode
