# SPDX-License-Identifier: Apache-2.0
"""Where a request comes from, which source counts, who may ask; rows as in the threat table."""

from __future__ import annotations

from typing import Any

import pytest
from containers import asked, container, marker

from gpubind.errors import ToolkitError

KEY = "cdi.k8s.io/plugin_1"
MOUNTS = {"accept_nvidia_visible_devices_as_volume_mounts": True}
NO_ENV = {"accept_nvidia_visible_devices_envvar_when_unprivileged": False}
ALL = "NVIDIA_VISIBLE_DEVICES=all"


def mounts(*names: str, **fields: Any) -> Any:
    return container(mounts=[marker(name) for name in names], **fields)


@pytest.mark.parametrize(
    ("values", "devices"),
    [
        (["nvidia.com/gpu=0"], ("nvidia.com/gpu=0",)),
        (["nvidia.com/gpu=1, nvidia.com/gpu=0"], ("nvidia.com/gpu=1", "nvidia.com/gpu=0")),
        (["a.b/c=1,a.b/c=1", "a.b/c=1"], ("a.b/c=1",)),
        (["a.b/c=1", "a.b/d.e=x:y"], ("a.b/c=1", "a.b/d.e=x:y")),
    ],
)
def test_row71_annotations_name_cdi_devices(values: list[str], devices: tuple[str, ...]) -> None:
    held = {f"cdi.k8s.io/{number}": value for number, value in enumerate(values)}
    found = asked(container(annotations=held))
    assert (found.devices, found.source, found.notes) == (devices, "annotations", [])


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="row71-empty"),
        pytest.param(" , ", id="row71-empty-list"),
        pytest.param("0", id="row71-unqualified"),
        pytest.param("all", id="row71-unqualified-word"),
        pytest.param("nvidia.com/gpu=0,1", id="row71-partly-unqualified"),
        pytest.param(f"a.b/c={'1' * (256 << 10)}", id="row71-long"),
        pytest.param("a.b/c=0," * 10_001, id="row71-many"),
        pytest.param(7, id="row71-number"),
        pytest.param(None, id="row71-null"),
        pytest.param(["a.b/c=0"], id="row71-list"),
        pytest.param("a.b/c=0\n", id="row71-newline"),
    ],
)
def test_row71_a_bad_annotation_is_an_error_that_names_it(value: Any) -> None:
    with pytest.raises(ToolkitError, match=rf"^annotation {KEY}.* \[REQ-[A-Z]+\]$") as caught:
        asked(container(ALL, annotations={KEY: value}))
    assert len(str(caught.value)) < 300


def test_row71_an_annotation_has_256_kib_at_most() -> None:
    text = "a.b/c=0".ljust(256 << 10)
    assert asked(container(annotations={KEY: text})).devices == ("a.b/c=0",)
    with pytest.raises(ToolkitError, match=rf"^annotation {KEY} is longer than 256 KiB \[REQ-ANN"):
        asked(container(annotations={KEY: f"{text} "}))


@pytest.mark.parametrize(
    ("key", "prefixes", "counts"),
    [
        (KEY, ["cdi.k8s.io/"], True),
        ("cdi.k8s.io.evil/x", ["cdi.k8s.io"], False),
        (KEY, ["cdi.k8s.io"], True),
        ("nvidia.cdi.k8s.io/x", ["cdi.k8s.io/"], False),
        ("nvidia.cdi.k8s.io/x", ["cdi.k8s.io/", "nvidia.cdi.k8s.io/"], True),
        (KEY, [], False),
        (KEY, [""], False),
    ],
)
def test_an_annotation_counts_by_its_whole_prefix(
    key: str, prefixes: list[str], *, counts: bool
) -> None:
    setting = {"nvidia_container_runtime__modes__cdi__annotation_prefixes": prefixes}
    found = asked(container(annotations={key: "a.b/c=0"}), **setting)
    assert found.devices == (("a.b/c=0",) if counts else ())


