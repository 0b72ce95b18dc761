# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi check`: each untruth of a spec is one finding, and a true one has none."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cdi_checks import HOOK, ROOT, check, found, spec

from gpubind_ctl.check import beside
from gpubind_ctl.check.folders import survey
from gpubind_ctl.engine_versions import Engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cdi"
    made.mkdir()
    return made


def test_a_true_spec_has_no_finding(folder: Path) -> None:
    file = folder / "x.json"
    mount = {"hostPath": str(file), "containerPath": "/x"}
    node = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}
    spec(file, "a", "b", mounts=[mount], deviceNodes=[node], hooks=[HOOK])
    outcome = check(folder)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == "1 specs, 2 devices: nothing is wrong\n"


def test_no_folder_is_fine(tmp_path: Path) -> None:
    assert found(tmp_path / "none") == []


def link_to_nothing(folder: Path) -> str:
    (folder.parent / "link").symlink_to("nothing")
    return str(folder.parent / "link")


def through_a_file(folder: Path) -> str:
    return f"{spec(folder / 'x.json')}/y"


@pytest.mark.parametrize("place", [lambda _: "/nowhere/x", link_to_nothing, through_a_file])
def test_a_mount_of_what_is_not_there_is_found(folder: Path, place: Callable[[Path], str]) -> None:
    mount = {"hostPath": place(folder), "containerPath": "/x"}
    spec(folder / "x.json", mounts=[mount])
    assert found(folder) == [("CDI-HOST-PATH", "x.json", "a")]


def test_a_mount_that_is_a_fifo_or_a_tmpfs_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder.parent / "fifo")
    mounts = [
        {"hostPath": f"{folder.parent}/fifo", "containerPath": "/x"},
        {"hostPath": "/nowhere", "containerPath": "/y", "type": "tmpfs"},
    ]
    spec(folder / "x.json", mounts=mounts)
    assert found(folder) == []


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"path": "/dev/none", "type": "c", "major": 195}, "/dev/none: it is not there"),
        ({"path": "/dev/none"}, "/dev/none: it is not there"),
        ({"path": "/dev/x", "hostPath": "/dev/none"}, "/dev/none: it is not there"),
        (
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 5},
            "/dev/null: it is 1:3 now, the spec says 1:5",
        ),
        ({"path": "/dev/null", "type": "b"}, "/dev/null: it is of type c, the spec says b"),
        ({"path": "/bin/sh", "hostPath": "/usr/bin/env"}, "/usr/bin/env: it is something else"),
        ({"path": "/dev/fd"}, "/dev/fd: it is a link, which engines refuse"),
    ],
)
def test_a_device_node_that_is_another_is_found(
    folder: Path, node: dict[str, Any], message: str
) -> None:
    spec(folder / "x.json", deviceNodes=[node])
    outcome = check(folder)
    assert (outcome.status, outcome.out.count("\n")) == (1, 1)
    assert outcome.out.startswith(f"{folder}/x.json: device a: device node {message}")
    assert outcome.out.endswith("[CDI-NODE]\n")


def program(file: Path, mode: int = 0o755) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(mode)
    return str(file)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nowhere/hook", "it is not there"),
        ("bin/hook", "not an absolute path"),
        ("/etc/passwd", "not an executable file"),
        ("/usr/bin", "not an executable file"),
        ("/dev/null", "not an executable file"),
    ],
)
def test_a_hook_that_cannot_be_started_is_found(folder: Path, path: str, message: str) -> None:
    spec(folder / "x.json", hooks=[{**HOOK, "path": path}])
    outcome = check(folder)
    assert f"createContainer hook {path}: {message}; " in outcome.out
    assert outcome.out.endswith("[CDI-HOOK]\n")


def test_a_hook_in_a_spec_directory_is_found(folder: Path) -> None:
    link = folder.parent / "hook"
    link.symlink_to(program(folder / "hook"))
    spec(folder / "x.json", hooks=[{**HOOK, "path": str(link)}])
    assert f"lies in the spec directory {folder}" in check(folder).out


