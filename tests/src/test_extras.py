# SPDX-License-Identifier: Apache-2.0
"""Requirements, features and IMEX channels, from a request to what a bundle gets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import specs
import trees
from containers import container

from gpubind import injection, request
from gpubind.errors import ToolkitError
from gpubind.oci import spec as oci

if TYPE_CHECKING:
    from pathlib import Path

MODE = "nvidia-container-runtime.mode"


def thing(kind: str, *names: str) -> Any:
    """Give a spec of other devices, each with a node of its name."""
    node: Any = {"hostPath": "/dev/null", "required": True}
    devices = {
        name: {"deviceNodes": [{"path": f"/dev/{kind.partition('/')[2]}-{name}", **node}]}
        for name in names
    }
    bare: Any = {"links": [], "libraries": [], "folders": [], "containerEdits": {}}
    return specs.spec(kind=kind, path=f"/etc/cdi/{kind[11:]}.yaml", devices=devices, **bare)


GPUS = specs.spec(
    driver={"version": "550.54.15", "cuda": "12.4"},
    gpus=[{"index": 0, "uuid": "GPU-x", "pci": "0000:07:00.0", "architecture": "9.0"}],
)
KNOWN = (
    GPUS,
    thing("nvidia.com/gds", "all"),
    thing("nvidia.com/mig-config", "all"),
    thing("nvidia.com/imex-channel", "0", "7"),
)


def injected(
    tmp_path: Path, *env: str, known: tuple[Any, ...] = KNOWN, **fields: Any
) -> tuple[list[str], list[str], Any]:
    """Give the nodes a bundle gets, the notes about it, and its config.json."""
    document = container(*env, root={"path": "rootfs"}, **fields)
    trees.build(tmp_path, {"/cdi": trees.FOLDER, "/b/rootfs": trees.FOLDER})
    trees.build(tmp_path, {"/b/config.json": json.dumps(document)})
    file, state = f"{tmp_path}/b/config.json", f"{tmp_path}/state"
    settings = specs.settings(f"{tmp_path}/cdi", **{MODE: "cdi"})
    specs.put(state, specs.compiled(*known), f"{tmp_path}/cdi")
    spec = oci.load(file)
    wanted = request.of(spec, settings, file)
    notes = [*wanted.notes, *injection.into(file, spec, wanted, settings, state)]
    given: Any = oci.load(file)
    nodes = [node["path"] for node in (given.get("linux") or {}).get("devices", [])]
    return nodes, notes, given


@pytest.mark.parametrize(
    ("env", "privileged", "nodes"),
    [
        (["NVIDIA_GDS=enabled"], False, ["/dev/gds-all"]),
        (["NVIDIA_IMEX_CHANNELS=7,0"], False, ["/dev/imex-channel-7", "/dev/imex-channel-0"]),
        (["NVIDIA_IMEX_CHANNELS=all"], True, ["/dev/imex-channel-0", "/dev/imex-channel-7"]),
        (["NVIDIA_MIG_CONFIG_DEVICES=all"], True, ["/dev/mig-config-all"]),
        (
            ["NVIDIA_IMEX_CHANNELS=0", "NVIDIA_GDS=enabled"],
            False,
            ["/dev/gds-all", "/dev/imex-channel-0"],
        ),
    ],
)
def test_what_is_asked_for_besides_a_gpu_is_there(
    tmp_path: Path, env: list[str], *, privileged: bool, nodes: list[str]
) -> None:
    found, notes, document = injected(
        tmp_path, "NVIDIA_VISIBLE_DEVICES=0", *env, privileged=privileged
    )
    assert (found, notes) == (["/dev/nvidia0", *nodes], [])
    held = [entry for entry in document["process"]["env"] if "VISIBLE" in entry]
    assert held == ["NVIDIA_VISIBLE_DEVICES=void"]


def test_a_feature_never_removes_a_gpu(tmp_path: Path) -> None:
    env = ("NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_MOFED=enabled", "NVIDIA_NVSWITCH=enabled")
    found, notes, _ = injected(tmp_path, *env)
    assert found == ["/dev/nvidia0"]
    assert notes == [
        f"{name} is asked for, but no CDI spec has nvidia.com/{name}=all [REQ-FEATURE]"
        for name in ("mofed", "nvswitch")
    ]


def test_all_channels_may_be_none(tmp_path: Path) -> None:
    env = ("NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_IMEX_CHANNELS=all")
    found, notes, _ = injected(tmp_path, *env, known=(GPUS,), privileged=True)
    assert (found, len(notes)) == (["/dev/nvidia0"], 1)


def test_all_channels_are_the_device_of_that_name(tmp_path: Path) -> None:
    channels = thing("nvidia.com/imex-channel", "0", "1", "all")
    env = ("NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_IMEX_CHANNELS=all")
    found, _, _ = injected(tmp_path, *env, known=(GPUS, channels), privileged=True)
    assert found == ["/dev/nvidia0", "/dev/imex-channel-all"]


def test_row70_a_channel_without_spec_is_an_error_that_names_it(tmp_path: Path) -> None:
    env = ("NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_IMEX_CHANNELS=0,5")
    with pytest.raises(ToolkitError) as caught:
        injected(tmp_path, *env)
    assert str(caught.value) == (
        "IMEX channel 5 is asked for, but no CDI spec has nvidia.com/imex-channel=5; see "
        "'gpubind cdi list' and /dev/nvidia-caps-imex-channels [REQ-IMEX]"
    )


def test_a_requirement_is_judged_in_this_mode_too(tmp_path: Path) -> None:
    env = ("NVIDIA_VISIBLE_DEVICES=0000:07:00.0", "NVIDIA_REQUIRE_CUDA=cuda>=12.5")
    with pytest.raises(ToolkitError, match=r"^NVIDIA_REQUIRE_CUDA: .*\[REQ-UNMET\]$"):
        injected(tmp_path, *env)
    document = oci.load(f"{tmp_path}/b/config.json")
    assert document["process"]["env"][0] == env[0]
    assert injected(tmp_path, *env, "NVIDIA_DISABLE_REQUIRE=true")[0] == ["/dev/nvidia0"]


@pytest.mark.parametrize(
    ("devices", "origin"),
    [
        pytest.param("7", "NVIDIA_VISIBLE_DEVICES", id="row65-index"),
        pytest.param("GPU-none", "NVIDIA_VISIBLE_DEVICES", id="row65-uuid"),
        pytest.param("0:0", "NVIDIA_VISIBLE_DEVICES", id="row65-mig-of-a-gpu-without"),
        pytest.param("0,GPU-", "NVIDIA_VISIBLE_DEVICES", id="row65-mixed-hyphen-last"),
        pytest.param("0-2147483647", "NVIDIA_VISIBLE_DEVICES", id="row66-range"),
        pytest.param("9" * 20, "NVIDIA_VISIBLE_DEVICES", id="row66-twenty-digits"),
        pytest.param("00", "NVIDIA_VISIBLE_DEVICES", id="row63-zeros"),
        pytest.param("0x0", "NVIDIA_VISIBLE_DEVICES", id="row63-hexadecimal"),
        pytest.param("1_0", "NVIDIA_VISIBLE_DEVICES", id="row63-underscore"),
    ],
)
def test_a_device_there_is_not_is_an_error_naming_variable_and_element(
    tmp_path: Path, devices: str, origin: str
) -> None:
    with pytest.raises(ToolkitError) as caught:
        injected(tmp_path, f"NVIDIA_VISIBLE_DEVICES={devices}")
    assert str(caught.value).startswith(f"{origin}: ")
    assert devices.rpartition(",")[2] in str(caught.value)
    assert caught.value.identifier in ("REGISTRY-DEVICE", "REQ-DEVICE")


@pytest.mark.parametrize("name", ["0", "GPU-X", "gpu-x", "0000:07:00.0", "07:00.0"])
def test_row65_a_gpu_comes_by_each_of_its_names(tmp_path: Path, name: str) -> None:
    assert injected(tmp_path, f"NVIDIA_VISIBLE_DEVICES={name}")[0] == ["/dev/nvidia0"]
    assert injected(tmp_path, f"NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu={name}")[0] == [
        "/dev/nvidia0"
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("nvidia.com/gpu", "=0", "nvidia.com/gpu=", "a/b/c=d", "nvidia.com/gpu=0=1"),
        *(
            "nvidia.com/gpu=../x",
            "9vendor/gpu=0",
            "/gpu=0",
            "nvidia.com/=0",
            "a.b/c.=0",
            "a.b/c=-0",
        ),
    ],
)
def test_row67_what_is_no_cdi_name_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ToolkitError, match=r"^NVIDIA_VISIBLE_DEVICES: .* \[REQ-DEVICE\]$"):
        injected(tmp_path, f"NVIDIA_VISIBLE_DEVICES={name}")


def test_row67_a_class_may_hold_a_dot(tmp_path: Path) -> None:
    other = thing("nvidia.com/gpu.shared", "x")
    found, _, _ = injected(
        tmp_path, "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu.shared=x", known=(other,)
    )
    assert found == ["/dev/gpu.shared-x"]


def test_compat32_brings_the_32_bit_libraries(tmp_path: Path) -> None:
    path = "/usr/lib/i386-linux-gnu/libcuda.so.1"
    narrow = {"capabilities": ["compat32"], "required": True, "why": "32-bit programs"}
    mount = {"hostPath": "/etc/hostname", "containerPath": path, **narrow}
    gpus = specs.spec(
        containerEdits={"mounts": [mount]},
        libraries=[{"path": path, "arch": "i386", "capabilities": ["compat32"]}],
        folders=["/usr/lib/i386-linux-gnu"],
    )
    seen = {}
    for wanted in ("compute", "compute,compat32", "all"):
        env = ("NVIDIA_VISIBLE_DEVICES=0", f"NVIDIA_DRIVER_CAPABILITIES={wanted}")
        _, _, document = injected(tmp_path / wanted, *env, known=(gpus,))
        cache = tmp_path / wanted / "b/rootfs/etc/ld.so.cache"
        entered = cache.exists() and path.encode() in cache.read_bytes()
        seen[wanted] = ([one["destination"] for one in document.get("mounts", [])], entered)
    assert seen == {
        "compute": ([], False),
        "compute,compat32": ([path], True),
        "all": ([path], True),
    }


@pytest.mark.parametrize(
    ("fields", "fails"),
    [
        ({}, False),
        ({"privileged": True}, True),
        ({"hooks": {"prestart": [{"path": "/usr/bin/nvidia-container-runtime-hook"}]}}, True),
        ({"hooks": {"prestart": [{"path": "/usr/bin/other"}]}}, False),
    ],
)
def test_without_a_driver_only_an_operator_gets_an_error(
    tmp_path: Path, fields: dict[str, Any], *, fails: bool
) -> None:
    if injection.has_driver(specs.settings()):
        pytest.skip("this machine has an NVIDIA driver")
    if fails:
        with pytest.raises(ToolkitError, match=r"no NVIDIA driver.* \[NO-DRIVER\]$"):
            injected(tmp_path, "NVIDIA_VISIBLE_DEVICES=all", known=(), **fields)
    else:
        _, notes, _ = injected(tmp_path, "NVIDIA_VISIBLE_DEVICES=all", known=(), **fields)
        assert [note.endswith("started without [NO-DRIVER]") for note in notes] == [True]
