# SPDX-License-Identifier: Apache-2.0
"""Spec directories compiled for the start path: good files served, bad ones named, none awaited."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import cdidocs
import pytest
from gpubind_cdi import compile as compiling
from gpubind_cdi import document, sources
from spec_folders import NODE, compiled, lay, told

from gpubind import config as core_config

if TYPE_CHECKING:
    from pathlib import Path


def test_a_spec_becomes_an_entry_of_the_registry(tmp_path: Path) -> None:
    spec = cdidocs.spec(cdidocs.device("0"), containerEdits={"env": ["A=1"]})
    folder = lay(tmp_path / "etc", nvidia=spec)
    found = compiling.compiled({"a.b": 1, "swarm-resource": "A"}, [folder], f"{tmp_path}/none")
    assert found.pop("stamps") == {
        f"{tmp_path}/none": None,
        folder: core_config.stamp(folder),
        f"{folder}/nvidia.yaml": core_config.stamp(f"{folder}/nvidia.yaml"),
    }
    entry = {
        "path": f"{folder}/nvidia.yaml",
        "priority": 0,
        "kind": "nvidia.com/gpu",
        "cdiVersion": "0.5.0",
        "containerEdits": {"env": ["A=1"]},
        "devices": {"0": {"deviceNodes": [NODE]}},
        "driver": None,
    }
    beside = ("gpus", "links", "libraries", "folders", "operations")
    assert found == {
        "format": 1,
        "generator": "gpubind 0.1.0",
        "config": {"swarm-resource": "A"},
        "specs": [{**entry, **{name: [] for name in beside}}],
        "devices": {"nvidia.com/gpu=0": 0},
        "conflicts": {},
        "errors": [],
    }


def test_a_later_folder_shadows_an_earlier_one(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", a=cdidocs.spec(cdidocs.device("a"), cdidocs.device("b")))
    run = lay(tmp_path / "run", a=cdidocs.spec(cdidocs.device("b"), cdidocs.device("c")))
    found = compiled(etc, run)
    assert found["devices"] == {
        "nvidia.com/gpu=a": 0,
        "nvidia.com/gpu=b": 1,
        "nvidia.com/gpu=c": 1,
    }
    assert (found["conflicts"], found["errors"]) == ({}, [])


def test_a_device_in_two_files_of_one_folder_is_nobody_s(tmp_path: Path) -> None:
    etc = lay(
        tmp_path / "etc",
        a=cdidocs.spec(cdidocs.device("a"), cdidocs.device("b")),
        b=cdidocs.spec(cdidocs.device("b"), cdidocs.device("c")),
        other=cdidocs.spec(cdidocs.device("b"), kind="other.com/gpu"),
    )
    found = compiled(etc)
    assert found["devices"] == {
        "nvidia.com/gpu=a": 0,
        "nvidia.com/gpu=c": 1,
        "other.com/gpu=b": 2,
    }
    assert found["conflicts"] == {"nvidia.com/gpu=b": [f"{etc}/a.yaml", f"{etc}/b.yaml"]}


def test_a_conflict_is_over_where_a_later_folder_decides(tmp_path: Path) -> None:
    one = cdidocs.spec(cdidocs.device("a"))
    etc = lay(tmp_path / "etc", a=one, b=one)
    run = lay(tmp_path / "run", a=one)
    assert (compiled(etc, run)["devices"], compiled(etc, run)["conflicts"]) == (
        {"nvidia.com/gpu=a": 2},
        {},
    )
    lower = compiled(run, etc)
    assert (lower["devices"], list(lower["conflicts"])) == ({}, ["nvidia.com/gpu=a"])


def test_the_same_name_as_json_and_yaml_is_a_conflict(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", a=cdidocs.spec())
    (tmp_path / "etc" / "a.json").write_bytes(document.dump(cdidocs.spec(), "json"))
    assert compiled(etc)["conflicts"] == {"nvidia.com/gpu=gpu0": [f"{etc}/a.json", f"{etc}/a.yaml"]}


def test_every_bad_file_is_named_and_stops_no_good_one(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", good=cdidocs.spec())
    for name in cdidocs.bad():
        (tmp_path / "etc" / name).write_bytes(cdidocs.read("bad", name))
        (tmp_path / "etc" / name).chmod(0o644)
    found = compiled(etc)
    assert told(found) == cdidocs.bad()
    assert found["devices"] == {"nvidia.com/gpu=gpu0": 0}


def test_only_json_and_yaml_directly_inside_are_read(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", good=cdidocs.spec())
    for name in ("a.yml", "b.conf", ".spec.1234.tmp", "c.yaml.bak", "README"):
        (tmp_path / "etc" / name).write_bytes(b"{")
    lay(tmp_path / "etc" / "inner", deeper=b"{")
    found = compiled(etc, f"{tmp_path}/absent")
    assert (found["errors"], len(found["specs"])) == ([], 1)
    assert found["stamps"][f"{tmp_path}/absent"] is None


def test_what_is_no_file_is_named_and_never_awaited(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", good=cdidocs.spec())
    os.mkfifo(f"{etc}/fifo.yaml")
    os.mkdir(f"{etc}/folder.json")
    os.symlink("nothing", f"{etc}/dangling.yaml")
    os.symlink("loop.yaml", f"{etc}/loop.yaml")
    os.symlink("/dev/null", f"{etc}/device.yaml")
    os.truncate(os.open(f"{etc}/large.yaml", os.O_CREAT | os.O_WRONLY, 0o644), 100 << 20)
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(etc, os.O_PATH)
        listening.bind(f"/proc/self/fd/{here}/socket.yaml")
        start = time.monotonic()
        found = compiled(etc)
    assert time.monotonic() - start < 2
    assert told(found) == {
        "dangling.yaml": "a link to nothing",
        "device.yaml": "a device, not a regular file",
        "fifo.yaml": "a FIFO, not a regular file",
        "folder.json": "a folder, not a regular file",
        "large.yaml": "larger than 16 MiB",
        "loop.yaml": "Too many levels of symbolic links",
        "socket.yaml": "a socket, not a regular file",
    }
    assert list(found["devices"]) == ["nvidia.com/gpu=gpu0"]


def test_a_link_to_a_good_file_is_a_good_file(tmp_path: Path) -> None:
    lay(tmp_path / "store", real=cdidocs.spec())
    etc = lay(tmp_path / "etc")
    os.symlink("../store/real.yaml", f"{etc}/link.yaml")
    assert compiled(etc)["specs"][0]["path"] == f"{etc}/link.yaml"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o777])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    etc = lay(tmp_path / "etc", good=cdidocs.spec(), shared=cdidocs.spec(cdidocs.device("x")))
    os.chmod(f"{etc}/shared.yaml", mode)
    found = compiled(etc)
    message = f"refused: others may write to it (mode {mode:04o}), run chmod go-w"
    assert told(found) == {"shared.yaml": message}
    assert list(found["devices"]) == ["nvidia.com/gpu=gpu0"]


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", good=cdidocs.spec())
    os.chmod(etc, 0o1777)
    message = "refused: others may write to the folder (mode 1777), run chmod go-w"
    assert (told(compiled(etc)), compiled(etc)["specs"]) == ({"etc": message}, [])


def test_what_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", good=cdidocs.spec())
    found = compiled(etc, owners={os.geteuid() + 1})
    message = f"refused: it belongs to user {os.geteuid()}, run chown root"
    assert (told(found), found["specs"]) == ({"etc": message}, [])
    read = sources.read(f"{etc}/good.yaml", {os.geteuid() + 1})
    assert (read.fault, read.data) == (message, b"")
    assert sources.default_owners() == {0, os.geteuid()}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", good=cdidocs.spec(), closed=cdidocs.spec(cdidocs.device("x")))
    os.chmod(f"{etc}/closed.yaml", 0)
    assert told(compiled(etc)) == {"closed.yaml": "Permission denied"}


def test_a_file_as_spec_folder_is_named(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", good=cdidocs.spec())
    assert told(compiled(f"{etc}/good.yaml")) == {"good.yaml": "not a folder"}
