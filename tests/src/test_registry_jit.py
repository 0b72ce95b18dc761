# SPDX-License-Identifier: Apache-2.0
"""The driver as it is now, as starts find it: used while its signs fit, else looked at again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import jit_places
import pytest
from jit_places import CHANGES, aged, makes, runs, serve, spec, wanted

from gpubind import jit, refresh
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return jit_places.made(tmp_path)


def test_the_driver_is_looked_at_once(place: Path) -> None:
    for _ in range(3):
        found, devices = serve(place, "1", "runtime.nvidia.com/gpu=0", "1")
        assert (found["kind"], devices) == (jit.KIND, ["1", "0"])
    assert runs(place) == 1


def test_none_is_the_driver_without_a_device(place: Path) -> None:
    found, devices = serve(place, "none")
    assert (found["kind"], devices) == (jit.KIND, [])


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_has_the_driver_looked_at_once_more(place: Path, change: str) -> None:
    serve(place)
    CHANGES[change](place)
    assert jit.current(str(place), f"{place}/state") is None
    serve(place)
    serve(place)
    assert runs(place) == 2


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"generator": "gpubind 0"}, {"root": "/elsewhere"}]
)
def test_what_another_version_or_root_left_is_not_used(
    place: Path, change: dict[str, object]
) -> None:
    serve(place)
    wanted(place, **change)
    makes(place)
    refresh.look(str(place), f"{place}/state", f"{place}/generator", fitting=True)
    assert jit.current(str(place), f"{place}/state") is None


def test_what_others_may_write_is_not_used(place: Path) -> None:
    serve(place)
    os.chmod(place / "state/jit.json", 0o666)
    assert jit.current(str(place), f"{place}/state") is None


def test_a_name_that_is_not_there_has_the_driver_looked_at_but_not_all_the_time(
    place: Path,
) -> None:
    serve(place)
    for _ in range(3):
        with pytest.raises(ToolkitError, match=r"gpu=7: .* has 0, 1; .* \[REGISTRY-DEVICE\]"):
            serve(place, "7")
    assert runs(place) == 1
    aged(place)
    for _ in range(3):
        with pytest.raises(ToolkitError, match="REGISTRY-DEVICE"):
            serve(place, "7")
    assert runs(place) == 2


def test_a_device_that_no_sign_told_of_is_found_by_its_name(place: Path) -> None:
    serve(place)
    aged(place)
    changed = spec(place)
    changed["devices"]["7"] = changed["devices"]["1"]
    wanted(place, specs=[changed], devices={f"{jit.KIND}=7": 0})
    assert serve(place, "7")[1] == ["7"]
    assert runs(place) == 2


def test_a_driver_described_in_part_serves_its_other_devices(place: Path) -> None:
    makes(place, status=3)
    assert serve(place, "0")[1] == ["0"]