@pytest.mark.parametrize(
    ("mode", "devices", "left"),
    [
        ("auto", ("a.b/c=0",), [f"{ALL}: annotations count before environment"]),
        ("cdi", ("a.b/c=0",), [f"{ALL}: annotations count before environment"]),
        *(
            (mode, ("all",), [f"annotation {KEY}=a.b/c=0: mode {mode} takes no annotations"])
            for mode in ("jit-cdi", "legacy", "csv")
        ),
    ],
)
def test_a_mode_decides_about_annotations(
    mode: str, devices: tuple[str, ...], left: list[str]
) -> None:
    document = container(ALL, annotations={KEY: "a.b/c=0"})
    found = asked(document, nvidia_container_runtime__mode=mode)
    assert (found.devices, found.left, found.notes) == (devices, left, [])


def test_annotations_that_do_not_count_are_not_even_read() -> None:
    document = container(ALL, annotations={KEY: 7})
    assert asked(document, nvidia_container_runtime__mode="jit-cdi").devices == ("all",)
    assert asked(document, gpubind__policy__annotations="deny").devices == ("all",)


@pytest.mark.parametrize(
    ("names", "devices"),
    [
        (["0"], ("0",)),
        (["1", "0", "1"], ("1", "0")),
        (["GPU-abc", "MIG-def"], ("GPU-abc", "MIG-def")),
        (["all"], ("all",)),
        (["none"], ("none",)),
        (["void", "0"], ()),
        (["cdi/nvidia.com/gpu/0"], ("nvidia.com/gpu=0",)),
        (["cdi/nvidia.com/gpu=0"], ("nvidia.com/gpu=0",)),
        (["cdi/a.b/c/0", "1"], ("a.b/c=0", "1")),
        (["0:1", "0000:07:00.0"], ("0:1", "0000:07:00.0")),
        (["MIG-GPU-abc/1/0"], ("MIG-GPU-abc/1/0",)),
        (["./0/", "/1//"], ("0", "1")),
        (["imex/3"], ()),
        (["x/../0"], ("0",)),
        pytest.param(["../other/0"], (), id="row69-out-of-the-folder"),
        pytest.param(["../nvidia-container-devices-2/0"], (), id="row69-neighbour"),
        pytest.param([""], (), id="row69-empty"),
        pytest.param([str(n) for n in range(10_000)], tuple(map(str, range(10_000))), id="row69"),
    ],
)
def test_row69_mounts_of_dev_null_name_devices(names: list[str], devices: tuple[str, ...]) -> None:
    assert asked(mounts(*names), **MOUNTS).devices == devices


@pytest.mark.parametrize(
    "name",
    [
        "0,1",
        "cdi/gpu=0",
        "cdi/bogus",
        "cdi/a/b/c/d",
        "cdi/nvidia.com/gpu",
        "a b",
        "0\n1",
        "GPU0-MIG0/0/1",
    ],
)
def test_row69_a_mount_that_names_no_device_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(ToolkitError, match=r"^mount /var/run/nvidia.* \[REQ-DEVICE\]$"):
        asked(mounts(name), **MOUNTS)


def test_row69_ten_thousand_and_one_mounts_are_an_error() -> None:
    with pytest.raises(ToolkitError, match=r"more than 10000 elements \[REQ-LENGTH\]$"):
        asked(mounts(*(str(number) for number in range(10_001))), **MOUNTS)


@pytest.mark.parametrize(
    "mount",
    [
        {"destination": "/var/run/nvidia-container-devices/0", "source": "/dev/zero"},
        {"destination": "/var/run/nvidia-container-devices/0", "source": "/dev/null/x"},
        {"destination": "/var/run/nvidia-container-devices/0"},
        {"destination": "/var/run/nvidia-container-devices/0", "source": 7},
        {"destination": "/var/run/nvidia-container-devices-2/0", "source": "/dev/null"},
        {"destination": "/x/var/run/nvidia-container-devices/0", "source": "/dev/null"},
        {"destination": "var/run/nvidia-container-devices/0", "source": "/dev/null"},
        {"destination": 7, "source": "/dev/null"},
        "a text",
        None,
    ],
)
def test_row69_other_mounts_ask_for_nothing(mount: Any) -> None:
    found = asked(container(mounts=[mount]), **MOUNTS)
    assert (found.devices, found.source) == ((), "")
    assert asked(container(mounts=[mount, marker("7")]), **MOUNTS).devices == ("7",)


