# SPDX-License-Identifier: Apache-2.0
"""Links in /dev/char lead by number to the driver's nodes, in the roots that were named."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from command_line import Outcome, gpubind
from simulated_nodes import node

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Give a node whose device nodes have numbers, where this machine allows that."""
    root = node("dgx-a100-mig", tmp_path)
    if os.major((root / "dev/nvidiactl").lstat().st_rdev) == 0:
        pytest.skip("device nodes with numbers can't be made here")
    return root


def link(root: Path, *words: str) -> Outcome:
    return gpubind("system", "create-dev-char-symlinks", f"--driver-root={root}", *words)


def links(folder: Path) -> dict[str, str]:
    if not folder.exists():
        return {}
    return {path.name: os.readlink(path) for path in folder.iterdir()}


def number(path: Path) -> str:
    status = path.lstat()
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def present(root: Path) -> dict[str, str]:
    """Give the link that each node of the driver should have."""
    paths = [path for path in (root / "dev").iterdir() if path.name.startswith("nvidia")]
    paths = [path for path in paths if not path.name.startswith("nvidia-nvswitch")]
    paths += (root / "dev/nvidia-caps").iterdir()
    return {number(path): str(path) for path in paths if path.is_char_device()}


def test_each_node_that_is_there_gets_its_link(real: Path, tmp_path: Path) -> None:
    done = link(real, f"--dev-char-path={tmp_path}/char")
    assert (done.status, links(tmp_path / "char")) == (0, present(real))
    for name, target in links(tmp_path / "char").items():
        assert done.out.count(f"ln -s {target} {tmp_path}/char/{name}\n") == 1


def test_a_simulated_nodes_links_are_its_own(real: Path) -> None:
    assert link(real).status == 0
    assert links(real / "dev/char") == present(real)


def test_links_that_are_right_are_left_alone(real: Path, tmp_path: Path) -> None:
    (tmp_path / "char").mkdir()
    other = tmp_path / "char" / number(real / "dev/nvidiactl")
    other.symlink_to(os.path.relpath(real / "dev/nvidiactl", tmp_path / "char"))  # as udev makes it
    link(real, f"--dev-char-path={tmp_path}/char")
    before = {path: path.lstat() for path in (tmp_path / "char").iterdir()}
    done = link(real, f"--dev-char-path={tmp_path}/char")
    assert (done.status, done.out, done.err) == (0, "", "")
    assert {path: path.lstat() for path in (tmp_path / "char").iterdir()} == before


@pytest.mark.parametrize("target", ["/dev/null", "/nowhere", ""])
def test_a_link_that_leads_elsewhere_is_named_and_replaced_when_asked(
    real: Path, tmp_path: Path, target: str
) -> None:
    (tmp_path / "char").mkdir()
    path = tmp_path / "char" / number(real / "dev/nvidiactl")
    if target:
        path.symlink_to(target)
    else:
        path.touch()
    done = link(real, f"--dev-char-path={tmp_path}/char")
    assert done.status == 3
    assert f"{path} leads to {target or 'something else'}, and should to" in done.err
    assert link(real, f"--dev-char-path={tmp_path}/char", "--force").status == 0
    assert links(tmp_path / "char") == present(real)


def test_a_dry_run_makes_nothing(real: Path, tmp_path: Path) -> None:
    done = link(real, f"--dev-char-path={tmp_path}/char", "--dry-run")
    assert (done.status, done.out.count("ln -s ")) == (0, len(present(real)))
    assert not (tmp_path / "char").exists()


def test_all_links_are_made_for_nodes_that_may_come(real: Path, tmp_path: Path) -> None:
    want = present(real)
    os.rename(real / "dev", real / "gone")
    (real / "dev").mkdir()
    assert link(real, f"--dev-char-path={tmp_path}/char").err != ""
    assert link(real, f"--dev-char-path={tmp_path}/char", "--create-all").status == 0
    found = links(tmp_path / "char")
    assert {name: found[name] for name in want} == want
    assert len([name for name in found if name.startswith("311:")]) > 4000
    assert os.listdir(real / "dev") == []


def test_the_nodes_themselves_are_made_where_that_is_asked_for(real: Path, tmp_path: Path) -> None:
    want = present(real)
    os.rename(real / "dev", real / "gone")
    (real / "dev").mkdir()
    words = ("--create-all", "--create-device-nodes")
    assert link(real, f"--dev-char-path={tmp_path}/char", *words).status == 0
    assert present(real) == want


def test_nodes_without_all_is_said_to_do_nothing(real: Path, tmp_path: Path) -> None:
    done = link(real, f"--dev-char-path={tmp_path}/char", "--create-device-nodes")
    assert (done.status, "--create-all" in done.err) == (0, True)


def test_nodes_of_other_drivers_are_left_out(real: Path, tmp_path: Path) -> None:
    assert (real / "dev/nvidia-nvswitch0").exists()
    os.mknod(real / "dev/nvidia-fs0", 0o20600, os.makedev(320, 0))
    link(real, f"--dev-char-path={tmp_path}/char")
    assert {name[:4] for name in links(tmp_path / "char")} == {"195:", "310:", "311:"}


def test_a_host_without_nodes_is_told_and_good(tmp_path: Path) -> None:
    root = node("t4", tmp_path)
    os.rename(root / "dev", root / "gone")
    (root / "dev").mkdir()
    done = link(root, f"--dev-char-path={tmp_path}/char")
    assert (done.status, done.out) == (0, "")
    assert done.err == f"gpubind: there is no device node of the driver in {root}/dev\n"
