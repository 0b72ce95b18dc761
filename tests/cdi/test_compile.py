# SPDX-License-Identifier: Apache-2.0
"""Spec directories compiled for the start path: good files served, bad ones named, none awaited."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from typing import TYPE_CHECKING, Any

import cdidocs
import pytest
from gpubind_cdi import compile as compiling
from gpubind_cdi import document, sidecar, sources

from gpubind import config as core_config
from gpubind import registry
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path

NODE = {"path": "/dev/nvidia0", "capabilities": [], "required": True, "why": ""}


def lay(folder: Path, **files: Any) -> str:
    """Write specs as YAML into a folder, bytes as they are; give the folder's name."""
    folder.mkdir(mode=0o755, exist_ok=True)
    for name, content in files.items():
        path = folder / f"{name}.yaml"
        path.write_bytes(content if isinstance(content, bytes) else document.dump(content, "yaml"))
        path.chmod(0o644)
    return str(folder)


def compiled(*folders: str, sidecars: str = "/nowhere", **options: Any) -> dict[str, Any]:
    return compiling.compiled({}, folders, sidecars, **options)


def told(registry_: dict[str, Any]) -> dict[str, str]:
    return {os.path.basename(row["path"]): row["message"] for row in registry_["errors"]}


def test_a_spec_becomes_an_entry_of_the_registry(tmp_path: Path) -> None:
    spec = cdidocs.spec(cdidocs.device("0"), containerEdits={"env": ["A=1"]})
    folder = lay(tmp_path / "etc", nvidia=spec)
    found = compiling.compiled({"a.b": 1}, [folder], f"{tmp_path}/none")
    assert found.pop("stamps") == {
        f"{tmp_path}/none": None,
        folder: core_config.stamp(folder),
        f"{folder}/nvidia.yaml": core_config.stamp(f"{folder}/nvidia.yaml"),
    }
    assert found == {
        "format": 1,
        "generator": "gpubind 0.1.0",
        "config": {"a.b": 1},
        "specs": [
            {
                "path": f"{folder}/nvidia.yaml",
                "priority": 0,
                "kind": "nvidia.com/gpu",
                "cdiVersion": "0.5.0",
                "containerEdits": {"env": ["A=1"]},
                "devices": {"0": {"deviceNodes": [NODE]}},
                "driver": None,
                "gpus": [],
                "links": [],
                "libraries": [],
                "folders": [],
                "operations": [],
            }
        ],
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


def stamped(folder: Path, laid: dict[str, Any], sidecars: Path, **changes: Any) -> str:
    """Lay a spec with the sidecar that fits it but for `changes`; give the sidecar's name."""
    etc = lay(folder, nvidia=laid)
    sidecars.mkdir(exist_ok=True)
    path = sidecar.path_of(str(sidecars), f"{etc}/nvidia.yaml")
    with open(f"{etc}/nvidia.yaml", "rb") as file:
        digest = sidecar.digest(file.read())
    told_ = {
        "format": 1,
        "spec": f"{etc}/nvidia.yaml",
        "sha256": digest,
        "generator": "gpubind 0.1.0",
        "driver": {"version": "550.54.15", "root": "/", "cuda": "12.4"},
        "gpus": [{"index": 0}],
        "items": {
            "/dev/nvidia0": {"capabilities": ["compute"], "required": True, "why": "the GPU"},
            "/lib/libcuda.so.1": {"capabilities": ["video"], "required": False, "why": "CUDA"},
        },
        "links": [{"link": "/a", "target": "b", "capabilities": [], "devices": ["0"], "why": "x"}],
        "libraries": [{"path": "/lib/libcuda.so.1", "arch": "x86-64", "capabilities": ["video"]}],
        "folders": ["/lib"],
        "operations": ["enable-cuda-compat"],
        "inputs": [["/lib/libcuda.so.1", 1, 2]],
        **changes,
    }
    with open(path, "wb") as file:
        file.write(json.dumps(told_).encode())
    os.chmod(path, 0o644)
    return path


OURS = {"hookName": "createContainer", "path": "/usr/bin/gpubind-cdi-hook", "args": ["x"]}
THEIRS = {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["x"]}
LIBRARY = {"hostPath": "/drv/libcuda.so.1", "containerPath": "/lib/libcuda.so.1"}
SPEC = cdidocs.spec(containerEdits={"mounts": [LIBRARY], "hooks": [OURS]})


def test_a_fitting_sidecar_is_woven_in_and_replaces_our_hook(tmp_path: Path) -> None:
    spec = cdidocs.spec(containerEdits={"mounts": [LIBRARY], "hooks": [OURS, THEIRS]})
    path = stamped(tmp_path / "etc", spec, tmp_path / "side")
    found = compiled(f"{tmp_path}/etc", sidecars=f"{tmp_path}/side")
    only = found["specs"][0]
    assert only["containerEdits"] == {
        "hooks": [THEIRS],
        "mounts": [{**LIBRARY, "capabilities": ["video"], "required": False, "why": "CUDA"}],
    }
    assert only["devices"]["gpu0"]["deviceNodes"] == [
        {**NODE, "capabilities": ["compute"], "why": "the GPU"}
    ]
    assert {
        name: only[name]
        for name in ("driver", "gpus", "operations", "links", "libraries", "folders")
    } == {
        "driver": {"version": "550.54.15", "root": "/", "cuda": "12.4"},
        "gpus": [{"index": 0}],
        "links": [{"link": "/a", "target": "b", "capabilities": [], "devices": ["0"], "why": "x"}],
        "libraries": [{"path": "/lib/libcuda.so.1", "arch": "x86-64", "capabilities": ["video"]}],
        "folders": ["/lib"],
        "operations": ["enable-cuda-compat"],
    }
    assert found["stamps"][path] == core_config.stamp(path)
    assert found["errors"] == []


def test_what_the_sidecar_does_not_name_is_always_injected(tmp_path: Path) -> None:
    stamped(tmp_path / "etc", SPEC, tmp_path / "side", items={})
    found = compiled(
        f"{tmp_path}/etc", sidecars=f"{tmp_path}/side", capabilities_of=lambda _: ("graphics",)
    )
    assert found["specs"][0]["devices"]["gpu0"]["deviceNodes"] == [NODE]
    assert "hooks" not in found["specs"][0]["containerEdits"]


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"spec": "/etc/cdi/other.yaml"}])
def test_a_sidecar_of_something_else_is_left_alone(tmp_path: Path, changes: dict[str, str]) -> None:
    stamped(tmp_path / "etc", SPEC, tmp_path / "side", **changes)
    found = compiled(
        f"{tmp_path}/etc", sidecars=f"{tmp_path}/side", capabilities_of=lambda _: ("graphics",)
    )
    only = found["specs"][0]
    assert only["containerEdits"]["hooks"] == [OURS]
    assert only["containerEdits"]["mounts"] == [
        {**LIBRARY, "capabilities": ["graphics"], "required": True, "why": ""}
    ]
    assert (only["driver"], only["links"], found["errors"]) == (None, [], [])


