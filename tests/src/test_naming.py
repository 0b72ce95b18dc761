# SPDX-License-Identifier: Apache-2.0
"""A GPU is found by any of its names, whatever names its spec gives its devices."""

from __future__ import annotations

from typing import Any

import pytest
import specs

from gpubind import naming, registry
from gpubind.errors import ToolkitError

UUID = "GPU-0a1b2c3d-0000-1111-2222-333344445555"
GPUS = [
    {
        "index": 0,
        "uuid": UUID,
        "pci": "0000:07:00.0",
        "migs": [{"index": 0, "uuid": "MIG-AAAA", "gi": 1, "ci": 0}],
    },
    {"index": 1, "uuid": "GPU-Ffff", "minor": 0, "pci": "0001:4f:00.0", "migs": []},
    {"index": 2, "uuid": "GPU-2222", "minor": 2, "pci": "0000:4f:00.1"},
]


def spec(*devices: str, **changes: Any) -> Any:
    node = {"deviceNodes": [{"path": "/dev/nvidia0"}]}
    return specs.spec(devices=dict.fromkeys(devices, node), gpus=GPUS, **changes)


BY_INDEX = spec("0", "0:0", "1", "2", "all")
BY_UUID = spec(UUID, "MIG-AAAA", "GPU-Ffff", "GPU-2222", "all")
BY_TYPE = spec("gpu0", "mig0:0", "gpu1", "gpu2", "all")
SLOTS = ("pci-0000:07:00.0", "pci-0000:07:00.0-gi1-ci0", "pci-0001:4f:00.0")
BY_SLOT = spec(*SLOTS, "all")


@pytest.mark.parametrize(
    ("wanted", "index", "uuid", "kind"),
    [
        *((word, "0", UUID, "gpu0") for word in ("0", UUID, UUID.lower(), UUID.upper(), "gpu0")),
        *(
            (word, "0", UUID, "gpu0")
            for word in ("0000:07:00.0", "00000000:07:00.0", "0:7:0.0", "07:00.0", "7:0.0")
        ),
        *(
            (word, "1", "GPU-Ffff", "gpu1")
            for word in ("1", "gpu-FFFF", "1:4F:0.0", "0001:4f:00.0")
        ),
        ("4f:00.1", "2", "GPU-2222", "gpu2"),
        *(
            (word, "0:0", "MIG-AAAA", "mig0:0")
            for word in (
                "0:0",
                "mig-aaaa",
                "MIG-AAAA",
                f"MIG-{UUID}/1/0",
                f"mig-{UUID.lower()}/1/0",
            )
        ),
    ],
)
def test_row65_a_name_is_found_however_devices_are_named(
    wanted: str, index: str, uuid: str, kind: str
) -> None:
    found = [naming.device_of(one, wanted) for one in (BY_INDEX, BY_UUID, BY_TYPE)]
    assert found == [index, uuid, kind]


@pytest.mark.parametrize(
    ("wanted", "slot", "index"),
    [
        *((word, SLOTS[0], "0") for word in (*GPUS[0].values(), SLOTS[0]) if isinstance(word, str)),
        *((word, SLOTS[1], "0:0") for word in ("0:0", "MIG-AAAA", SLOTS[1].upper())),
        (SLOTS[2].upper(), SLOTS[2], "1"),
        ("0001:4F:00.0", SLOTS[2], "1"),
    ],
)
def test_row65_a_slot_is_a_name_too(wanted: str, slot: str, index: str) -> None:
    assert [naming.device_of(one, wanted) for one in (BY_SLOT, BY_INDEX)] == [slot, index]


NOBODY = (
    *("7", "-1", "00", "0x0", "1_0", "GPU-", "GPU-0a1b", "MIG-GPU-none/1/0", f"MIG-{UUID}/2/0"),
    *("0:1", "1:0", "9:0", "0000:07:00.1", "0000:08:00.0", "0002:07:00.0", ":", "::.", "g:0.0"),
    *("0-2147483647", "99999999999999999999", "0:0:0:0.0", "1000000000:7:0.0", "None", "gpuNone"),
    *("pci-", "pci-0000:08:00.0", "pci-07:00.0", "pci-0000:07:00.0-gi2-ci0", "pci-None"),
)


@pytest.mark.parametrize("wanted", NOBODY)
def test_row66_other_names_are_nobodys(wanted: str) -> None:
    assert [naming.device_of(one, wanted) for one in (BY_INDEX, BY_UUID)] == ["", ""]


@pytest.mark.parametrize("wanted", NOBODY[:-2])
def test_row65_an_unknown_name_is_an_error_that_lists_what_there_is(wanted: str) -> None:
    with pytest.raises(ToolkitError) as caught:
        registry.resolve(specs.compiled(BY_INDEX), [f"{specs.KIND}={wanted}"])
    assert str(caught.value) == (
        f"unresolvable CDI devices {specs.KIND}={wanted}: {specs.KIND} has 0, 0:0, 1, 2, all; "
        "'gpubind cdi list' shows what there is [REGISTRY-DEVICE]"
    )


def test_row65_a_gpu_without_a_device_of_its_own_is_nobodys() -> None:
    mig_only = spec("0:0", "1")
    assert naming.device_of(mig_only, "0") == ""
    assert naming.device_of(mig_only, "0000:07:00.0") == ""
    assert naming.device_of(mig_only, "MIG-AAAA") == "0:0"


def test_names_are_resolved_once_each_in_the_order_asked_for() -> None:
    names = ["gpu-ffff", "0000:07:00.0", "1", UUID]
    found = registry.resolve(specs.compiled(BY_INDEX), [f"{specs.KIND}={one}" for one in names])
    assert found == {0: ["1", "0"]}


def test_a_name_that_two_specs_give_stays_refused() -> None:
    conflict = {f"{specs.KIND}=0000:07:00.0": ["/a.yaml", "/b.yaml"]}
    known = specs.compiled(BY_INDEX, conflicts=conflict)
    with pytest.raises(ToolkitError, match=r"stands in /a.yaml and /b.yaml"):
        registry.resolve(known, [f"{specs.KIND}=0000:07:00.0"])


def test_a_device_of_another_kind_is_not_taken() -> None:
    with pytest.raises(ToolkitError, match=r"no spec describes other.org/gpu"):
        registry.resolve(specs.compiled(BY_INDEX), ["other.org/gpu=0000:07:00.0"])


def test_gpus_behind_devices_are_there_once_each() -> None:
    def indices(*devices: str) -> list[int]:
        return [gpu["index"] for gpu in naming.gpus_of(BY_INDEX, devices)]

    assert indices("2", "0:0", "0", UUID) == [0, 2]
    assert indices("all") == [0, 1, 2]
    assert indices() == indices("x") == []


def test_where_one_device_stands_for_all_gpus_each_gpu_is_that() -> None:
    known = spec("all")
    assert [naming.device_of(known, name) for name in ("1", UUID.lower(), "4f:00.1")] == ["all"] * 3
    assert naming.device_of(known, "7") == ""
