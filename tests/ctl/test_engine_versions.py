# SPDX-License-Identifier: Apache-2.0
"""Engines on PATH, the CDI version each release reads, and the spec directories it looks in."""

from __future__ import annotations

import itertools
import os
import stat
from typing import TYPE_CHECKING

import pytest
from gpubind_cdi import version

from gpubind_ctl import engine_versions
from gpubind_ctl.engine_versions import Engine

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [
    (name, row) for name, engine in engine_versions.table().items() for row in engine["releases"]
]
PODMAN = {"podman": "/usr/bin/podman"}


def engine(name: str, reads: str) -> Engine:
    return Engine(name=name, program=f"/bin/{name}", version="1", reads=reads, folders=())


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_each_row_says_a_version_there_is_and_where_it_is_known_from(
    name: str, row: dict[str, str]
) -> None:
    assert row["reads"] in version.KNOWN
    assert row["source"] in {"measured", "cited"}
    assert row["of"], name
    assert all(part.isdigit() for part in row["since"].split("."))


@pytest.mark.parametrize("name", engine_versions.table())
def test_the_rows_of_an_engine_rise(name: str) -> None:
    rows = engine_versions.table()[name]["releases"]
    for older, newer in itertools.pairwise(rows):
        since = [tuple(map(int, row["since"].split("."))) for row in (older, newer)]
        assert since[0] < since[1]
        assert version.order(older["reads"]) <= version.order(newer["reads"])


@pytest.mark.parametrize(
    ("release", "reads"),
    [("4.3.1", "0.5.0"), ("4.1", "0.4.0"), ("4.0.9", ""), ("5.8.6", "1.0.0"), ("", "0.4.0")],
)
def test_a_release_reads_what_the_last_row_below_it_says(release: str, reads: str) -> None:
    assert engine_versions.known("podman", "/usr/bin/podman", release).reads == reads


@pytest.mark.parametrize(
    ("said", "release"),
    [
        ("podman version 4.3.1\n", "4.3.1"),
        ("podman version 5.0.0-dev", "5.0.0"),
        ("containerd github.com/containerd/containerd v2.1.4 75cb2b7", "2.1.4"),
        ("Docker version 20.10.24+dfsg1, build 5d6db84", "20.10.24"),
        ("", ""),
        ("error", ""),
        ("9" * 5000 + ".1", ""),
    ],
)
def test_the_release_is_the_first_number_of_what_a_program_says(said: str, release: str) -> None:
    (found,) = engine_versions.installed(PODMAN.get, lambda _: [said])
    assert found.version == release


def test_engines_that_are_not_on_the_path_are_not_asked() -> None:
    assert engine_versions.installed(lambda _: None, lambda programs: [*programs]) == ()


def test_the_engine_that_reads_least_limits_and_one_without_cdi_does_not() -> None:
    engines = [engine("a", "1.0.0"), engine("b", "0.6.0"), engine("c", "")]
    assert engine_versions.lowest(engines) == ("0.6.0", engines[1])
    assert engine_versions.lowest(engines[2:]) == ("", None)


def program(file: Path, script: str) -> str:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


@pytest.mark.parametrize("script", ["exit 1", "kill -9 $$", "echo no number; exit 0"])
def test_an_engine_that_does_not_tell_counts_as_its_oldest_release(
    tmp_path: Path, script: str
) -> None:
    place = program(tmp_path / "podman", script)
    (found,) = engine_versions.installed({"podman": place}.get)
    assert (found.version, found.reads) == ("", "0.4.0")


def test_an_engine_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_versions, "LIMIT_S", 0.1)
    place = program(tmp_path / "podman", f"echo $$ >{tmp_path}/pid; exec sleep 60")
    (found,) = engine_versions.installed({"podman": place}.get)
    assert found.version == ""
    assert not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text().strip()}")


@pytest.mark.parametrize(
    ("name", "text", "key", "folders"),
    [
        ("d.json", '{"cdi-spec-dirs": ["/a", "/b"]}', ["cdi-spec-dirs"], ("/a", "/b")),
        ("c.toml", '[engine]\ncdi_spec_dirs = ["/a"]', ["engine", "cdi_spec_dirs"], ("/a",)),
        ("c.toml", '[n]\nd = ["/a"]', ["o|n", "d"], ("/a",)),
        ("c.toml", "[engine]\n", ["engine", "d"], ("/etc/cdi", "/var/run/cdi")),
        ("c.toml", "engine = 3\n", ["engine", "d"], ("/etc/cdi", "/var/run/cdi")),
        ("c.toml", "d = [1]\n", ["d"], ("/etc/cdi", "/var/run/cdi")),
        ("c.toml", "[", ["d"], ("/etc/cdi", "/var/run/cdi")),
        ("d.json", "[" * 100_000, ["d"], ("/etc/cdi", "/var/run/cdi")),
        ("d.json", "\0", ["d"], ("/etc/cdi", "/var/run/cdi")),
    ],
)
def test_an_engines_settings_may_name_its_folders(
    tmp_path: Path, name: str, text: str, key: list[str], folders: tuple[str, ...]
) -> None:
    (tmp_path / name).write_text(text)
    place = {"files": [f"{tmp_path}/none", f"{tmp_path}/{name}"], "key": key}
    assert engine_versions._folders(place) == folders


def test_settings_that_are_a_fifo_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.toml")
    place = {"files": [f"{tmp_path}/c.toml"], "key": ["d"]}
    assert engine_versions._folders(place) == ("/etc/cdi", "/var/run/cdi")
