# SPDX-License-Identifier: Apache-2.0
"""Device nodes are made as the driver wants them, in the root that was named, if absent."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest
from command_line import Outcome, gpubind
from simulated_nodes import node
from trees import seen

if TYPE_CHECKING:
    from pathlib import Path

CONTROL = ("nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools", "nvidiactl")


@pytest.fixture
def a100(tmp_path: Path) -> Path:
    return node("dgx-a100-mig", tmp_path)


def create(root: Path, *words: str, before: tuple[str, ...] = ()) -> Outcome:
    wanted = ("--control-devices", "--gpu-devices")
    return gpubind(
        "system", "create-device-nodes", f"--driver-root={root}", *wanted, *words, before=before
    )


def nodes(root: Path) -> dict[str, tuple[str, int, int, int, int]]:
    """Give the driver's nodes with mode, numbers and owner."""
    found = {}
    for folder in (root / "dev", root / "dev/nvidia-caps"):
        for path in folder.iterdir() if folder.exists() else ():
            status = path.lstat()
            ours = path.name.startswith("nvidia") and "nvswitch" not in path.name
            if ours and not path.is_dir():
                numbers = (os.major(status.st_rdev), os.minor(status.st_rdev))
                owner = (status.st_uid, status.st_gid)
                found[path.name] = (stat.filemode(status.st_mode), *numbers, *owner)
    return found


def bare(root: Path) -> None:
    """Remove all that is in the node's /dev."""
    shutil.rmtree(root / "dev")
    (root / "dev").mkdir()


@pytest.fixture
def real(a100: Path) -> Path:
    """Give a node whose device nodes have numbers, where this machine allows that."""
    if os.major((a100 / "dev/nvidiactl").lstat().st_rdev) == 0:
        pytest.skip("device nodes with numbers can't be made here")
    return a100


def test_all_nodes_are_made_as_the_driver_itself_makes_them(real: Path) -> None:
    want = nodes(real)
    assert len(want) == 4 + 8 + 2 + 2 * 7 + 2 * 3
    bare(real)
    assert create(real).status == 0
    assert nodes(real) == want


def test_nodes_that_are_there_are_left_alone(real: Path) -> None:
    before = seen(real / "dev")
    done = create(real)
    assert (done.status, done.out, done.err) == (0, "", "")
    assert seen(real / "dev") == before


def test_a_dry_run_prints_and_makes_nothing(a100: Path) -> None:
    bare(a100)
    done = create(a100, "--dry-run")
    lines = done.out.splitlines()
    major = lines[0].split()[-2]
    assert lines[:4] == [
        f"mknod --mode=0666 {a100}/dev/nvidiactl c {major} 255",
        f"mknod --mode=0666 {a100}/dev/nvidia-modeset c {major} 254",
        f"mknod --mode=0666 {a100}/dev/nvidia-uvm c 310 0",
        f"mknod --mode=0666 {a100}/dev/nvidia-uvm-tools c 310 1",
    ]
    assert f"mknod --mode=0400 {a100}/dev/nvidia-caps/nvidia-cap1 c 311 1" in lines
    assert f"mknod --mode=0666 {a100}/dev/nvidia7 c {major} 7" in lines
    assert (done.status, os.listdir(a100 / "dev")) == (0, [])


def test_without_a_wish_nothing_is_made(a100: Path) -> None:
    bare(a100)
    done = gpubind("system", "create-device-nodes", f"--driver-root={a100}")
    assert (done.status, done.out, os.listdir(a100 / "dev")) == (0, "", [])
    assert "--control-devices" in done.err


def test_the_folder_of_dev_may_be_another(real: Path, tmp_path: Path) -> None:
    (tmp_path / "other/dev").mkdir(parents=True)
    assert create(real, f"--dev-root={tmp_path}/other").status == 0
    assert nodes(tmp_path / "other") == nodes(real)


def test_the_drivers_parameters_say_mode_and_owner(real: Path) -> None:
    parameters(real, DeviceFileMode="432", DeviceFileUID="7", DeviceFileGID="44")
    bare(real)
    assert create(real).status == 0
    assert nodes(real)["nvidia0"][0] == "crw-rw----"
    assert nodes(real)["nvidia0"][3:] == (7, 44)


