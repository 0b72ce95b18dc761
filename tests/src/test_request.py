# SPDX-License-Identifier: Apache-2.0
"""What a container asks for: the field's grammar, and nothing outside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpubind import request
from gpubind.config import Config
from gpubind.errors import ToolkitError


def of_env(env: list[str]) -> request.Request:
    return request.of({"process": {"env": env}}, Config({}, "config.toml"))


def asked(devices: str, *more: str) -> request.Request:
    return of_env([f"NVIDIA_VISIBLE_DEVICES={devices}", *more])


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("0", ("0",)),
        ("0,1", ("0", "1")),
        ("1,0", ("1", "0")),
        ("0,,1", ("0", "1")),
        (",0,", ("0",)),
        (" 0 , 1\t", ("0", "1")),
        ("0,0,1,0", ("0", "1")),
        ("all", ("all",)),
        ("ALL", ("all",)),
        ("0,all", ("all",)),
        ("all,none", ("all",)),
        ("none", ("none",)),
        ("None,0", ("none",)),
        ("void", ()),
        ("void,0", ()),
        ("0,Void", ()),
        ("", ()),
        (" , ,", ()),
        ("GPU-1a2b", ("GPU-1a2b",)),
        ("MIG-1a2b", ("MIG-1a2b",)),
        ("0:1", ("0:1",)),
        ("nvidia.com/gpu=0", ("nvidia.com/gpu=0",)),
        ("nvidia.com/gpu=0:1,vendor.org/net-x_y=eth0.1", None),
        ("0-2147483647", ("0-2147483647",)),
        ("99999999999999999999", ("99999999999999999999",)),
        ("x" * 256, ("x" * 256,)),
        ("a_b-c.d/e_f-g.h=i_j-k.l:m", ("a_b-c.d/e_f-g.h=i_j-k.l:m",)),
    ],
)
def test_devices_are_read(text: str, devices: tuple[str, ...] | None) -> None:
    assert asked(text).devices == (tuple(text.split(",")) if devices is None else devices)


@pytest.mark.parametrize(
    "text",
    [
        *("../../etc", "/dev/sda", "0;rm", "0\n1", "-1", "１", "0\0", "$(x)", "a b", "a..b"),  # noqa: RUF001 - a full-width digit is the point
        *(
            "=0",
            "_x",
            ".x",
            ":0",
            "é",
            "0\\1",
            "'0'",
            "@x",
            "*",
            "GPU-\x1b[2J",
            "x" * 257,
            "\ud800",
        ),
        *("all,../x", "void,0;rm"),
    ],
)
def test_what_no_name_is_made_of_is_an_error_with_variable_and_element(text: str) -> None:
    with pytest.raises(
        ToolkitError, match=r"^NVIDIA_VISIBLE_DEVICES: .* \[REQ-DEVICE\]$"
    ) as caught:
        asked(text)
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("variable", ["NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"])
@pytest.mark.parametrize("count", [10_001, 1_000_000])
def test_a_list_without_end_is_an_error(variable: str, count: int) -> None:
    with pytest.raises(ToolkitError, match=rf"^{variable}: more than 10000 elements"):
        of_env(["NVIDIA_VISIBLE_DEVICES=0", f"{variable}={'0,' * count}"])


def test_a_long_list_is_read_once_each() -> None:
    assert asked("0,1," * 4999).devices == ("0", "1")
    assert asked(",".join(["0", "1"] * 5000)).devices == ("0", "1")


@pytest.mark.parametrize(
    ("env", "devices"),
    [
        ([], ()),
        (["NVIDIA_VISIBLE_DEVICES"], ()),
        (["NVIDIA_VISIBLE_DEVICES="], ()),
        (["nvidia_visible_devices=0"], ()),
        (["X=NVIDIA_VISIBLE_DEVICES=0"], ()),
        (["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_VISIBLE_DEVICES=1"], ("1",)),
        (["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_VISIBLE_DEVICES"], ("0",)),
        (["=0", "", "NVIDIA_VISIBLE_DEVICES=a.b/c=0"], ("a.b/c=0",)),
        ([*(f"V{number}=x" for number in range(100_000)), "NVIDIA_VISIBLE_DEVICES=0"], ("0",)),
    ],
)
def test_the_last_variable_of_the_name_counts(env: list[str], devices: tuple[str, ...]) -> None:
    assert of_env(env).devices == devices


@pytest.mark.parametrize(
    ("text", "capabilities"),
    [
        ("", ("compute", "utility")),
        (" ,", ("compute", "utility")),
        ("utility", ("utility",)),
        ("utility,compute", ("compute", "utility")),
        ("Video, ,VIDEO,video", ("video",)),
        ("all", request.CAPABILITIES),
        ("compute,ALL", request.CAPABILITIES),
        ("compat32,display,graphics,ngx", ("compat32", "display", "graphics", "ngx")),
    ],
)
def test_capabilities_are_read(text: str, capabilities: tuple[str, ...]) -> None:
    assert asked("0", f"NVIDIA_DRIVER_CAPABILITIES={text}").capabilities == capabilities


def test_without_a_word_there_are_the_default_capabilities() -> None:
    assert asked("0").capabilities == ("compute", "utility")


@pytest.mark.parametrize("text", ["bogus", "all,foo", "compute;utility", "../x", "x" * 1_000_000])
def test_an_unknown_capability_is_an_error_that_lists_the_known(text: str) -> None:
    with pytest.raises(ToolkitError, match=r"known are compat32, .* and all \[REQ-CAP") as caught:
        asked("0", f"NVIDIA_DRIVER_CAPABILITIES={text}")
    assert len(str(caught.value)) < 300


def test_who_asks_for_nothing_may_say_any_capability() -> None:
    assert of_env(["NVIDIA_DRIVER_CAPABILITIES=bogus"]).devices == ()


@given(st.text())
def test_any_text_is_names_or_an_error_of_ours(text: str) -> None:
    try:
        devices = asked(text).devices
    except ToolkitError:
        return
    assert all(name and name == name.strip() for name in devices)
