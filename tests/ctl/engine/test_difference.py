# SPDX-License-Identifier: Apache-2.0
"""`--dry-run`: its diff is what is then done, to the byte, and it does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trees
from engine_runs import runtime

from gpubind_ctl.engine import difference
from gpubind_ctl.engine.engine import Edit

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {
    "docker": '{"debug": true,\r\n\t"runtimes": {}}',
    "containerd": '# ours\nversion = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  x = 1',
    "crio": '[crio.runtime]\r\ndefault_runtime = "crun"\r\n[crio.runtime.runtimes.crun]\r\n',
    "podman": '\ufeff[engine]\nruntime = "crun"  # mine\n',
}


def files(place: Path) -> dict[str, tuple[bytes, int]]:
    found = (path for path in place.rglob("*") if path.is_file() and "state" not in path.parts)
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def diff(before: dict[str, tuple[bytes, int]], after: dict[str, tuple[bytes, int]]) -> str:
    names = sorted({*before, *after})
    pairs = [(one, before.get(one, (None, 0))[0], after.get(one, (None, 0))[0]) for one in names]
    return difference.unified([Edit(*pair) for pair in pairs if pair[1] != pair[2]])


@pytest.mark.parametrize("text", [True, False], ids=["a file", "no file"])
@pytest.mark.parametrize("engine", TEXTS)
def test_a_dry_run_shows_what_is_then_done(
    tmp_path: Path,
    engine: str,
    text: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    if text:
        trees.build(tmp_path, {"/daemon.json": TEXTS[engine]})
    place = ("--drop-in-config=",) if engine == "crio" else ()
    words = ("--set-as-default", "--nvidia-runtime-name=gpu")
    for verb, given in (("configure", words), ("unconfigure", ())):
        before = files(tmp_path)
        dry = runtime(verb, tmp_path, "--dry-run", *place, *given, engine=engine)
        assert (dry.status, files(tmp_path)) == (0, before), dry.err
        assert runtime(verb, tmp_path, *place, *given, engine=engine).status == 0
        after = files(tmp_path)
        assert after != before
        assert dry.out == diff(before, after).replace("\r\n", "\n")  # as `gpubind` reads it
        assert runtime(verb, tmp_path, *place, *given, engine=engine).status == 0
        assert files(tmp_path) == after
    assert {key: data for key, (data, _) in files(tmp_path).items()} == (
        {f"{tmp_path}/daemon.json": TEXTS[engine].encode()} if text else {}
    )


def test_a_source_that_is_a_command_is_said_not_to_be_asked(tmp_path: Path) -> None:
    for engine in TEXTS:
        outcome = runtime(
            "configure", tmp_path, "--config-source=command", "--dry-run", engine=engine
        )
        said = f"gpubind: warning: {engine}'s files are read all the same, as {engine} reads them"
        assert said in outcome.err.splitlines()
