# SPDX-License-Identifier: Apache-2.0
"""What the packages hold, and that two builds give the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from typing import TYPE_CHECKING

import checkout
import contents
import debs
import package
import pytest

from gpubind import VERSION

if TYPE_CHECKING:
    from pathlib import Path

FORMS = (
    pytest.param("deb", 4, marks=pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg")),
    pytest.param("rpm", 4, marks=pytest.mark.skipif(not shutil.which("rpmbuild"), reason="rpm")),
    pytest.param("wheel", 2),
)


def read(paths: list[str]) -> dict[str, bytes]:
    found = {}
    for path in paths:
        with open(path, "rb") as file:
            found[os.path.basename(path)] = file.read()
    return found


@pytest.mark.parametrize(("form", "number"), FORMS)
def test_two_builds_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, number: int
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(package.epoch()))  # whoever commits meanwhile
    first = read(package.build(f"{tmp_path}/one", VERSION, (form,)))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    before = os.umask(0o077)
    second = read(package.build(f"{tmp_path}/two", VERSION, (form,)))
    os.umask(before)
    assert len(first) == number
    assert [name for name in first if first[name] != second.get(name)] == []


@pytest.mark.parametrize("name", contents.TREES)
def test_what_dpkg_unpacks_is_what_the_tree_says(tmp_path: Path, name: str) -> None:
    about = dict(package.packages("1.0"))[name]
    tree = contents.TREES[name]("1.0")
    wanted = {path.replace(debs.ZSH, debs.ZSH_HERE) for path in (*tree.files, *tree.links)}
    path = debs.build(tree, name, about, str(tmp_path), 1_000_000_000)
    told = subprocess.run(["dpkg-deb", "-c", path], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=5) for line in told.stdout.splitlines()]
    found = {row[5][1:].partition(" -> ")[0] for row in rows if row[0][0] != "d"}
    documents = {f"/usr/share/doc/{name}/{one}" for one in DOCUMENTS}
    assert found == wanted | documents
    assert {(row[1], row[3]) for row in rows} == {("root/root", "2001-09-09")}
    assert {row[0] for row in rows} <= {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"}


DOCUMENTS = ("copyright", "changelog.gz", "changelog.Debian.gz")


def test_nothing_that_containers_start_lies_where_dpkg_unpacks() -> None:
    launchers = contents.runtime("1.0").links | contents.tools("1.0").links
    assert len(launchers) >= 4
    assert {to.rpartition("/")[0] for to in launchers.values()} == {contents.CURRENT}


def test_the_runtime_asks_for_python_alone() -> None:
    about = dict(package.packages("1.0"))["gpubind-runtime"]
    assert about["deb"]["Depends"] == "python3 (>= 3.11)"
    assert about["rpm"]["Requires"] == "python3 >= 3.11"


def test_no_two_packages_have_the_same_file() -> None:
    seen: set[str] = set()
    for make in contents.TREES.values():
        tree = make("1.0")
        assert seen & {*tree.files, *tree.links} == set()
        seen |= {*tree.files, *tree.links}


def test_every_program_has_its_page() -> None:
    for make in contents.TREES.values():
        tree = make("1.0")
        pages = {os.path.basename(path).split(".gz")[0] for path in tree.files if "/man/" in path}
        programs = {os.path.basename(path) for path in tree.links if path.startswith("/usr/bin/")}
        assert {name for name in programs if not pages & {f"{name}.1", f"{name}.8"}} == set()


def test_the_units_and_rules_are_those_of_the_checkout() -> None:
    files = contents.tools("1.0").files
    for folder, place in (("systemd", "/usr/lib/systemd/"), ("udev", "/usr/lib/udev/rules.d/")):
        shipped = {os.path.basename(path) for path in files if path.startswith(place)}
        assert shipped == set(os.listdir(os.path.join(checkout.ROOT, "packaging", folder)))


def test_the_wheel_holds_the_code_and_its_tables(tmp_path: Path) -> None:
    built = package.build(str(tmp_path), VERSION, ("wheel",))
    with zipfile.ZipFile(next(path for path in built if path.endswith(".whl"))) as wheel:
        names = wheel.namelist()
    assert {"gpubind/runtime.py", "gpubind_cdi/libraries.yaml", "gpubind_ctl/default.toml"} <= {
        *names
    }
    assert {name.partition("/")[0] for name in names if name.endswith(".py")} == {
        *("gpubind", "gpubind_cdi", "gpubind_ctl", "gpubind_hooks", "gpubind_plugin")
    }
