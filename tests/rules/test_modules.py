# SPDX-License-Identifier: Apache-2.0
"""The exact modules each launcher loads in each situation, as installed.

The lists are tests/rules/modules/NAME.txt. To change them on purpose, run this file once with
GPUBIND_WRITE_LISTS=1 and read the difference before you commit it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import checkout
import pytest

from gpubind import VERSION, config, jit

if TYPE_CHECKING:
    from pathlib import Path

LISTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "modules")
PYTHON = ["/usr/bin/python3", "-IS", "-X", "importtime"]
GPU = "nvidia.com/gpu=0"
FOLDER = "/usr/lib/gpu"
CAPABILITIES = {"capabilities": ["compute"], "required": True, "why": "a test"}
HOOK = ("create-symlinks", "--link", f"libgpu.so.1::{FOLDER}/libgpu.so", "update-ldcache")


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A launcher, its words, what the container asks for, and whether there is a config.toml.

    `live` is whether that sets mode jit-cdi, with a driver that was looked at.
    """

    launcher: str
    words: tuple[str, ...]
    env: tuple[str, ...] = ()
    configured: bool = False
    live: bool = False


CREATE = ("create", "--bundle", "{bundle}", "name")
SITUATIONS = {
    "runtime-pass-through": Situation(launcher="gpubind-runtime", words=("state", "name")),
    "runtime-pass-through-configured": Situation(
        launcher="gpubind-runtime", words=("state", "name"), configured=True
    ),
    "runtime-create-without-request": Situation(launcher="gpubind-runtime", words=CREATE),
    "runtime-create-with-gpu": Situation(
        launcher="gpubind-runtime",
        words=CREATE,
        env=(f"NVIDIA_VISIBLE_DEVICES={GPU}",),
        configured=True,
    ),
    "runtime-create-jit-cdi": Situation(
        launcher="gpubind-runtime",
        words=CREATE,
        env=("NVIDIA_VISIBLE_DEVICES=0",),
        configured=True,
        live=True,
    ),
    "cdi-hook": Situation(
        launcher="gpubind-cdi-hook",
        words=(*HOOK, "--folder", FOLDER, "--library", f"{FOLDER}/libgpu.so.1"),
    ),
    "prestart-without-request": Situation(launcher="gpubind-runtime-hook", words=("prestart",)),
    "poststop": Situation(launcher="gpubind-runtime-hook", words=("poststop",)),
}


def stamp(path: str) -> list[int]:
    found = os.stat(path)
    return [found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns]


