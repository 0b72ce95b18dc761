# SPDX-License-Identifier: Apache-2.0
"""The modes, which one `auto` is, and what mode legacy puts in."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import specs
import trees

from gpubind import injection, mode, paths, request
from gpubind.config import Config
from gpubind.errors import ToolkitError
from gpubind.oci import spec as oci

if TYPE_CHECKING:
    from pathlib import Path

MODE = "nvidia-container-runtime.mode"
ROOT = "nvidia-container-cli.root"
PROGRAM = "nvidia-container-runtime-hook.path"
TEGRA: trees.Tree = {"/etc/nv_tegra_release": "x"}
PLAIN = "not every device is a CDI name, and this is no Tegra"


def decided(name: str, *devices: str, **settings: Any) -> tuple[str, str]:
    found, why = mode.decide(Config({MODE: name, **settings}, "config.toml"), devices)
    return found.name, why


@pytest.mark.parametrize("name", ["cdi", "jit-cdi", "csv", "legacy"])
def test_a_mode_that_is_configured_is_taken(name: str) -> None:
    why = f"{MODE} = {name!r} in config.toml"
    assert decided(name, "0") == decided(name, "a.b/c=0") == (name, why)


@pytest.mark.parametrize(
    ("devices", "tree", "name", "because"),
    [
        (["a.b/c=0", "a.b/d=1"], TEGRA, "cdi", "every device is a CDI name"),
        (["a.b/c=0", "1"], {}, "jit-cdi", PLAIN),
        (["all"], {}, "jit-cdi", PLAIN),
        (["0"], TEGRA, "csv", "this is a Tegra"),
        (["0"], {"/etc/nv_tegra_release": "-> /etc/outside"}, "jit-cdi", PLAIN),
    ],
)
def test_auto_is_found_by_the_names_and_by_the_host(
    tmp_path: Path, devices: list[str], tree: trees.Tree, name: str, because: str
) -> None:
    settings = {ROOT: trees.build(tmp_path / "root", tree)}
    assert decided("auto", *devices, **settings) == (name, because)


def test_auto_without_a_driver_is_cdi() -> None:
    settings = Config({MODE: "auto"}, "config.toml")
    found, why = mode.decide(settings, ["0"], driver=False)
    assert (found.name, why) == ("cdi", "there is no driver here to look at")


def test_a_tegra_is_told_by_a_file_below_the_driver_root(tmp_path: Path) -> None:
    plain = trees.build(tmp_path / "plain")
    tegra = trees.build(tmp_path / "tegra", {"/etc/nv_tegra_release": "# R35"})
    assert (mode.is_tegra(plain), mode.is_tegra(tegra)) == (False, True)
    assert not mode.is_tegra(f"{tmp_path}/absent")


@pytest.mark.parametrize("name", ["foo", "", "CDI", "jit_cdi"])
def test_an_unknown_mode_is_an_error_that_lists_the_modes(name: str) -> None:
    with pytest.raises(ToolkitError) as caught:
        decided(name, "0")
    assert str(caught.value) == (
        f"config.toml: there is no mode {name!r} for {MODE}; use auto, cdi, jit-cdi, csv, legacy "
        "[MODE-UNKNOWN]"
    )


def test_annotations_count_where_auto_may_be_cdi() -> None:
    assert mode.ANNOTATED == ("auto", "cdi")


def legacy(tmp_path: Path, **hooks: Any) -> Any:
    """Give a bundle's config.json after a request in mode legacy."""
    trees.build(tmp_path, {"/hook": "#!/bin/sh\n", "/b/rootfs": trees.FOLDER})
    os.chmod(tmp_path / "hook", 0o755)
    file = tmp_path / "b/config.json"
    document = {"root": {"path": "rootfs"}, "process": {"env": ["NVIDIA_VISIBLE_DEVICES=0"]}}
    file.write_text(json.dumps({**document, **hooks}))
    settings = specs.settings(**{MODE: "legacy", PROGRAM: f"{tmp_path}/hook"})
    spec = oci.load(str(file))
    wanted = request.of(spec, settings, str(file))
    assert injection.into(str(file), spec, wanted, settings, f"{tmp_path}/state") == []
    return json.loads(file.read_text())


def test_legacy_puts_the_prestart_hook_in_and_nothing_else(tmp_path: Path) -> None:
    given = legacy(tmp_path)
    hook = {
        "path": f"{tmp_path}/hook",
        "args": ["hook", "prestart"],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
    }
    assert given == {
        "root": {"path": "rootfs"},
        "process": {"env": ["NVIDIA_VISIBLE_DEVICES=0"]},
        "hooks": {"prestart": [hook]},
    }


def test_legacy_never_hides_the_request_from_the_hook(tmp_path: Path) -> None:
    given = legacy(tmp_path, hooks={"prestart": [{"path": "/bin/x"}], "poststop": []})
    assert given["process"]["env"] == ["NVIDIA_VISIBLE_DEVICES=0"]
    assert [hook["path"] for hook in given["hooks"]["prestart"]] == ["/bin/x", f"{tmp_path}/hook"]


@pytest.mark.parametrize("name", ["nvidia-container-runtime-hook", "nvidia-container-toolkit"])
def test_legacy_leaves_a_hook_that_an_engine_put_in(tmp_path: Path, name: str) -> None:
    held = {"prestart": [{"path": f"/usr/bin/{name}", "args": [name, "prestart"], "new": 1}]}
    assert legacy(tmp_path, hooks=held)["hooks"] == held


@pytest.mark.parametrize(
    ("program", "named"),
    [
        ("/absent/hook", "/absent/hook"),
        ("gpubind-no-such-hook", "/usr/local/sbin/gpubind-no-such-hook"),
        ("/etc/passwd", "/etc/passwd"),
        ("nvidia-container-runtime-hook", paths.RUNTIME_HOOK),
    ],
)
def test_legacy_without_the_program_is_an_error_that_names_it(program: str, named: str) -> None:
    if os.access(named, os.X_OK):
        pytest.skip(f"{named} is installed on this machine")
    with pytest.raises(ToolkitError) as caught:
        mode.hook_program(Config({PROGRAM: program}, "config.toml"))
    assert str(caught.value) == (
        f"mode legacy needs the prestart hook, and {named} is not there to be run; install it, or "
        f"name another in config.toml at {PROGRAM} [MODE-HOOK]"
    )
