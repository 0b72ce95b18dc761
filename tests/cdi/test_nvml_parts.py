# SPDX-License-Identifier: Apache-2.0
"""What NVML says of MIG devices, of fabrics, and of the ways between GPUs."""

from __future__ import annotations

import pytest
from gpubind_cdi import gpu
from nvml_double import Library, NotSupported, part, read, whole


def test_mig_devices_are_read_with_what_they_have_of_their_gpu() -> None:
    (one,) = read(whole(0, mig=[part("MIG-a", "NVIDIA H100 MIG 3g.40gb")])).gpus
    assert [mig.size for mig in one.mig] == [
        gpu.MigSize(
            multiprocessors=42,
            gi_slices=3,
            ci_slices=2,
            copy=3,
            decoder=4,
            encoder=5,
            jpeg=6,
            ofa=7,
        )
    ]


def test_a_gpu_that_could_be_partitioned_is_told_from_one_that_never_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Library, "NVML_DEVICE_MIG_ENABLE", 2)  # so 1 is another mode
    found = read(whole(0, mig=[]), whole(1))
    assert [(one.mig_capable, one.mig_enabled) for one in found.gpus] == [
        (True, False),
        (False,) * 2,
    ]


@pytest.mark.parametrize(
    ("fabric", "clique"),
    [
        ((b"\x01" * 15 + b"\0", 0, 7, 3), "01010101-0101-0101-0101-010101010100.7"),
        ((b"\0" + b"\x01" * 15, 0, 7, 3), "00010101-0101-0101-0101-010101010101.7"),
        ((b"\x01" * 16, 0, 7, 2), ""),  # still being registered
        ((b"\x01" * 16, 5, 7, 3), ""),  # refused
        ((bytes(16), 0, 7, 3), ""),
    ],
)
def test_a_gpu_is_in_the_clique_that_it_is_registered_in(
    fabric: tuple[bytes, int, int, int], clique: str
) -> None:
    (one,) = read(whole(0, fabric=fabric)).gpus
    assert one.clique == clique


def test_how_gpus_reach_each_other_is_read() -> None:
    peer = "00000000:02:00.0"
    first = whole(0, near={1: 10, 2: 50}, nvlinks={0: peer, 1: "00000000:99:00.0", 2: peer})
    found = read(first, whole(1, near={2: 50}, nvlinks={}), whole(2, nvlinks={}))
    assert found.links == (
        gpu.Link(gpus=("GPU-0", "GPU-1"), path="PIX", nvlinks=2),
        gpu.Link(gpus=("GPU-0", "GPU-2"), path="SYS"),
        gpu.Link(gpus=("GPU-1", "GPU-2"), path="SYS"),
    )


def test_a_link_that_can_not_be_read_costs_only_that_link() -> None:
    gpus = [whole(0, near={1: 10, 2: 50}, nvlinks={}), whole(1, near={}, nvlinks={}), whole(2)]
    found = read(*gpus, faults={("nvmlDeviceGetNvLinkState", 0): NotSupported("no NVLinks")})
    assert len(found.gpus) == 3
    assert found.links == (gpu.Link(gpus=("GPU-0", "GPU-1"), path="PIX"),)