def test_a_sidecar_fits_by_any_name_of_the_spec_s_folder(tmp_path: Path) -> None:
    stamped(tmp_path / "run", SPEC, tmp_path / "side")
    os.symlink("run", tmp_path / "var")
    found = compiled(f"{tmp_path}/var", sidecars=f"{tmp_path}/side")
    assert found["specs"][0]["folders"] == ["/lib"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "unknown format 2 at format"),
        ({"links": [{"link": "/a"}]}, 'missing field "target" at links[0]'),
        ({"folders": "x"}, 'expected a list, found text "x" at folders'),
        (
            {"items": {"/dev/x": {"capabilities": [1], "required": True, "why": ""}}},
            'expected text, found int at items."/dev/x".capabilities[0]',
        ),
    ],
)
def test_a_broken_sidecar_is_named_and_the_spec_still_served(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = stamped(tmp_path / "etc", SPEC, tmp_path / "side", **changes)
    found = compiled(f"{tmp_path}/etc", sidecars=f"{tmp_path}/side")
    assert found["errors"] == [{"path": path, "message": message}]
    assert list(found["devices"]) == ["nvidia.com/gpu=gpu0"]


def test_a_sidecar_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = stamped(tmp_path / "etc", SPEC, tmp_path / "side")
    os.chmod(path, 0o666)
    found = compiled(f"{tmp_path}/etc", sidecars=f"{tmp_path}/side")
    assert list(told(found)) == [os.path.basename(path)]
    assert found["specs"][0]["driver"] is None


def test_without_a_sidecar_the_table_of_names_says_the_capabilities(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", nvidia=SPEC)
    mounts = compiled(etc)["specs"][0]["containerEdits"]["mounts"]
    assert mounts[0]["capabilities"] == ["compute", "video"]


def test_a_change_while_compiling_makes_the_stamp_stale(tmp_path: Path) -> None:
    """A file changes after its stamp and before the registry is used, in one tick of the clock."""
    etc = lay(tmp_path / "etc", a=cdidocs.spec(cdidocs.device("x")))
    found = compiled(etc)
    lay(tmp_path / "etc", a=cdidocs.spec(cdidocs.device("y")))  # same name, same size
    stamps = found["stamps"]
    assert any(core_config.stamp(path) != known for path, known in stamps.items())


def test_nothing_is_read_in_the_tick_of_its_last_change(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"x")
    sources.read(str(path), {os.geteuid()})
    assert time.time_ns() - os.stat(path).st_ctime_ns >= sources.TICK_NS


def test_thousands_of_bad_files_take_a_bounded_time(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", good=cdidocs.spec())
    for number in range(2000):
        (tmp_path / "etc" / f"x{number}.json").write_bytes(b"{}")
    start = time.process_time()
    found = compiled(etc)
    assert (len(found["errors"]), len(found["specs"])) == (2000, 1)
    assert time.process_time() - start < 5


def test_what_is_written_is_what_the_start_path_reads(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", a=cdidocs.spec())
    state = f"{tmp_path}/run/gpubind"
    found = compiled(etc)
    old = os.umask(0o077)
    try:
        compiling.write(state, found)
        compiling.write(state, found)
    finally:
        os.umask(old)
    assert os.listdir(state) == ["compiled.json"]
    assert stat.S_IMODE(os.stat(state).st_mode) == 0o755
    assert stat.S_IMODE(os.stat(f"{state}/compiled.json").st_mode) == 0o644
    assert registry.current([etc], state) == found
    lay(tmp_path / "etc", b=cdidocs.spec())
    assert registry.current([etc], state) is None


def test_the_operator_s_keys_are_written_with_their_stamp(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[nvidia-container-runtime]\nruntimes = ["crun"]\nday = 2026-01-01\n')
    known = {str(file): core_config.stamp(str(file))}
    keys = sources.config_keys(file.read_text())
    found = compiling.compiled(keys, [], f"{tmp_path}/none", stamps=known)
    compiling.write(f"{tmp_path}/state", found, str(file))
    settings = core_config.load(str(tmp_path), f"{tmp_path}/state")
    assert settings.values == {
        "nvidia-container-runtime.runtimes": ["crun"],
        "nvidia-container-runtime.day": "2026-01-01",
    }
    assert found["stamps"][str(file)] == known[str(file)]


def test_a_registry_that_cannot_be_put_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "compiled.json").mkdir()
    with pytest.raises(IsADirectoryError):
        compiling.write(str(tmp_path), compiled())
    assert os.listdir(tmp_path) == ["compiled.json"]


def test_keys_of_a_config_are_flat() -> None:
    text = "disable-require = true\n[features]\na.b = 1\n[x.y]\nz = [1, 2]\n"
    assert sources.config_keys(text) == {
        "disable-require": True,
        "features.a.b": 1,
        "x.y.z": [1, 2],
    }


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", f"a = {'[' * 5000}", "\0"])
def test_what_is_no_toml_is_refused(text: str) -> None:
    with pytest.raises(ToolkitError) as caught:
        sources.config_keys(text, "/etc/gpubind/config.toml")
    assert str(caught.value).startswith("/etc/gpubind/config.toml: ")
    assert caught.value.identifier == "CONFIG-TOML"