def parameters(root: Path, **values: str) -> None:
    file = root / "proc/driver/nvidia/params"
    rows = [line.partition(":")[::2] for line in file.read_text().splitlines()]
    known = {key: value.strip() for key, value in rows} | values
    file.chmod(0o644)
    file.write_text("".join(f"{key}: {value}\n" for key, value in known.items()))


def test_a_driver_that_wants_no_nodes_touched_gets_its_way(a100: Path) -> None:
    parameters(a100, ModifyDeviceFiles="0")
    bare(a100)
    done = create(a100, "--dry-run")
    assert (done.status, done.out) == (0, "")
    assert "ModifyDeviceFiles: 0" in done.err
    assert "mknod" in create(a100, "--dry-run", "--force").out


def wrong_number(path: Path) -> None:
    path.unlink()
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))


def wrong_mode(path: Path) -> None:
    path.chmod(0o600)


def wrong_owner(path: Path) -> None:
    os.chown(path, 3, 4)


def a_file(path: Path) -> None:
    path.unlink()
    path.touch()


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("spoil", [wrong_number, wrong_mode, wrong_owner, a_file, a_link])
def test_a_wrong_node_is_named_and_replaced_when_that_is_asked_for(
    real: Path, spoil: object
) -> None:
    want = nodes(real)
    path = real / "dev/nvidia-uvm"
    assert callable(spoil)
    spoil(path)
    before = path.lstat()
    done = create(real)
    assert (done.status, done.out, path.lstat()) == (3, "", before)
    assert (done.err.count("\n"), f"{path} " in done.err, "--force" in done.err) == (1, True, True)
    assert create(real, "--force").status == 0
    assert {name: nodes(real)[name] for name in want} == want


def test_no_driver_in_the_list_of_devices_is_an_error(a100: Path) -> None:
    file = a100 / "proc/devices"
    file.chmod(0o644)
    file.write_text("Character devices:\n  1 mem\n\nBlock devices:\n195 nvidia\n")
    done = create(a100)
    assert (done.status, done.out) == (1, "")
    assert f"no NVIDIA driver is in {a100}/proc/devices" in done.err
    assert "[DRV-NOT-LOADED]" in done.err


def test_the_older_name_of_the_driver_counts(tmp_path: Path) -> None:
    root = node("t4", tmp_path)
    assert "nvidia-frontend" in (root / "proc/devices").read_text()
    bare(root)
    assert "dev/nvidiactl c " in create(root, "--dry-run").out


def test_who_may_not_make_nodes_is_told(a100: Path, unshare: str) -> None:
    bare(a100)
    done = create(a100, before=(unshare, "--user", "--map-root-user"))
    assert done.status == 1
    assert done.err == (
        f"gpubind: {a100}/dev/nvidiactl can't be made: Operation not permitted; "
        "run as root, outside of user namespaces [NODE-DENIED]\n"
    )
    assert os.listdir(a100 / "dev") == []


def test_a_link_out_of_the_root_is_not_followed(real: Path, tmp_path: Path) -> None:
    bare(real)
    (tmp_path / "outside").mkdir()
    (real / "dev/nvidia-caps").symlink_to(tmp_path / "outside")
    create(real)
    assert os.listdir(tmp_path / "outside") == []


def test_modules_are_loaded_only_when_asked_and_by_the_drivers_own_program(a100: Path) -> None:
    done = create(a100, "--load-kernel-modules", "--dry-run")
    assert done.out.splitlines()[:3] == [
        f"/usr/sbin/chroot {a100} /sbin/modprobe nvidia",
        f"/usr/sbin/chroot {a100} /sbin/modprobe nvidia-uvm",
        f"/usr/sbin/chroot {a100} /sbin/modprobe nvidia-modeset",
    ]
    failed = create(a100, "--load-kernel-modules")
    assert (failed.status, failed.out) == (1, "")
    assert "modprobe nvidia' failed: " in failed.err
    assert "[MODULE-LOAD]" in failed.err