@pytest.mark.parametrize("source", ["/dev/null", "/dev/./null", "//dev/x/../null"])
@pytest.mark.parametrize(
    "folder", ["/var/run/nvidia-container-devices", "/run/nvidia-container-devices"]
)
def test_a_mount_counts_however_its_paths_are_spelt(folder: str, source: str) -> None:
    document = container(mounts=[{**marker("0", folder), "source": source}])
    assert asked(document, **MOUNTS).devices == ("0",)


@pytest.mark.parametrize(
    ("env", "setting", "devices", "source"),
    [
        (["GPU_A=0", ALL], "GPU_A", ("0",), "swarm-resource"),
        (["GPU_B=1", "GPU_A=0"], "GPU_A, GPU_B", ("0", "1"), "swarm-resource"),
        (["GPU_A=", ALL], "GPU_A", (), "swarm-resource"),
        ([ALL], "GPU_A", ("all",), "environment"),
        (["GPU_A=0", ALL], "", ("all",), "environment"),
        (["GPU_A=0"], " ,", (), ""),
        (["GPU_A=0", "CUDA_VERSION=9.0"], "GPU_A", ("0",), "swarm-resource"),
    ],
)
def test_swarm_resources_count_before_the_variable(
    env: list[str], setting: str, devices: tuple[str, ...], source: str
) -> None:
    found = asked(container(*env), swarm_resource=setting)
    assert (found.devices, found.source) == (devices, source)


@pytest.mark.parametrize(
    ("env", "devices"),
    [
        (["CUDA_VERSION=9.0.116"], ("all",)),
        (["CUDA_VERSION=9.0", "NVIDIA_VISIBLE_DEVICES="], ()),
        (["CUDA_VERSION=9.0", "NVIDIA_VISIBLE_DEVICES=1"], ("1",)),
        (["CUDA_VERSION=9.0", "NVIDIA_REQUIRE_CUDA=cuda>=9.0"], ()),
        (["CUDA_VERSION=9.0", "NVIDIA_REQUIRE_CUDA="], ("all",)),
        (["CUDA_VERSION="], ()),
    ],
)
def test_an_image_of_old_cuda_wants_all_gpus(env: list[str], devices: tuple[str, ...]) -> None:
    assert asked(container(*env)).devices == devices


@pytest.mark.parametrize(
    ("document", "explicit"),
    [
        (container(ALL), False),
        (container("CUDA_VERSION=9.0"), False),
        (container(ALL, privileged=True), True),
        (container(annotations={KEY: "a.b/c=0"}), True),
        (mounts("0"), True),
        (container("GPU_A=0"), True),
    ],
)
def test_an_operator_asks_explicitly_an_image_does_not(document: Any, *, explicit: bool) -> None:
    assert asked(document, **MOUNTS, swarm_resource="GPU_A").explicit is explicit


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"process": None},
        {"process": {"env": None}, "mounts": None, "annotations": None},
        {"process": {"env": ["A=b"]}, "mounts": "x", "annotations": []},
        {"annotations": {"other/x": 7, "cdi.k8s.iox": 1}, "mounts": [None, 7, {}]},
    ],
)
def test_row43_who_asks_for_nothing_may_have_any_form(document: Any) -> None:
    found = asked(document)
    assert (found.devices, found.capabilities, found.notes, found.left) == ((), (), [], [])


@pytest.mark.parametrize("process", ["x", [], {"env": "x"}, {"env": [7]}, {"env": {"A": "b"}}])
def test_row43_an_environment_of_another_form_is_an_error_with_its_place(process: Any) -> None:
    with pytest.raises(ToolkitError, match=r"expected .* at process.* \[DOC-INVALID\]$"):
        asked({"process": process})
