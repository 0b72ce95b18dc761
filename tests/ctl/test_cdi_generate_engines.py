# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi generate` without --cdi-version-max: what the engines installed read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command_line import Outcome, gpubind

if TYPE_CHECKING:
    import os
    from pathlib import Path


def generate(root: Path, *words: str | os.PathLike[str], env: dict[str, str]) -> Outcome:
    return gpubind("cdi", "generate", "--driver-root", root, *words, env=env)


def engine(folder: Path, release: str) -> dict[str, str]:
    """Install an engine and give the environment it is found in."""
    folder.mkdir()
    (folder / "podman").write_text(f"#!/bin/sh\necho podman version {release}\n")
    (folder / "podman").chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.root
def test_the_oldest_engine_installed_says_the_version(t4: Path, tmp_path: Path) -> None:
    old, new = engine(tmp_path / "old", "4.3.1"), engine(tmp_path / "new", "5.8.6")
    words = ("--output", tmp_path / "x.json", "--state-dir", tmp_path)
    outcome = generate(t4, *words, env=old)
    assert (outcome.status, outcome.err) == (
        0,
        f"gpubind: {tmp_path}/x.json: CDI 0.5.0, 3 devices of nvidia.com/gpu; "
        "left out for podman 4.3.1: additionalGids (needs CDI 0.7.0)\n",
    )
    assert ": CDI 0.7.0, 3 devices of nvidia.com/gpu\n" in generate(t4, *words, env=new).err
    both = {"PATH": f"{old['PATH']}:{new['PATH']}"}
    assert ": CDI 0.5.0," in generate(t4, *words, env=both).err


def test_what_an_installed_engine_cannot_read_at_all_is_written_and_said(
    t4: Path, tmp_path: Path
) -> None:
    outcome = generate(t4, "--class", "gpu.x", env=engine(tmp_path / "bin", "4.3.1"))
    assert (outcome.status, "\ncdiVersion: 0.6.0\n" in outcome.out) == (0, True)
    assert outcome.err == (
        "gpubind: podman 4.3.1 reads CDI 0.5.0 at most and ignores this: "
        "a dot in the class needs 0.6.0\n"
    )


def test_an_engine_that_is_too_old_for_any_spec_of_ours_spoils_none(
    t4: Path, tmp_path: Path
) -> None:
    outcome = generate(t4, env=engine(tmp_path / "bin", "4.1.0"))
    assert (outcome.status, outcome.out.startswith("---\ncdiVersion: 0.5.0\n")) == (0, True)
    assert "additionalGids" not in outcome.out
    assert "podman 4.1.0 reads CDI 0.4.0 at most and ignores this" in outcome.err
