# SPDX-License-Identifier: Apache-2.0
"""What container starts and tools cost with many specs and devices: counted, never timed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import cdidocs
import pytest
import spec_folders
import specs
from gpubind_cdi import compile as compiling
from steps import calls, lines

from gpubind import registry
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = 1000


def foreign(folder: Path, count: int) -> tuple[str, str]:
    """Write specs of others and compile them; give their folder and the state's."""
    files = {
        f"s{number}": cdidocs.spec(kind=f"vendor{number}.org/thing") for number in range(count)
    }
    folder.mkdir(exist_ok=True)
    state = str(folder / "state")
    place = spec_folders.lay(folder / "cdi", **files)
    compiling.write(state, compiling.compiled({}, [place], f"{state}/sidecars"))
    return place, state


def compiled(folder: str) -> int:
    """Count the lines that compiling a folder takes, tables that are read once aside."""
    compiling.compiled({}, [folder], "/none")
    return lines(lambda: compiling.compiled({}, [folder], "/none"))


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return foreign(tmp_path_factory.mktemp("scale"), FILES)


def test_a_start_costs_one_stat_for_each_foreign_spec_and_nothing_else(
    thousand: tuple[str, str], tmp_path: Path
) -> None:
    place, state = thousand
    few, few_state = foreign(tmp_path, 10)
    many = calls(lambda: registry.current([place], state))
    less = calls(lambda: registry.current([few], few_state))
    assert registry.current([place], state) is not None
    assert many - less == Counter(stat=FILES - 10, open=1, close=1)
    assert less["stat"] <= 10 + 4  # the spec directory, the state's and the configuration


def test_a_start_for_a_gpu_reads_no_spec_of_others(thousand: tuple[str, str]) -> None:
    compiled = registry.current([thousand[0]], thousand[1])
    assert compiled is not None
    assert (compiled["specs"], compiled["stamps"].keys() & {f"{thousand[0]}/s1.yaml"}) == (
        [],
        set(),
    )
    assert registry.of_kind(compiled, "nvidia.com/gpu") == []
    assert compiled["specs"] == []


def test_a_device_of_others_is_found_where_it_is_kept_apart(thousand: tuple[str, str]) -> None:
    compiled = registry.current([thousand[0]], thousand[1])
    again = registry.current([thousand[0]], thousand[1])
    assert compiled is not None
    assert again is not None
    assert len(registry.of_kind(again, "vendor999.org/thing")) == 1
    found = registry.resolve(compiled, ["vendor999.org/thing=gpu0", "vendor0.org/thing=gpu0"])
    kinds = [compiled["specs"][index]["kind"] for index in found]
    assert kinds == ["vendor999.org/thing", "vendor0.org/thing"]
    assert len(registry.whole(compiled)["specs"]) == FILES
    with pytest.raises(ToolkitError, match=r"vendor1\.org/thing has gpu0"):
        registry.resolve(compiled, ["vendor1.org/thing=none"])


def test_gpus_among_many_specs_of_others_are_read_at_once(tmp_path: Path) -> None:
    lay = {f"s{number}": cdidocs.spec(kind=f"vendor{number}.org/thing") for number in range(40)}
    place = spec_folders.lay(tmp_path / "cdi", a=cdidocs.spec(), **lay)
    made = compiling.compiled({}, [place], "/none")
    compiling.write(str(tmp_path), made)
    found = registry.current([place], str(tmp_path))
    assert found is not None
    assert [spec["kind"] for spec in found["specs"]] == ["nvidia.com/gpu"]
    assert registry.resolve(found, ["nvidia.com/gpu=gpu0"]) == {0: ["gpu0"]}
    whole = registry.whole(found)
    assert {name: whole["specs"][at]["path"] for name, at in whole["devices"].items()} == {
        name: made["specs"][at]["path"] for name, at in made["devices"].items()
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.touch(),
        lambda file: file.unlink(),
        lambda file: file.chmod(0o600),
        lambda file: file.write_bytes(file.read_bytes()),
        lambda file: (file.parent / "new.yaml").touch(),
        lambda file: file.rename(file.parent / "other.yaml"),
    ],
)
def test_any_change_of_a_file_kept_apart_is_seen(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    place, state = foreign(tmp_path, 40)
    assert registry.current([place], state) is not None
    change(tmp_path / "cdi/s13.yaml")
    assert registry.current([place], state) is None


def test_a_changed_file_among_a_few_is_seen(tmp_path: Path) -> None:
    place, state = foreign(tmp_path, 20)
    (tmp_path / "cdi/s13.yaml").touch()
    assert registry.current([place], state) is None


def test_a_device_among_ten_thousand_is_found_in_the_same_steps() -> None:
    def steps(count: int) -> int:
        devices: Any = {f"gpu{number}": {} for number in range(count)}
        compiled = specs.compiled(specs.spec(kind="vendor.org/gpu", devices=devices))
        return lines(lambda: registry.resolve(compiled, ["vendor.org/gpu=gpu7"]))

    assert steps(10_000) == steps(100)


def test_twice_the_specs_take_twice_the_steps_to_compile(tmp_path: Path) -> None:
    few, _ = foreign(tmp_path / "few", 20)
    many, _ = foreign(tmp_path / "many", 40)
    assert compiled(many) <= 2.1 * compiled(few)


def test_twice_the_devices_take_twice_the_steps_to_compile(tmp_path: Path) -> None:
    def steps(count: int) -> int:
        devices = [cdidocs.device(f"d{number}") for number in range(count)]
        return compiled(spec_folders.lay(tmp_path / f"d{count}", one=cdidocs.spec(*devices)))

    assert steps(400) <= 2.1 * steps(200)