@ROOT
def test_a_hook_that_others_could_exchange_is_found(folder: Path) -> None:
    folder.parent.chmod(0o755)
    theirs, open_, closed = (folder.parent / name for name in ("theirs", "open", "closed"))
    os.chown(program(theirs / "hook"), 1234, 0)
    program(open_ / "hook")
    open_.chmod(0o777)
    program(closed / "hook", 0o757)
    for place, message in (
        (theirs, "belongs to user 1234"),
        (open_, f"{open_} is writable by everybody"),
        (closed, "hook is writable by everybody"),
    ):
        spec(folder / "x.json", hooks=[{**HOOK, "path": f"{place}/hook"}])
        assert message in check(folder).out


def test_a_hook_without_env_is_found_and_one_for_the_container_s_program_is_not(
    folder: Path,
) -> None:
    bare = {name: HOOK[name] for name in ("hookName", "path")}
    inner = {**HOOK, "hookName": "startContainer", "path": "/in/the/image"}
    spec(folder / "x.json", hooks=[bare, inner])
    assert found(folder) == [("CDI-HOOK-ENV", "x.json", "a")]


def test_conflicts_are_told_of_both_files_and_shadowing_of_the_hidden_one(folder: Path) -> None:
    later = folder.parent / "run"
    spec(folder / "a.json", "one", "two", "mine")
    spec(later / "b.json", "one", "both")
    spec(later / "c.json", "both", "two")
    assert found(folder, later) == [
        ("CDI-CONFLICT", "b.json", "both"),
        ("CDI-CONFLICT", "c.json", "both"),
        ("CDI-SHADOWED", "a.json", "one"),
        ("CDI-SHADOWED", "a.json", "two"),
    ]


def huge(file: Path) -> None:
    with file.open("wb") as made:
        made.truncate(1 << 40)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        huge,
        lambda file: file.mkdir(),
        lambda file: file.symlink_to("nothing"),
        lambda file: spec(file).chmod(0o666),
        lambda file: spec(file).chmod(0o600),
    ],
)
def test_a_file_that_is_not_read_is_found_at_once(
    folder: Path, make: Callable[[Path], Any]
) -> None:
    make(folder / "x.yaml")
    assert found(folder) == [("CDI-FILE", "x.yaml", "")]


def test_a_folder_others_write_to_is_found_with_no_word_on_its_files(folder: Path) -> None:
    (folder / "x.json").write_text("{")
    folder.chmod(0o777)
    assert found(folder) == [("CDI-FILE", "cdi", "")]


def test_a_name_that_engines_do_not_read_is_found_and_a_readme_is_not(folder: Path) -> None:
    spec(folder / "x.yml")
    (folder / "README").touch()
    (folder / "sub").mkdir()
    assert found(folder) == [("CDI-FILE", "x.yml", "")]


def test_an_invalid_file_and_a_trap_of_yaml_are_found(folder: Path) -> None:
    (folder / "a.json").write_text("{}")
    (folder / "b.yaml").write_text(
        "cdiVersion: 0.5.0\nkind: aa/bb\ndevices:\n- name: on\n  containerEdits: {env: [A=1]}\n"
    )
    assert found(folder) == [("CDI-INVALID", "a.json", ""), ("CDI-YAML", "b.yaml", "")]


def test_a_version_newer_than_an_engine_reads_is_found_where_it_looks(folder: Path) -> None:
    entry = next(one for one in survey([str(spec(folder / "x.json").parent)]).entries if one.spec)
    assert entry.spec is not None
    old = Engine(name="podman", program="/p", version="4.3", reads="0.5.0", folders=(str(folder),))
    engines = [
        old,
        replace(old, reads="0.7.0"),
        replace(old, reads=""),
        replace(old, folders=("/etc/cdi",)),
    ]
    (one,) = beside.old_engines(entry, entry.spec, engines)
    assert str(one) == (
        f"{folder}/x.json: CDI 0.7.0, and podman 4.3 reads 0.5.0 at most; "
        "generate it with --cdi-version-max 0.5.0 [CDI-ENGINE]"
    )
