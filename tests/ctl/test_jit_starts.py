# SPDX-License-Identifier: Apache-2.0
"""Container starts in mode jit-cdi: real shims of an installation, and generators counted."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jit_hosts
import pytest
from jit_hosts import VARIABLE

from gpubind_ctl.simulate import profile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jit_hosts import Host


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jit_hosts.install(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def host(installed: Path) -> Host:
    return jit_hosts.fresh(installed)


def test_the_first_start_looks_at_the_driver_and_the_next_does_not(host: Host) -> None:
    for _ in range(3):
        assert host.start("0") == (0, "")
        assert host.nodes() == ["0"]
        assert f"{host.node}/usr/bin/nvidia-smi" in host.sources()
        assert f"{VARIABLE}=void" in host.env()
        assert "hooks" not in host.config()
    assert host.runs() == 1
    link = host.place / "bundle/rootfs/usr/lib/x86_64-linux-gnu/libcuda.so.1"
    assert os.readlink(link) == "libcuda.so.535.183.01"


def test_thirty_starts_at_once_run_one_generator(host: Host) -> None:
    host.lay_out("dgx-h100")
    names = [f"bundle{number}" for number in range(30)]
    begun = [host.began(str(number % 8), name) for number, name in enumerate(names)]
    said = [(one.communicate(timeout=60)[1], one.returncode) for one in begun]
    assert said == [("", 0)] * 30
    assert [len(host.nodes(name)) for name in names] == [1] * 30
    assert host.runs() == 1


def test_a_driver_upgrade_is_served_at_the_next_start(host: Host) -> None:
    host.start("0")
    host.lay_out("dgx-h100")
    for _ in range(2):
        assert host.start("0") == (0, "")
        assert f"{host.node}/usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15" in host.sources()
    assert not any("535.183.01" in source for source in host.sources())
    assert host.runs() == 2


def without(index: int) -> Callable[[Any], Any]:
    return lambda known: replace(known, gpus=tuple(gpu for gpu in known.gpus if gpu.index != index))


def test_a_gpu_that_is_gone_is_gone_at_the_next_start_and_one_that_came_is_there(
    host: Host,
) -> None:
    host.lay_out("dgx-h100")
    assert host.start("all") == (0, "")
    before = host.nodes()
    host.lay_out("dgx-h100", without(3))
    assert host.start("all") == (0, "")
    assert (len(before), len(host.nodes())) == (8, 7)
    status, said = host.start("3")
    assert (status, "unresolvable CDI devices runtime.nvidia.com/gpu=3" in said) == (1, True)
    host.lay_out("dgx-h100")
    assert host.start("3") == (0, "")
    assert host.runs() == 3


def test_other_partitions_of_a_gpu_are_served_at_the_next_start(host: Host) -> None:
    host.lay_out("dgx-a100-mig")
    known = profile.load("dgx-a100-mig")
    gpu = next(one for one in known.gpus if one.instances)
    first, *rest = gpu.instances
    assert host.start(first.uuid) == (0, "")
    changed = replace(gpu, instances=(replace(first, uuid="MIG-new", gi=13), *rest))

    def repartitioned(known: Any) -> Any:
        gpus = tuple(changed if one.index == gpu.index else one for one in known.gpus)
        return replace(known, gpus=gpus)

    host.lay_out("dgx-a100-mig", repartitioned)
    assert host.start("MIG-new") == (0, "")
    status, said = host.start(first.uuid)
    assert (status, "REGISTRY-DEVICE" in said) == (1, True)
    assert host.runs() == 2


def test_a_lost_gpu_leaves_the_others(host: Host) -> None:
    host.lay_out("dgx-h100")
    os.unlink(host.node / "dev/nvidia0")
    assert host.start("all") == (0, "")
    assert host.nodes() == ["1", "2", "3", "4", "5", "6", "7"]


@pytest.mark.parametrize(
    ("mode", "root", "devices", "origin"),
    [
        ("auto", True, "0", "driver"),
        ("auto", True, "nvidia.com/gpu=0", "spec"),
        ("auto", False, "0", "spec"),
        ("auto", True, "runtime.nvidia.com/gpu=0", "driver"),
        ("jit-cdi", True, "0", "driver"),
        ("cdi", True, "0", "spec"),
    ],
)
def test_who_serves_a_name(host: Host, mode: str, root: object, devices: str, origin: str) -> None:
    host.configure(mode=mode, root=bool(root))
    host.specify("nvidia.com/gpu")
    assert host.start(devices) == (0, "")
    assert ("FROM=nvidia.com/gpu" in host.env()) is (origin == "spec")
    assert (host.nodes() == ["0"]) is (origin == "driver")
    assert (host.place / "run/gpubind/jit.json").exists() is (origin == "driver")


def test_mode_cdi_never_looks_at_the_driver(host: Host) -> None:
    host.configure(mode="cdi")
    status, said = host.start("runtime.nvidia.com/gpu=0")
    assert (status, "no spec describes runtime.nvidia.com/gpu" in said) == (1, True)
    assert not (host.place / "run/gpubind/jit.json").exists()


def test_names_of_driver_and_specs_go_together(host: Host) -> None:
    host.specify("example.com/net")
    assert host.start("0,example.com/net=0") == (0, "")
    assert (host.nodes(), "FROM=example.com/net" in host.env()) == (["0"], True)


def test_a_spec_that_changes_is_compiled_without_a_look_at_the_driver(host: Host) -> None:
    host.specify("example.com/net")
    host.start("0,example.com/net=0")
    before = os.stat(host.place / "run/gpubind/jit.json").st_mtime_ns
    host.specify("example.com/other")
    assert host.start("0,example.com/other=0") == (0, "")
    assert os.stat(host.place / "run/gpubind/jit.json").st_mtime_ns == before


def test_none_brings_the_driver_alone(host: Host) -> None:
    assert host.start("none") == (0, "")
    assert (host.nodes(), f"{host.node}/usr/bin/nvidia-smi" in host.sources()) == ([], True)


def test_no_driver_in_the_root_is_told_with_the_drivers_own_error(host: Host) -> None:
    shutil.rmtree(host.node)
    host.node.mkdir()
    for _ in range(2):
        status, said = host.start("0")
        assert (status, f"no NVIDIA driver in {host.node}" in said) == (1, True)
    assert host.runs() == 1


def test_without_the_generator_the_error_names_it(host: Host) -> None:
    os.unlink(host.place / "bin/gpubind")
    host.configure(mode="jit-cdi")
    status, said = host.start("0")
    assert (status, f"{host.place}/bin/gpubind is not installed" in said) == (1, True)


def test_without_the_generator_specs_that_were_compiled_serve_in_mode_auto(host: Host) -> None:
    host.specify("nvidia.com/gpu")
    assert host.start("nvidia.com/gpu=0") == (0, "")
    os.unlink(host.place / "bin/gpubind")
    assert host.start("0") == (0, "")
    assert "FROM=nvidia.com/gpu" in host.env()


def test_what_was_found_last_serves_with_a_note_but_never_without_its_files(host: Host) -> None:
    host.lay_out("dgx-h100")
    assert host.start("0") == (0, "")
    os.unlink(host.place / "bin/gpubind")
    gone = next(gpu.minor for gpu in profile.load("dgx-h100").gpus if gpu.index == 5)
    os.unlink(host.node / f"dev/nvidia{gone}")
    status, said = host.start("0")
    assert (status, "[JIT-KEPT]" in said, len(host.nodes())) == (0, True, 1)
    for devices in ("5", "all"):
        status, said = host.start(devices)
        assert (status, f"{host.node}/dev/nvidia{gone}: No such file" in said) == (1, True)
        assert host.nodes() == []
    os.unlink(next((host.node / "usr/lib/x86_64-linux-gnu").glob("libcuda.so.5*")))
    status, said = host.start("0")
    assert (status, "SPEC-STALE" in said) == (1, True)
