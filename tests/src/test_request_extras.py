# SPDX-License-Identifier: Apache-2.0
"""What is asked for beside GPUs: capabilities as far as supported, IMEX channels, features."""

from __future__ import annotations

from typing import Any

import pytest
from containers import asked, container, marker

from gpubind import request
from gpubind.errors import ToolkitError

ONE = "NVIDIA_VISIBLE_DEVICES=0"
MOUNTS = {"accept_nvidia_visible_devices_as_volume_mounts": True}


@pytest.mark.parametrize(
    ("env", "supported", "given", "lost"),
    [
        ([], "utility,compute,video", ("compute", "utility"), ""),
        ([], "utility", ("utility",), ""),
        (["all"], "utility, video", ("utility", "video"), ""),
        (["all"], "all", request.CAPABILITIES, ""),
        (["video,compute"], "compute,utility", ("compute",), "video"),
        (["graphics,video"], "compute", (), "graphics, video"),
        (["all,video"], "compute", ("compute",), "video"),
        ([""], "all", ("compute", "utility"), ""),
    ],
)
def test_the_operator_limits_capabilities(
    env: list[str], supported: str, given: tuple[str, ...], lost: str
) -> None:
    variables = [f"NVIDIA_DRIVER_CAPABILITIES={value}" for value in env]
    found = asked(container(ONE, *variables), supported_driver_capabilities=supported)
    assert found.capabilities == given
    said = f"NVIDIA_DRIVER_CAPABILITIES: left out {lost}: not among supported-driver-capabilities"
    assert [note.partition(" in ")[0] for note in found.notes] == ([said] if lost else [])


@pytest.mark.parametrize(
    ("env", "given"),
    [
        ([], request.CAPABILITIES),
        (["NVIDIA_DRIVER_CAPABILITIES="], ("compute", "utility")),
        (["NVIDIA_DRIVER_CAPABILITIES=utility"], ("utility",)),
    ],
)
def test_an_image_of_old_cuda_has_all_capabilities(env: list[str], given: tuple[str, ...]) -> None:
    assert asked(container("CUDA_VERSION=8.0", *env)).capabilities == given


def test_row68_a_wrong_limit_is_an_error_naming_file_and_key() -> None:
    with pytest.raises(ToolkitError) as caught:
        asked(container(ONE), supported_driver_capabilities="compute,bogus")
    assert str(caught.value) == (
        "/etc/gpubind/config.toml: there is no driver capability 'bogus'; known are compat32, "
        "compute, display, graphics, ngx, utility, video and all at "
        "supported-driver-capabilities [CONFIG-VALUE]"
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("bogus", id="row68-unknown"),
        pytest.param("all,foo", id="row68-all-and-unknown"),
        pytest.param("x" * (1 << 20), id="row68-1MiB"),
        pytest.param("compute\n", id="row68-newline"),
    ],
)
def test_row68_an_unknown_capability_is_an_error_naming_the_variable(text: str) -> None:
    with pytest.raises(ToolkitError, match=r"^NVIDIA_DRIVER_CAPABILITIES: .*\[REQ-CAPABILITY\]$"):
        asked(container(ONE, f"NVIDIA_DRIVER_CAPABILITIES={text}"))


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        ("0", ("0",)),
        ("0,1, 0,,7", ("0", "1", "7")),
        ("2047", ("2047",)),
        ("", ()),
        ("void", ()),
        (" , ", ()),
    ],
)
def test_imex_channels_are_read(text: str, channels: tuple[str, ...]) -> None:
    assert asked(container(ONE, f"NVIDIA_IMEX_CHANNELS={text}")).imex == channels


@pytest.mark.parametrize("text", ["-1", "2048", "x", "01", "1-3", "１", "0x1", "99999999999999"])  # noqa: RUF001 - a full-width digit is the point
def test_row70_what_is_no_channel_is_an_error_naming_variable_and_element(text: str) -> None:
    with pytest.raises(ToolkitError) as caught:
        asked(container(ONE, f"NVIDIA_IMEX_CHANNELS=0,{text}"))
    assert str(caught.value).startswith(f"NVIDIA_IMEX_CHANNELS: {text!r} is not an IMEX channel")
    assert str(caught.value).endswith("[REQ-IMEX]")


@pytest.mark.parametrize(
    ("env", "privileged", "imex", "features", "denied"),
    [
        ("NVIDIA_IMEX_CHANNELS=all", True, ("all",), (), ""),
        ("NVIDIA_IMEX_CHANNELS=all", False, (), (), "NVIDIA_IMEX_CHANNELS=all"),
        ("NVIDIA_MIG_CONFIG_DEVICES=all", True, (), ("mig-config",), ""),
        ("NVIDIA_MIG_CONFIG_DEVICES=all", False, (), (), "NVIDIA_MIG_CONFIG_DEVICES=all"),
        ("NVIDIA_MIG_MONITOR_DEVICES=all", True, (), ("mig-monitor",), ""),
        ("NVIDIA_MIG_MONITOR_DEVICES=2048", False, (), (), "NVIDIA_MIG_MONITOR_DEVICES=2048"),
        ("NVIDIA_MIG_MONITOR_DEVICES=", False, (), (), ""),
    ],
)
def test_row70_what_only_an_administrator_may_have(
    env: str,
    *,
    privileged: bool,
    imex: tuple[str, ...],
    features: tuple[str, ...],
    denied: str,
) -> None:
    found = asked(container(ONE, env, privileged=privileged))
    assert (found.devices, found.imex, found.features) == (("0",), imex, features)
    assert [note.startswith(f"denied: {denied} (") for note in found.notes] == [True] * bool(denied)


