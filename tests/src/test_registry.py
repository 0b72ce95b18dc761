# SPDX-License-Identifier: Apache-2.0
"""CDI names resolved, and compiled specs trusted only while they fit their sources."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import specs
import trees

from gpubind import registry
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEC = specs.spec()
NET = specs.spec(kind="vendor.org/net", devices={"eth0": {}})


@pytest.fixture
def state(tmp_path: Path) -> str:
    """Give the state folder of a registry that fits its sources, a folder, a file, an absence."""
    trees.build(tmp_path, {"/cdi/nvidia.yaml": "cdiVersion: 0.5.0"})
    names = ("cdi", "cdi/nvidia.yaml", "absent", "config.toml")
    sources = [f"{tmp_path}/{name}" for name in names]
    specs.put(f"{tmp_path}/state", specs.compiled(SPEC), *sources)
    return f"{tmp_path}/state"


def folders(state: str) -> list[str]:
    return [f"{os.path.dirname(state)}/cdi", f"{os.path.dirname(state)}/absent"]


def test_what_fits_its_sources_is_taken(state: str) -> None:
    found = registry.current(folders(state), state)
    assert found is not None
    assert found["devices"] == {"nvidia.com/gpu=0": 0, "nvidia.com/gpu=GPU-AbC": 0}


def test_what_fits_is_loaded_without_the_generator(state: str) -> None:
    assert registry.load(specs.settings(*folders(state)), state)["generator"] == "a test"


def rewrite(path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write("cdiVersion: 0.6.0")


def same_size_and_time(path: str) -> None:
    times = os.stat(path)
    rewrite(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES: dict[str, Callable[[str], object]] = {
    "a file is changed": lambda place: rewrite(f"{place}/cdi/nvidia.yaml"),
    "a file is changed and its time put back": lambda p: same_size_and_time(f"{p}/cdi/nvidia.yaml"),
    "a file is touched": lambda place: os.utime(f"{place}/cdi/nvidia.yaml", ns=(1, 1)),
    "a file's mode is changed": lambda place: os.chmod(f"{place}/cdi/nvidia.yaml", 0o600),
    "a file is removed": lambda place: os.remove(f"{place}/cdi/nvidia.yaml"),
    "a file is added": lambda place: trees.build(place, {"/cdi/other.yaml": ""}),
    "a file is exchanged": lambda p: os.replace(
        trees.build(p, {"/n": "x"}) + "/n", f"{p}/cdi/nvidia.yaml"
    ),
    "the folder is removed": lambda place: os.rename(f"{place}/cdi", f"{place}/gone"),
    "a folder appears": lambda place: os.mkdir(f"{place}/absent"),
    "a configuration appears": lambda place: trees.build(place, {"/config.toml": ""}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_no_longer_fits_is_not_taken(state: str, change: str) -> None:
    CHANGES[change](os.path.dirname(state))
    assert registry.current(folders(state), state) is None


def test_a_folder_nobody_compiled_is_seen(state: str) -> None:
    assert registry.current([*folders(state), "/etc/cdi"], state) is None


def test_without_a_registry_there_is_none(tmp_path: Path) -> None:
    assert registry.current([], str(tmp_path)) is None


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646, 0o622])
def test_a_registry_that_others_may_write_is_refused(state: str, mode: int) -> None:
    os.chmod(f"{state}/compiled.json", mode)
    assert registry.current(folders(state), state) is None


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to give files away")
def test_a_registry_of_somebody_else_is_refused(state: str) -> None:
    os.chown(f"{state}/compiled.json", 1234, 0)
    assert registry.current(folders(state), state) is None


def test_a_registry_that_is_a_link_is_refused(state: str) -> None:
    os.rename(f"{state}/compiled.json", f"{state}/real.json")
    os.symlink("real.json", f"{state}/compiled.json")
    assert registry.current(folders(state), state) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format":1,"format":1}', '{"format":2}'])
def test_a_registry_that_is_damaged_or_of_another_format_is_refused(state: str, text: str) -> None:
    with open(f"{state}/compiled.json", "w", encoding="utf-8") as file:
        file.write(text)
    assert registry.current([], state) is None


def test_a_registry_that_is_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/compiled.json": trees.FIFO})
    assert registry.current([], str(tmp_path)) is None


def test_a_bare_name_belongs_to_the_default_kind() -> None:
    names = registry.qualified(["0", "a.b/c=1"], specs.settings())
    assert names == ["nvidia.com/gpu=0", "a.b/c=1"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], {}),
        (["nvidia.com/gpu=0"], {0: ["0"]}),
        (["nvidia.com/gpu=GPU-AbC", "nvidia.com/gpu=0"], {0: ["GPU-AbC", "0"]}),
        (["nvidia.com/gpu=gpu-abc", "nvidia.com/gpu=GPU-AbC"], {0: ["GPU-AbC"]}),
        (["vendor.org/net=eth0", "nvidia.com/gpu=0"], {1: ["eth0"], 0: ["0"]}),
    ],
)
def test_names_are_found_in_request_order(names: list[str], found: dict[int, list[str]]) -> None:
    given = registry.resolve(specs.compiled(SPEC, NET), names)
    assert (given, list(given)) == (found, list(found))


ERROR = {"path": "/etc/cdi/b.yaml", "message": "line 3: no"}


@pytest.mark.parametrize(
    ("names", "changes", "why"),
    [
        (["nvidia.com/gpu=7"], {}, "nvidia.com/gpu=7: nvidia.com/gpu has 0, GPU-AbC"),
        (["nvidia.com/gpu=GPU-x"], {}, "nvidia.com/gpu=GPU-x: nvidia.com/gpu has 0, GPU-AbC"),
        (["nvidia.com/gpu="], {}, "nvidia.com/gpu=: nvidia.com/gpu has 0, GPU-AbC"),
        (["nvidia.com/gpu=0=1"], {}, "nvidia.com/gpu=0=1: nvidia.com/gpu has 0, GPU-AbC"),
        (["VENDOR.org/net=eth0"], {}, "VENDOR.org/net=eth0: no spec describes VENDOR.org/net"),
        (["vendor.org/net=ETH0"], {}, "vendor.org/net=ETH0: vendor.org/net has eth0"),
        (["vendor.org/ne=eth0"], {}, "vendor.org/ne=eth0: no spec describes vendor.org/ne"),
        (
            ["a.b/c=0", "nvidia.com/gpu=0", "a.b/c=1"],
            {},
            "a.b/c=0, a.b/c=1: no spec describes a.b/c",
        ),
        (
            ["nvidia.com/gpu=7"],
            {"conflicts": {"nvidia.com/gpu=7": ["/etc/cdi/a", "/etc/cdi/b"]}},
            "nvidia.com/gpu=7: nvidia.com/gpu=7 stands in /etc/cdi/a and /etc/cdi/b",
        ),
        (
            ["nvidia.com/gpu=7"],
            {"errors": [ERROR]},
            "nvidia.com/gpu=7: not in a readable spec; /etc/cdi/b.yaml: line 3: no",
        ),
    ],
)
def test_a_name_that_is_not_there_is_told_with_the_reason(
    names: list[str], changes: Any, why: str
) -> None:
    with pytest.raises(ToolkitError) as caught:
        registry.resolve(specs.compiled(SPEC, NET, **changes), names)
    assert str(caught.value) == (
        f"unresolvable CDI devices {why}; 'gpubind cdi list' shows what there is [REGISTRY-DEVICE]"
    )


def test_a_kind_that_begins_alike_is_another_kind() -> None:
    longer = specs.spec(kind="nvidia.com/gpu-old", devices={"old": {}})
    with pytest.raises(ToolkitError) as caught:
        registry.resolve(specs.compiled(SPEC, longer), ["nvidia.com/gpu=7"])
    assert "nvidia.com/gpu has 0, GPU-AbC;" in str(caught.value)


def test_a_long_list_of_names_is_cut() -> None:
    many = specs.spec(devices={str(number): {} for number in range(99)})
    with pytest.raises(ToolkitError, match=r"has 0, 1, .* 11, …;") as caught:
        registry.resolve(specs.compiled(many), [f"nvidia.com/gpu=x{n}" for n in range(999)])
    assert len(str(caught.value)) < 400


def test_of_two_specs_of_a_kind_the_higher_priority_comes_first() -> None:
    low, high = specs.spec(priority=0), specs.spec(priority=1)
    assert registry.of_kind(specs.compiled(low, NET, high), specs.KIND) == [high, low]
