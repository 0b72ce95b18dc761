# SPDX-License-Identifier: Apache-2.0
"""What labels are made of which facts: pure, and what the plugin's file says of it."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from gpubind_cdi import gpu, inventory

from gpubind_ctl.labels import labels, vgpu
from gpubind_ctl.labels.config import Shared, Sharing
from gpubind_ctl.labels.look import Facts
from gpubind_ctl.labels.resource import joined, sanitised

GPU = gpu.Gpu(
    index=0,
    uuid="GPU-0",
    minor=0,
    pci="0000:01:00.0",
    name="NVIDIA H100",
    brand="Nvidia",
    architecture="9.0",
    memory=80 << 30,
)
PART = gpu.Mig(index=0, uuid="MIG-0", gi=1, ci=0, profile="1g.10gb+me", memory=10 << 30)
KEY = re.compile(r"nvidia\.com/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


def told(
    *gpus: gpu.Gpu, strategy: str = "none", sharing: Sharing | None = None, **facts: Any
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Give labels, without their prefix, and notes of a node with these GPUs."""
    known = inventory.Inventory(driver=facts.pop("driver", "550.54.15"), cuda="12.4", gpus=gpus)
    found, notes = labels.labels(
        Facts(inventory=known, **facts), sharing or Sharing(), strategy, timestamp=None
    )
    assert all(KEY.fullmatch(name) and VALUE.fullmatch(said) for name, said in found.items())
    return {name.removeprefix("nvidia.com/"): said for name, said in found.items()}, notes


def numbered(index: int, **changes: Any) -> gpu.Gpu:
    """Give a GPU of its own."""
    return dataclasses.replace(GPU, index=index, uuid=f"GPU-{index}", **changes)


@pytest.mark.parametrize(
    ("architecture", "family"),
    [
        *(("1.3", "tesla"), ("2.1", "fermi"), ("3.7", "kepler"), ("4.0", "undefined")),
        *(("5.2", "maxwell"), ("6.1", "pascal"), ("7.0", "volta"), ("7.5", "turing")),
        *(("8.0", "ampere"), ("8.7", "ampere"), ("8.9", "ada-lovelace"), ("9.0", "hopper")),
        *(("10.0", "blackwell"), ("10.3", "blackwell"), ("11.0", "undefined")),
        *(("12.1", "blackwell"), ("13.0", "rubin"), ("14.0", "undefined"), ("0.9", "undefined")),
    ],
)
def test_a_family_goes_by_compute_capability(architecture: str, family: str) -> None:
    assert told(numbered(0, architecture=architecture))[0]["gpu.family"] == family


def test_what_is_not_known_has_no_label() -> None:
    found, notes = told(numbered(0, architecture="", memory=0), driver="550")
    assert {name.partition(".")[0] for name in found} == {"cuda", "gpu", "mig", "mps", "vgpu"}
    absent = ("gpu.family", "gpu.compute.major", "gpu.memory", "cuda.driver.major")
    assert [name for name in absent if name in found] == []
    assert notes == ("the driver's version, 550, is not X.Y[.Z]",)


def test_a_node_without_gpus_says_nothing_of_them() -> None:
    assert told(hosts=()) == ({"vgpu.present": "false"}, ())
    assert told(numbered(0, name="DGX Display"), hosts=None) == ({}, ())


@pytest.mark.parametrize(
    ("classes", "mode"),
    [
        (("0x030200", "0x030200"), "compute"),
        (("0x030000", "0x030000"), "graphics"),
        (("0x030000", "0x030200"), "unknown"),
        (("0x030200", ""), "unknown"),
        (("0x030201", "0x030201"), "unknown"),
    ],
)
def test_a_mode_is_that_of_all_gpus(classes: tuple[str, str], mode: str) -> None:
    known = dict(zip(("a", "b"), classes, strict=True))
    found, _ = told(numbered(0, pci="a"), numbered(1, pci="b"), classes=known)
    assert found["gpu.mode"] == mode


def test_of_several_models_the_first_that_is_offered_whole_is_told() -> None:
    split = numbered(0, mig_enabled=True, mig=(PART,))
    found, notes = told(split, numbered(1, name="Tesla T4"), numbered(2), numbered(3))
    assert (found["gpu.product"], found["gpu.count"]) == ("Tesla-T4", "1")
    (note,) = notes
    assert note.startswith("several models of GPU, the labels tell of Tesla T4")


def test_gpus_that_are_all_partitioned_are_offered_no_times_and_never_shared() -> None:
    shared = Sharing(
        strategy="mps", resources={"nvidia.com/gpu": Shared(replicas=3, renamed=False)}
    )
    found, _ = told(numbered(0, mig_enabled=True, mig=(PART,)), sharing=shared)
    assert (found["gpu.product"], found["gpu.replicas"]) == ("NVIDIA-H100", "0")
    assert (found["gpu.sharing-strategy"], found["mps.capable"]) == ("none", "false")


