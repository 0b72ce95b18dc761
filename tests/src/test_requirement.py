# SPDX-License-Identifier: Apache-2.0
"""Requirements of an image: grammar, figures, and what is said where one is not met."""

from __future__ import annotations

import time
from typing import Any

import pytest
import specs
from hypothesis import given
from hypothesis import strategies as st

from gpubind import requirement
from gpubind.errors import ToolkitError

H100 = {
    "index": 0,
    "uuid": "GPU-aa",
    "name": "NVIDIA H100",
    "brand": "Nvidia",
    "architecture": "9.0",
    "migs": [],
}
T4 = {**H100, "index": 1, "uuid": "GPU-AbC", "name": "Tesla T4", "brand": "Tesla"}
T4["architecture"] = "7.5"
DRIVER = {"version": "550.54.15", "cuda": "12.4", "root": "/"}


def chosen(*devices: str, **changes: Any) -> Any:
    known = {"driver": DRIVER, "gpus": [H100, T4], **changes}
    return [(specs.spec(**known), list(devices))]


def met(text: str, *devices: str, **changes: Any) -> bool:
    """Tell whether a requirement is met; every note is a failure here."""
    try:
        assert requirement.check([("V", text)], chosen(*devices, **changes)) == []
    except ToolkitError as error:
        assert error.identifier == "REQ-UNMET", error  # noqa: PT017 - met or not is the question
        return False
    return True


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("cuda>=12.4", True),
        ("cuda>=12.4.0", True),
        ("cuda=12.4", True),
        ("cuda>=12.5", False),
        ("cuda>=12.10", False),
        ("cuda<12.10", True),
        ("cuda>=9", True),
        ("cuda>12.4", False),
        ("cuda<=12.4", True),
        ("cuda!=12.4", False),
        ("cuda!=12.3", True),
        ("cuda>=9999", False),
        ("driver>=470", True),
        ("driver>=550.54.15", True),
        ("driver<550.54.15", False),
        ("driver>=550.54.16", False),
        ("driver>=550,driver<551", True),
        ("driver>=470,driver<471", False),
        ("arch>=8.0", True),
        ("arch>=9.1", False),
        ("arch=9.0", True),
        ("arch=9", True),
        ("brand=nvidia", True),
        ("brand=NVIDIA", True),
        ("brand=tesla", False),
        ("brand!=tesla", True),
        ("cuda>=99 driver>=470", True),
        ("driver>=470  cuda>=99 ", True),
        ("cuda>=99 brand=tesla,driver>=470 brand=nvidia,driver>=470", True),
        ("cuda>=99 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=470", False),
        ("cuda>=12.4,arch>=9.0,driver>=1,brand=nvidia", True),
        ("cuda>=12.4,arch>=9.1", False),
    ],
)
def test_a_requirement_is_met_or_not(text: str, *, holds: bool) -> None:
    assert met(text, "0") is holds


@pytest.mark.parametrize(
    ("cuda", "text", "holds"),
    [
        ("12.10", "cuda>=12.9", True),
        ("13.10", "cuda>=13.9", True),
        ("13.10", "cuda>=13.10", True),
        ("13.10", "cuda>=13.11", False),
        ("12.9", "cuda>=12.10", False),
        ("12", "cuda>=12.0", True),
    ],
)
def test_minors_of_two_digits_are_numbers(cuda: str, text: str, *, holds: bool) -> None:
    assert met(text, "0", driver={**DRIVER, "cuda": cuda}) is holds


@pytest.mark.parametrize(
    ("devices", "holds"),
    [
        (["0"], True),
        (["GPU-AbC"], False),
        (["0", "GPU-AbC"], False),
        (["all"], False),
        (["GPU-aa"], True),
        (["gpu0"], True),
    ],
)
def test_each_selected_gpu_has_to_meet_it(devices: list[str], *, holds: bool) -> None:
    assert met("arch>=8.0", *devices) is holds


@pytest.mark.parametrize("name", ["0:2", "MIG-x", "mig0:2", "MIG-GPU-aa/1/0"])
def test_a_mig_device_has_the_figures_of_its_gpu(name: str) -> None:
    parent = {**H100, "migs": [{"index": 2, "uuid": "MIG-x", "gi": 1, "ci": 0}]}
    assert met("arch>=9.0", name, gpus=[T4, parent])
    assert not met("arch>=9.1", name, gpus=[T4, parent])


@pytest.mark.parametrize(
    ("text", "holds"), [("arch>=99", True), ("brand=tesla", True), ("cuda>=99", False)]
)
def test_without_a_gpu_only_the_driver_is_judged(text: str, *, holds: bool) -> None:
    assert met(text) is holds


def test_all_requirements_have_to_be_met() -> None:
    both = [("A", "cuda>=12"), ("B", "cuda>=13")]
    with pytest.raises(ToolkitError, match=r"^B: "):
        requirement.check(both, chosen("0"))


