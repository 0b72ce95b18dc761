# SPDX-License-Identifier: Apache-2.0
"""The JSON twin of config.toml: read where it fits and only root or the caller may write it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import trees

from gpubind import config
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path


def twin(tmp_path: Path, **changes: Any) -> config.Config:
    """Load with a twin that says another thing than the file; `changes` make it misfit."""
    trees.build(tmp_path, {"/etc/config.toml": "disable-require = false\n"})
    file = f"{tmp_path}/etc/config.toml"
    values = {config.DISABLE_REQUIRE: True}
    known = {"file": file, "stamp": config.stamp(file), "values": values, **changes}
    trees.build(tmp_path, {"/state/config.json": json.dumps(known)})
    os.chmod(tmp_path / "state/config.json", 0o644)
    return config.load(f"{tmp_path}/etc", f"{tmp_path}/state", peer="")


def test_a_twin_that_fits_is_read_instead(tmp_path: Path) -> None:
    assert twin(tmp_path).flag(config.DISABLE_REQUIRE)


@pytest.mark.parametrize(
    "changes", [{"stamp": None}, {"stamp": [1, 2, 3, 4]}, {"file": "/other"}, {"values": 7}]
)
def test_a_twin_that_does_not_fit_is_not(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert not twin(tmp_path, **changes).flag(config.DISABLE_REQUIRE)


def test_what_was_read_is_kept_for_the_next_start(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/etc/config.toml": "disable-require = true", "/state": trees.FOLDER})
    where = (str(tmp_path / "etc"), str(tmp_path / "state"))
    assert config.load(*where).flag(config.DISABLE_REQUIRE)
    assert json.loads((tmp_path / "state/config.json").read_bytes()) == {
        "file": str(tmp_path / "etc/config.toml"),
        "stamp": config.stamp(str(tmp_path / "etc/config.toml")),
        "values": {"disable-require": True},
    }


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("x = 1979-05-27", {"/state": trees.FOLDER}),
        ("", {"/state": "a file"}),
        ("", {"/elsewhere": trees.FOLDER, "/state": "-> elsewhere"}),
        ("", {}),
    ],
    ids=["date", "file", "link", "absent"],
)
def test_what_cannot_be_kept_is_read_again(
    tmp_path: Path, text: str, state: dict[str, Any]
) -> None:
    trees.build(tmp_path, {"/etc/config.toml": f"disable-require = true\n{text}", **state})
    for _ in range(2):
        known = config.load(str(tmp_path / "etc"), str(tmp_path / "state"))
        assert known.flag(config.DISABLE_REQUIRE)
    assert not list(tmp_path.glob("*/config.json"))


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646, 0o622])
def test_a_twin_that_others_may_write_is_not_read(tmp_path: Path, mode: int) -> None:
    assert twin(tmp_path).flag(config.DISABLE_REQUIRE)
    os.chmod(tmp_path / "state/config.json", mode)
    found = config.load(f"{tmp_path}/etc", f"{tmp_path}/state", peer="")
    assert not found.flag(config.DISABLE_REQUIRE)


@pytest.mark.root
@pytest.mark.parametrize(("owner", "mode"), [(0, 0o666), (0, 0o620), (12345, 0o600)])
def test_root_reads_no_named_file_that_others_can_write(
    tmp_path: Path, owner: int, mode: int
) -> None:
    file = trees.build(tmp_path, {"/config.toml": "disable-require = true\n"}) + "/config.toml"
    named = {"NVIDIA_CTK_CONFIG_FILE_PATH": file}
    assert config.locate(environ=named) == file
    os.chmod(file, mode)
    os.chown(file, owner, owner)
    with pytest.raises(ToolkitError, match="others than root can write it"):
        config.locate(environ=named)