@pytest.mark.parametrize(
    ("way", "renamed", "product", "capable"),
    [
        ("mps", False, "NVIDIA-H100-SHARED", "true"),
        ("mps", True, "NVIDIA-H100", "true"),
        ("time-slicing", False, "NVIDIA-H100-SHARED", "false"),
    ],
)
def test_a_shared_gpu_is_another_product_unless_it_has_another_name(
    way: str, *, renamed: bool, product: str, capable: str
) -> None:
    entry = {"nvidia.com/gpu": Shared(replicas=3, renamed=renamed)}
    found, _ = told(GPU, sharing=Sharing(strategy=way, resources=entry))
    assert (found["gpu.product"], found["mps.capable"]) == (product, capable)
    assert (found["gpu.replicas"], found["gpu.sharing-strategy"]) == ("3", way)


@pytest.mark.parametrize(
    ("gpus", "reason"),
    [
        (
            (numbered(0, mig_enabled=True), numbered(1, mig_enabled=True, mig=(PART,))),
            "a GPU with MIG on has no MIG devices",
        ),
        (
            (numbered(0), numbered(1, mig_enabled=True, mig=(PART,))),
            "MIG is on for some GPUs and off for others",
        ),
        (
            (numbered(0, mig_enabled=True, mig=(PART, dataclasses.replace(PART, profile="7g"))),),
            "there are MIG devices of several profiles",
        ),
    ],
)
def test_strategy_single_tells_where_it_does_not_fit(gpus: tuple[gpu.Gpu], reason: str) -> None:
    found, notes = told(*gpus, strategy="single")
    kept = ("product", "count", "replicas", "memory")
    assert [found[f"gpu.{name}"] for name in kept] == ["NVIDIA-H100-MIG-INVALID", "0", "0", "0"]
    assert notes == (f"MIG strategy single does not fit this node: {reason}",)


def test_strategy_single_tells_of_the_mig_devices_as_gpus() -> None:
    size = gpu.MigSize(
        **{name: number for number, name in enumerate(gpu.MigSize.__dataclass_fields__)}
    )
    part = dataclasses.replace(PART, size=size)
    split = numbered(0, mig_enabled=True, mig=(part, part))
    found, notes = told(split, strategy="single")
    assert notes == ()
    assert {name: said for name, said in found.items() if name.startswith("gpu.")} == {
        "gpu.product": "NVIDIA-H100-MIG-1g.10gbme",
        "gpu.count": "2",
        "gpu.replicas": "1",
        "gpu.memory": "10240",
        "gpu.family": "hopper",
        "gpu.compute.major": "9",
        "gpu.compute.minor": "0",
        "gpu.sharing-strategy": "none",
        "gpu.machine": "unknown",
        "gpu.mode": "unknown",
        "gpu.multiprocessors": "0",
        "gpu.slices.gi": "1",
        "gpu.slices.ci": "2",
        "gpu.engines.copy": "3",
        "gpu.engines.decoder": "4",
        "gpu.engines.encoder": "5",
        "gpu.engines.jpeg": "6",
        "gpu.engines.ofa": "7",
    }


def test_strategy_single_without_mig_is_as_none_but_named() -> None:
    assert told(GPU, strategy="single")[0] == told(GPU)[0] | {"mig.strategy": "single"}


def test_strategy_mixed_has_a_resource_for_each_profile_which_may_be_shared() -> None:
    entry = {"nvidia.com/mig-1g.10gb.me": Shared(replicas=2, renamed=False)}
    split = numbered(0, mig_enabled=True, mig=(PART,))
    found, _ = told(
        split, strategy="mixed", sharing=Sharing(strategy="time-slicing", resources=entry)
    )
    assert found["mig-1g.10gb.me.product"] == "NVIDIA-H100-MIG-1g.10gbme-SHARED"
    assert found["mig-1g.10gb.me.replicas"] == "2"
    assert found["gpu.replicas"] == "0"


def test_gpus_of_several_cliques_have_none() -> None:
    found, notes = told(numbered(0, clique="a.1"), numbered(1, clique="a.2"), numbered(2))
    assert "gpu.clique" not in found
    assert notes == ("the GPUs are in several NVLink cliques: a.1, a.2",)
    assert told(numbered(0, clique="a.1"), numbered(1))[0]["gpu.clique"] == "a.1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NVIDIA GeForce  RTX\t4070", "NVIDIA-GeForce-RTX-4070"),
        ("Orin (nvgpu)", "Orin-nvgpu"),
        ("a/b=c\nd", "abc-d"),
        ("\u00e9 x", "x"),
        (" (R) ", "R"),
        ("-._", ""),
        ("x" * 80, "x" * 63),
    ],
)
def test_any_text_becomes_a_label_value(text: str, value: str) -> None:
    assert sanitised(text) == value


def test_a_long_product_keeps_its_end() -> None:
    found = joined(("NVIDIA " + "x" * 80, "MIG", "INVALID"))
    assert (len(found), found[-12:]) == (63, "-MIG-INVALID")


def test_a_virtual_gpu_tells_of_its_host() -> None:
    found, _ = told(GPU, hosts=(None, vgpu.Host("550.54.16", "r550_00")))
    assert {name: said for name, said in found.items() if name.startswith("vgpu.")} == {
        "vgpu.present": "true",
        "vgpu.host-driver-version": "550.54.16",
        "vgpu.host-driver-branch": "r550_00",
    }