def test_the_error_names_what_is_there_what_is_needed_and_the_ways_out() -> None:
    with pytest.raises(ToolkitError) as caught:
        requirement.check([("NVIDIA_REQUIRE_CUDA", "cuda>=12.6")], chosen("0"))
    assert str(caught.value) == (
        "NVIDIA_REQUIRE_CUDA: this image needs cuda>=12.6, which is not met on GPU 0 "
        "(NVIDIA H100): driver 550.54.15, CUDA 12.4, architecture 9.0, brand Nvidia; take a newer "
        "driver, an image for an older CUDA, or one with forward compatibility packages "
        "(cuda-compat) that fit this driver; NVIDIA_DISABLE_REQUIRE=1 starts it anyway [REQ-UNMET]"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"driver": None, "gpus": []},
        {"driver": {"version": "", "cuda": ""}},
        {"driver": {"version": "550.54.15", "cuda": "unknown"}},
        {"driver": {}},
    ],
)
def test_what_nobody_knows_is_noted_and_fails_nothing(changes: dict[str, Any]) -> None:
    notes = requirement.check([("V", "cuda>=99")], chosen("0", **changes))
    assert [note.startswith("V=cuda>=99 could not be judged: ") for note in notes] == [True]
    assert notes[0].endswith("[REQ-UNKNOWN]")


@pytest.mark.parametrize(
    ("text", "holds"),
    [("driver>=1,cuda>=99", None), ("driver>=999,cuda>=99", False), ("cuda>=99 driver>=1", True)],
)
def test_an_unknown_figure_counts_only_where_the_rest_leaves_it_open(
    text: str, *, holds: bool | None
) -> None:
    known = chosen("0", driver={"version": "550.54.15", "cuda": ""})
    if holds is False:
        with pytest.raises(ToolkitError, match=r"REQ-UNMET"):
            requirement.check([("V", text)], known)
    else:
        assert len(requirement.check([("V", text)], known)) == (holds is None)


def test_a_device_of_another_vendor_is_not_judged() -> None:
    foreign = (specs.spec(kind="vendor.org/net"), ["0"])
    assert requirement.check([("V", "cuda>=12.4")], [*chosen("0"), foreign]) == []
    (note,) = requirement.check([("V", "cuda>=12.4")], [foreign])
    assert note.endswith("[REQ-UNKNOWN]")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("cuda>=", id="row68-no-value"),
        pytest.param(">=12", id="row68-no-property"),
        pytest.param("cuda", id="row68-no-operator"),
        pytest.param("((((", id="row68-brackets"),
        pytest.param("cuda>=12\n", id="row68-newline"),
        pytest.param("cuda>=12,", id="row68-hole"),
        pytest.param("cuda>=12.x", id="row68-letters"),
        pytest.param("cuda>=1_2", id="row68-underscore"),
        pytest.param("cuda>=１２", id="row68-full-width"),  # noqa: RUF001 - full-width digits are the point
        pytest.param("cuda>=-1", id="row68-negative"),
        pytest.param("cuda>=4294967296", id="row68-huge"),
        pytest.param("cuda=>12", id="row68-turned"),
        pytest.param("cuda==12", id="row68-twice"),
        pytest.param("cuda~12", id="row68-unknown-operator"),
        pytest.param("soc>=1", id="row68-unknown-property"),
        pytest.param("CUDA>=12", id="row68-capitals"),
        pytest.param("brand>=tesla", id="row68-ordered-brand"),
        pytest.param("cuda>=1.2.3.4.5.6.7.8.9", id="row68-many-parts"),
        pytest.param("csv-mounts=all", id="row68-mounts"),
        pytest.param("a" * 60_000, id="row68-long-word"),
    ],
)
def test_row68_what_is_no_requirement_is_an_error_naming_the_variable(text: str) -> None:
    with pytest.raises(ToolkitError, match=r"^NVIDIA_REQUIRE_X: .* \[REQ-REQUIRE\]$") as caught:
        requirement.parse(text, "NVIDIA_REQUIRE_X")
    assert len(str(caught.value)) < 400


def test_row68_a_requirement_without_end_is_an_error() -> None:
    with pytest.raises(ToolkitError, match=r"^V: longer than 65536 letters \[REQ-LENGTH\]$"):
        requirement.parse("cuda>=1 " * 10_000, "V")


@pytest.mark.parametrize(
    "text", ["cuda>=99 " * 7_000, "cuda>=12," * 7_000 + "cuda>=12", "9" * 65_000, "<" * 65_000]
)
def test_row68_reading_takes_time_in_proportion(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(ToolkitError):
        requirement.check([("V", text + (",cuda>=99" if "," in text else ""))], chosen("0"))
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("0", "cuda>=0.0"),
        ("8", "cuda>=8.0"),
        ("7.5", "cuda>=7.5"),
        ("9.0.116", "cuda>=9.0"),
        ("v11.6", "cuda>=11.6"),
        ("12.10.1", "cuda>=12.10"),
    ],
)
def test_an_old_image_needs_its_cuda(version: str, text: str) -> None:
    assert requirement.of_cuda(version, "CUDA_VERSION") == text


@pytest.mark.parametrize("version", ["9.4294967296", "9.0.116foo", "vv9", "", " 9", "9 "])
def test_row68_no_version_of_cuda_is_an_error(version: str) -> None:
    with pytest.raises(ToolkitError, match=r"^CUDA_VERSION: .* \[REQ-REQUIRE\]$"):
        requirement.of_cuda(version, "CUDA_VERSION")


@given(st.text(alphabet="cudriverachbn<>=!,. 0123456789\n(", max_size=200))
def test_any_text_is_a_requirement_or_an_error_of_ours(text: str) -> None:
    try:
        requirement.check([("V", text)], chosen("0"))
    except ToolkitError as error:
        assert error.identifier in ("REQ-REQUIRE", "REQ-UNMET")  # noqa: PT017 - either is fine
