# SPDX-License-Identifier: Apache-2.0
"""`gpubind explain`: what a bundle gets, before and after it was injected."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from command_line import Outcome, gpubind

from gpubind import config, injection, registry, request
from gpubind.oci import spec as oci

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(t4: Path, tmp_path: Path) -> Path:
    """A folder with specs, state, settings and an empty bundle."""
    (tmp_path / "bundle/rootfs").mkdir(parents=True)
    (tmp_path / "config.toml").write_text(
        f'[nvidia-container-runtime.modes.cdi]\nspec-dirs = ["{tmp_path}/cdi"]\n'
    )
    words = ("--output", tmp_path / "cdi/nvidia.yaml", "--state-dir", tmp_path / "state")
    assert gpubind("cdi", "generate", "--driver-root", t4, *words).status == 0
    return tmp_path


def bundle(host: Path, *env: str, **more: Any) -> None:
    document = {"ociVersion": "1.0.2", "process": {"env": [*env]}, "root": {"path": "rootfs"}}
    (host / "bundle/config.json").write_text(json.dumps({**document, **more}))


def explain(host: Path) -> Outcome:
    words = ("--config", host / "config.toml", "--state-dir", host / "state")
    return gpubind("explain", "--bundle", host / "bundle", *words)


@pytest.mark.root
def test_each_item_has_a_line_with_its_reason(host: Path, t4: Path) -> None:
    bundle(host, "NVIDIA_VISIBLE_DEVICES=0")
    outcome = explain(host)
    lines = outcome.out.splitlines()
    file = host / "bundle/config.json"
    assert (outcome.status, outcome.err) == (0, "")
    assert lines[0] == f"{file}: would be injected for compute, utility"
    assert lines[1] == (
        "asked for by environment; mode cdi (devices of the CDI specs on this host): "
        "there is no driver here to look at"
    )
    assert lines[2] == f"from {host}/cdi/nvidia.yaml: nvidia.com/gpu=0, driver root {t4}"
    libraries = "/usr/lib/x86_64-linux-gnu"
    for line in (
        "  device    /dev/nvidia0 195:0: GPU; for every container",
        f"  mount     {libraries}/libcuda.so.535.183.01: CUDA driver API; for compute, video",
        f"  link      {libraries}/libcuda.so.1 -> libcuda.so.535.183.01: SONAME link; "
        "for compute, video",
        "  variable  NVIDIA_VISIBLE_DEVICES=void: nobody injects a second time",
    ):
        assert line in lines
    assert not any("libGLX" in line for line in lines)


def test_explaining_changes_nothing(host: Path) -> None:
    bundle(host, "NVIDIA_VISIBLE_DEVICES=0")
    before = (host / "bundle/config.json").read_bytes()
    explain(host)
    assert (host / "bundle/config.json").read_bytes() == before
    assert not (host / "state/compiled.json").exists()
    assert list((host / "bundle/rootfs").iterdir()) == []


def test_a_capability_brings_its_items(host: Path) -> None:
    env = ("NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_DRIVER_CAPABILITIES=graphics")
    bundle(host, *env, mounts=[{"destination": "/dev", "source": "tmpfs", "type": "tmpfs"}])
    out = explain(host).out
    assert "libGLX_nvidia.so.0" in out
    assert "by-path/pci-0000:00:1e.0-card -> ../card0 (by our hook: a mount would hide it)" in out


def test_after_injection_the_same_items_are_found_again(host: Path) -> None:
    bundle(host, "NVIDIA_VISIBLE_DEVICES=0")
    before = explain(host).out.splitlines()
    state, file = str(host / "state"), str(host / "bundle/config.json")
    words = ("--spec-dir", host / "cdi", "--state-dir", state)
    assert gpubind("cdi", "compile", *words, "--config", host / "config.toml").status == 0
    settings = config.load(str(host), state)
    assert registry.current([f"{host}/cdi"], state) is not None
    document = oci.load(file)
    wanted = request.of(document, settings, file)
    decision = injection.decide(file, document, wanted, settings, state)
    oci.save(file, injection.applied(document, decision))
    after = explain(host).out.splitlines()
    assert after[0] == f"{file}: was injected for compute, utility"
    assert after[2:] == before[3:]


def test_what_was_asked_for_and_left_out_is_named(host: Path) -> None:
    env = (
        *("NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_GDS=enabled", "NVIDIA_MIG_CONFIG_DEVICES=all"),
        "NVIDIA_REQUIRE_CUDA=cuda>=12.2",
    )
    place = "/var/run/nvidia-container-devices/1"
    bundle(host, *env, mounts=[{"destination": place, "source": "/dev/null"}])
    outcome = explain(host)
    assert "/dev/nvidia0" in outcome.out
    denied = "accept-nvidia-visible-devices-as-volume-mounts = false in"
    assert outcome.err.splitlines() == [
        f"gpubind: denied: mount {place}=1 ({denied} {host}/config.toml) [REQ-DENIED]",
        "gpubind: denied: NVIDIA_MIG_CONFIG_DEVICES=all (the container is not privileged) "
        "[REQ-DENIED]",
        "gpubind: gds is asked for, but no CDI spec has nvidia.com/gds=all [REQ-FEATURE]",
    ]


def test_an_annotation_counts_and_the_variable_gives_way(host: Path) -> None:
    bundle(host, "NVIDIA_VISIBLE_DEVICES=all", annotations={"cdi.k8s.io/x": "nvidia.com/gpu=0"})
    outcome = explain(host)
    assert outcome.out.splitlines()[1] == (
        "asked for by annotations; mode cdi (devices of the CDI specs on this host): every device "
        "is a CDI name"
    )
    said = "NVIDIA_VISIBLE_DEVICES=all: annotations count before environment"
    assert outcome.err == f"gpubind: {said}\n"


def test_a_requirement_that_is_not_met_is_said_with_the_figures(host: Path) -> None:
    bundle(host, "NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_CUDA=cuda>=99.0")
    outcome = explain(host)
    assert (outcome.status, outcome.out) == (1, "")
    assert "needs cuda>=99.0, which is not met on GPU 0 (Tesla T4): driver 535." in outcome.err
    assert outcome.err.endswith("[REQ-UNMET]\n")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ([], "NVIDIA_VISIBLE_DEVICES is not set"),
        (["NVIDIA_VISIBLE_DEVICES=void"], "NVIDIA_VISIBLE_DEVICES is 'void'"),
        (["NVIDIA_VISIBLE_DEVICES="], "NVIDIA_VISIBLE_DEVICES is ''"),
    ],
)
def test_a_bundle_without_request_gets_nothing(host: Path, env: list[str], said: str) -> None:
    bundle(host, *env)
    outcome = explain(host)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == f"{host}/bundle/config.json: nothing is injected: {said}\n"


def test_none_brings_the_driver_without_a_gpu(host: Path) -> None:
    bundle(host, "NVIDIA_VISIBLE_DEVICES=none")
    out = explain(host).out
    assert ("nvidia.com/gpu=none" in out, "/dev/nvidiactl" in out, "/dev/nvidia0" in out) == (
        True,
        True,
        False,
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file or directory"),
        ("", ""),
        ("[]", "expected an object"),
        ('{"process": {"env": "x"}}', "process.env"),
        ('{"process": {"env": ["NVIDIA_VISIBLE_DEVICES=7"]}}', "nvidia.com/gpu=7"),
        ('{"process": {"env": ["NVIDIA_VISIBLE_DEVICES=../x"]}}', "NVIDIA_VISIBLE_DEVICES"),
    ],
)
def test_a_bad_bundle_is_one_line(host: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (host / "bundle/config.json").write_text(content)
    outcome = explain(host)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert complaint in outcome.err