def install(prefix: Path) -> None:
    """Install the start path under `prefix`, with a low-level runtime that does nothing."""
    program = os.path.join(checkout.ROOT, "packaging/install.py")
    words = [sys.executable, program, "--prefix", os.fspath(prefix), "--no-tools"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (prefix / "runtimes").mkdir()
    (prefix / "runtimes/runc").symlink_to("/usr/bin/true")


def prepare(prefix: Path, situation: Situation) -> None:
    """Lay out what a start finds: a bundle, compiled specs and, where wanted, a configuration."""
    root = prefix / "bundle/rootfs"
    (root / "etc").mkdir(parents=True)
    (root / FOLDER[1:]).mkdir(parents=True)
    spec = {
        "process": {"env": list(situation.env)},
        "root": {"path": "rootfs"},
        "linux": {"resources": {"devices": [{"allow": False, "access": "rwm"}]}},
    }
    (prefix / "bundle/config.json").write_text(json.dumps(spec))
    state = prefix / "run/gpubind"
    state.mkdir(parents=True)
    specs = prefix / "cdi"
    specs.mkdir()
    if situation.configured:
        file = prefix / "etc/gpubind/config.toml"
        file.parent.mkdir(parents=True)
        key = "nvidia-container-runtime.modes.cdi.spec-dirs"
        file.write_text(f"{key} = [{json.dumps(os.fspath(specs))}]\n")
        values: dict[str, object] = {key: [os.fspath(specs)]}
        if situation.live:
            values |= {config.MODE: "jit-cdi", config.DRIVER_ROOT: os.fspath(prefix)}
            (state / "jit.json").write_text(json.dumps(live(prefix)))
            (state / "jit.json").chmod(0o600)
        twin = {"file": os.fspath(file), "stamp": stamp(os.fspath(file)), "values": values}
        (state / "config.json").write_text(json.dumps(twin))
        (state / "config.json").chmod(0o600)
    (state / "compiled.json").write_text(json.dumps(compiled(os.fspath(specs))))
    (state / "compiled.json").chmod(0o600)


def compiled(specs: str) -> dict[str, object]:
    """Give compiled specs that hold one GPU: a node, a mount, a link, a library."""
    library = f"{FOLDER}/libgpu.so.1"
    node = {"path": "/dev/null", "hostPath": "/dev/null", **CAPABILITIES}
    mount = {"hostPath": "/usr", "containerPath": library, "options": ["ro"], **CAPABILITIES}
    spec = {
        "path": f"{specs}/nvidia.yaml",
        "priority": 0,
        "kind": "nvidia.com/gpu",
        "cdiVersion": "0.5.0",
        "containerEdits": {"env": ["A=b"], "deviceNodes": [node], "mounts": [mount]},
        "devices": {"0": {"deviceNodes": [node]}},
        "driver": None,
        "gpus": [],
        "links": [
            {"link": f"{FOLDER}/libgpu.so", "target": "libgpu.so.1", "devices": [], **CAPABILITIES}
        ],
        "libraries": [{"path": library, "arch": "x86-64", "capabilities": ["compute"]}],
        "folders": [FOLDER],
    }
    return {
        "format": 1,
        "generator": "a test",
        "stamps": {specs: stamp(specs)},
        "config": {},
        "specs": [spec],
        "devices": {GPU: 0},
        "conflicts": {},
        "errors": [],
    }


def live(prefix: Path) -> dict[str, object]:
    """Give the same as the driver's, with a sign of each kind."""
    specs = os.fspath(prefix / "cdi")
    signs = {
        "texts": {f"{specs}/none": None},
        "names": {specs: []},
        "nodes": {"/dev/null": jit.node("/dev/null")},
        "stamps": {specs: stamp(specs)},
    }
    found = {"signs": signs, "root": os.fspath(prefix), "made": 0, "devices": {f"{jit.KIND}=0": 0}}
    return {**compiled(specs), **found, "generator": f"gpubind {VERSION}"}


def run(prefix: Path, situation: Situation) -> subprocess.CompletedProcess[str]:
    bundle = os.fspath(prefix / "bundle")
    words = [word.format(bundle=bundle) for word in situation.words]
    return subprocess.run(
        [*PYTHON, os.fspath(prefix / "bin" / situation.launcher), *words],
        check=False,
        capture_output=True,
        text=True,
        input=json.dumps({"ociVersion": "1.0.2", "id": "name", "pid": 1, "bundle": bundle}),
        cwd=bundle,
        env={"PATH": os.fspath(prefix / "runtimes")},
    )


def loaded(stderr: str) -> list[str]:
    """Give the modules that -X importtime names, sorted."""
    lines = (line for line in stderr.splitlines() if line.startswith("import time:"))
    return sorted({line.rpartition("|")[2].strip() for line in lines} - {"imported package"})


def modules(prefix: Path, situation: Situation) -> list[str]:
    """Give what the launcher loads beyond a bare interpreter."""
    bare = subprocess.run([*PYTHON, "-c", ""], check=True, capture_output=True, text=True)
    done = run(prefix, situation)
    rest = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert (done.returncode, rest) == (0, [])
    return sorted(set(loaded(done.stderr)) - set(loaded(bare.stderr)))


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_launcher_loads_exactly_these_modules(name: str, tmp_path: Path) -> None:
    install(tmp_path)
    prepare(tmp_path, SITUATIONS[name])
    found = modules(tmp_path, SITUATIONS[name])
    path = os.path.join(LISTS, f"{name}.txt")
    if os.environ.get("GPUBIND_WRITE_LISTS"):
        with open(path, "w", encoding="ascii") as file:
            file.write("".join(f"{module}\n" for module in found))
    with open(path, encoding="ascii") as file:
        assert found == file.read().split()


def test_every_launcher_has_a_situation() -> None:
    launchers = os.listdir(os.path.join(checkout.ROOT, "hooks/bin"))
    assert sorted({one.launcher for one in SITUATIONS.values()}) == sorted(launchers)


def test_one_more_module_is_seen(tmp_path: Path) -> None:
    situation = SITUATIONS["runtime-pass-through"]
    install(tmp_path)
    prepare(tmp_path, situation)
    before = modules(tmp_path, situation)
    launcher = tmp_path / "bin/gpubind-runtime"
    launcher.write_text(
        launcher.read_text().replace("import sys\n", "import sys\nimport this\n", 1)
    )
    done = run(tmp_path, situation)
    assert "this" not in before
    assert "this" in loaded(done.stderr)


@pytest.mark.parametrize("name", ["runtime-create-with-gpu", "runtime-create-jit-cdi"])
def test_a_gpu_is_really_injected_in_the_situation_that_says_so(tmp_path: Path, name: str) -> None:
    situation = SITUATIONS[name]
    install(tmp_path)
    prepare(tmp_path, situation)
    assert run(tmp_path, situation).returncode == 0
    spec = json.loads((tmp_path / "bundle/config.json").read_text())
    assert "A=b" in spec["process"]["env"]
    root = tmp_path / "bundle/rootfs"
    assert os.readlink(root / FOLDER[1:] / "libgpu.so") == "libgpu.so.1"
    assert b"libgpu.so.1" in (root / "etc/ld.so.cache").read_bytes()
