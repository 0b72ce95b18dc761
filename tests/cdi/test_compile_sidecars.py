# SPDX-License-Identifier: Apache-2.0
"""Sidecars woven into compiled specs where they fit, and left alone where they do not."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import cdidocs
import pytest
from gpubind_cdi import sidecar
from spec_folders import NODE, compiled, lay, told

from gpubind import config as core_config

if TYPE_CHECKING:
    from pathlib import Path


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
        ({"driver": {"version": 550}}, "expected text, found int at driver.version"),
        ({"gpus": [{"migs": True}]}, "expected a list, found bool at gpus[0].migs"),
        ({"gpus": [{"migs": ["x"]}]}, 'expected an object, found text "x" at gpus[0].migs[0]'),
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
