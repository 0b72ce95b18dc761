# SPDX-License-Identifier: Apache-2.0
"""Several files written one after the other: all of them, or as before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trees
from engine_driver import Quiet

from gpubind.errors import ToolkitError
from gpubind_ctl.engine import files
from gpubind_ctl.engine.engine import Edit

if TYPE_CHECKING:
    from pathlib import Path


def test_where_the_last_fails_those_before_it_are_taken_back(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/a": "old", "/gone": "was", "/last": trees.FOLDER})
    (tmp_path / "gone").chmod(0o600)
    edits = (
        Edit(f"{tmp_path}/a", b"old", b"new"),
        Edit(f"{tmp_path}/made", None, b"made"),
        Edit(f"{tmp_path}/gone", b"was", None),
        Edit(f"{tmp_path}/last", None, b"x"),
    )
    with pytest.raises(ToolkitError, match="is not a regular file"):
        files.write(edits, Quiet({}))
    assert (tmp_path / "a").read_bytes() == b"old"
    assert not (tmp_path / "made").exists()
    assert (tmp_path / "gone").read_bytes() == b"was"
    assert (tmp_path / "gone").stat().st_mode & 0o777 == 0o600


def test_what_somebody_else_wrote_in_between_is_not_written_over(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/a": "theirs"})
    with pytest.raises(files.ChangedError):
        files.write((Edit(f"{tmp_path}/a", b"old", b"new"),), Quiet({}))
    with pytest.raises(files.ChangedError):
        files.write((Edit(f"{tmp_path}/a", None, b"new"),), Quiet({}))
    with pytest.raises(files.ChangedError):
        files.write((Edit(f"{tmp_path}/a", b"old", None),), Quiet({}))
    assert (tmp_path / "a").read_bytes() == b"theirs"


def test_a_scratch_folder_gets_the_temporary_file(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/conf.d/a": "old", "/.a.7.0123456789ab.tmp": "left"})
    edit = Edit(f"{tmp_path}/conf.d/a", b"old", b"new", scratch=str(tmp_path))
    files.write((edit,), Quiet({}))
    assert sorted(trees.seen(tmp_path)) == [".", "conf.d", "conf.d/a"]
    assert (tmp_path / "conf.d/a").read_bytes() == b"new"
