# SPDX-License-Identifier: Apache-2.0
"""The compiled registry as it is written, its stamps, and the operator's keys beside it."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

import cdidocs
import pytest
from gpubind_cdi import compile as compiling
from gpubind_cdi import sources
from spec_folders import compiled, lay

from gpubind import config as core_config
from gpubind import configfile, registry
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_change_while_compiling_makes_the_stamp_stale(tmp_path: Path) -> None:
    """A file changes after its stamp and before the registry is used, in one tick of the clock."""
    etc = lay(tmp_path / "etc", a=cdidocs.spec(cdidocs.device("x")))
    found = compiled(etc)
    lay(tmp_path / "etc", a=cdidocs.spec(cdidocs.device("y")))  # same name, same size
    stamps = found["stamps"]
    assert any(core_config.stamp(path) != known for path, known in stamps.items())


def test_nothing_is_read_in_the_tick_of_its_last_change(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"x")
    sources.read(str(path), {os.geteuid()})
    assert time.time_ns() - os.stat(path).st_ctime_ns >= sources.TICK_NS


def test_thousands_of_bad_files_take_a_bounded_time(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", good=cdidocs.spec())
    for number in range(2000):
        (tmp_path / "etc" / f"x{number}.json").write_bytes(b"{}")
    start = time.process_time()
    found = compiled(etc)
    assert (len(found["errors"]), len(found["specs"])) == (2000, 1)
    assert time.process_time() - start < 5


def test_what_is_written_is_what_the_start_path_reads(tmp_path: Path) -> None:
    etc = lay(tmp_path / "etc", a=cdidocs.spec())
    state = f"{tmp_path}/run/gpubind"
    found = compiled(etc)
    old = os.umask(0o077)
    try:
        compiling.write(state, found)
        compiling.write(state, found)
    finally:
        os.umask(old)
    assert os.listdir(state) == ["compiled.json"]
    assert stat.S_IMODE(os.stat(state).st_mode) == 0o755
    assert stat.S_IMODE(os.stat(f"{state}/compiled.json").st_mode) == 0o644
    assert registry.current([etc], state) == found
    lay(tmp_path / "etc", b=cdidocs.spec())
    assert registry.current([etc], state) is None


def test_the_operator_s_keys_are_written_with_their_stamp(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[nvidia-container-runtime]\nruntimes = ["crun"]\nday = 2026-01-01\n')
    known = {str(file): core_config.stamp(str(file))}
    keys = configfile.keys(file.read_text(), str(file))
    found = compiling.compiled(keys, [], f"{tmp_path}/none", stamps=known)
    compiling.write(f"{tmp_path}/state", found, str(file))
    settings = core_config.load(str(tmp_path), f"{tmp_path}/state")
    assert settings.values == {"nvidia-container-runtime.runtimes": ["crun"]}
    assert found["stamps"][str(file)] == known[str(file)]


def test_a_registry_that_cannot_be_put_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "compiled.json").mkdir()
    with pytest.raises(IsADirectoryError):
        compiling.write(str(tmp_path), compiled())
    assert os.listdir(tmp_path) == ["compiled.json"]


def test_keys_of_a_config_are_flat() -> None:
    text = "disable-require = true\n[features]\na.b = 1\n[x.y]\nz = [1, 2]\n"
    assert configfile.keys(text, "config.toml") == {
        "disable-require": True,
        "features.a.b": 1,
        "x.y.z": [1, 2],
    }


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", f"a = {'[' * 5000}", "\0"])
def test_what_is_no_toml_is_refused(text: str) -> None:
    with pytest.raises(ToolkitError) as caught:
        configfile.keys(text, "/etc/gpubind/config.toml")
    assert str(caught.value).startswith("/etc/gpubind/config.toml: ")
    assert caught.value.identifier == "CONFIG-TOML"