@pytest.mark.parametrize(
    ("env", "features", "notes"),
    [
        (["NVIDIA_GDS=enabled"], ("gds",), 0),
        (
            ["NVIDIA_NVSWITCH=enabled", "NVIDIA_MOFED=enabled", "NVIDIA_GDRCOPY=enabled"],
            ("mofed", "gdrcopy", "nvswitch"),
            0,
        ),
        (["NVIDIA_GDS=disabled", "NVIDIA_MOFED="], (), 0),
        (["NVIDIA_GDS=-1"], (), 1),
        (["NVIDIA_GDS=Enabled", "NVIDIA_MOFED=all"], (), 2),
    ],
)
def test_row70_a_feature_is_enabled_by_that_word_alone(
    env: list[str], features: tuple[str, ...], notes: int
) -> None:
    found = asked(container(ONE, *env))
    assert (found.features, len(found.notes)) == (features, notes)
    assert all(note.endswith("left out [REQ-FEATURE]") for note in found.notes)


@pytest.mark.parametrize("devices", ["", "void", "none"])
def test_without_a_gpu_nothing_else_is_asked_for(devices: str) -> None:
    env = (f"NVIDIA_VISIBLE_DEVICES={devices}", "NVIDIA_GDS=enabled", "NVIDIA_IMEX_CHANNELS=x")
    found = asked(container(*env))
    assert (found.features, found.imex, found.notes) == ((), (), [])


@pytest.mark.parametrize(
    ("mounts", "env", "settings", "imex", "denied"),
    [
        (["imex/1", "imex/2"], "0", MOUNTS, ("1", "2"), 0),
        (["imex/1"], "0", {}, ("0",), 1),
        ([], "0", MOUNTS, ("0",), 0),
        (["imex/1"], "0", {**MOUNTS, "gpubind__policy__environment": "allow"}, ("1",), 0),
        ([], "0", {"features__ignore_imex_channel_requests": True}, (), 0),
        ([], "-1", {"features__ignore_imex_channel_requests": True}, (), 0),
    ],
)
def test_channels_come_from_mounts_first(
    mounts: list[str], env: str, settings: dict[str, Any], imex: tuple[str, ...], denied: int
) -> None:
    document = container(ONE, f"NVIDIA_IMEX_CHANNELS={env}", mounts=[*map(marker, mounts)])
    found = asked(document, **settings)
    assert (found.devices, found.imex, len(found.notes)) == (("0",), imex, denied)


@pytest.mark.parametrize(
    ("env", "requirements", "notes"),
    [
        (["NVIDIA_REQUIRE_CUDA=cuda>=12.4"], [("NVIDIA_REQUIRE_CUDA", "cuda>=12.4")], 0),
        (
            ["NVIDIA_REQUIRE_B=b", "NVIDIA_REQUIRE_A=a", "NVIDIA_REQUIRE_A=c"],
            [("NVIDIA_REQUIRE_A", "c"), ("NVIDIA_REQUIRE_B", "b")],
            0,
        ),
        (["NVIDIA_REQUIRE_JETPACK=csv-mounts=all", "NVIDIA_REQUIRE_JETPACK_HOST=x"], [], 0),
        (["NVIDIA_REQUIRE_CUDA= "], [], 0),
        (["CUDA_VERSION=9.0.116"], [("CUDA_VERSION", "cuda>=9.0")], 0),
        (["CUDA_VERSION=foo", "NVIDIA_DISABLE_REQUIRE=1"], [], 0),
        *(
            ([f"NVIDIA_DISABLE_REQUIRE={word}", "NVIDIA_REQUIRE_A=a"], [], 0)
            for word in ("1", "t", "T", "TRUE", "true", "True")
        ),
        *(
            (
                [f"NVIDIA_DISABLE_REQUIRE={word}", "NVIDIA_REQUIRE_A=a"],
                [("NVIDIA_REQUIRE_A", "a")],
                n,
            )
            for word, n in (("0", 0), ("f", 0), ("False", 0), ("", 0), ("maybe", 1), ("yes", 1))
        ),
        (["NVIDIA_DISABLE_REQUIRE=maybe"], [], 0),
    ],
)
def test_row68_requirements_are_taken_unless_disabled(
    env: list[str], requirements: list[tuple[str, str]], notes: int
) -> None:
    found = asked(container(ONE, *env))
    assert (list(found.requirements), len(found.notes)) == (requirements, notes)
    assert asked(container(ONE, *env), disable_require=True).requirements == ()


@pytest.mark.parametrize("version", ["foo", "9.0.116.50", "9.", "9..0", ".5.10", "+9", "-9"])
def test_row68_an_old_image_of_no_version_is_an_error_naming_the_variable(version: str) -> None:
    with pytest.raises(ToolkitError, match=r"^CUDA_VERSION: .* \[REQ-REQUIRE\]$"):
        asked(container(f"CUDA_VERSION={version}"))
