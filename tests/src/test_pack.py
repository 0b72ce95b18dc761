# SPDX-License-Identifier: Apache-2.0
"""The pack of modules: used where it fits the interpreter, and done without where it does not."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from gpubind import pack, packing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PYTHON = "/usr/bin/python3"
SOURCE = "/src/"
USE = """
import sys
sys.path.insert(0, sys.argv[1])
from gpubind import pack
pack.use(sys.argv[1])
import gpubind.deep.thing as thing
print(thing.WORD, type(thing.__spec__.loader).__name__)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder of two packages as an installation has them, and their pack."""
    for package in ("gpubind/deep", "gpubind_hooks"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "gpubind/__init__.py").touch()
    (tmp_path / "gpubind/deep/thing.py").write_text("WORD = 'found'\n")
    for module in (pack, packing):
        source = module.__file__ or ""
        (tmp_path / "gpubind" / os.path.basename(source)).write_bytes(_read(source))
    program = "import sys; sys.path.insert(0, sys.argv[1]); from gpubind import packing as p"
    words = [PYTHON, "-IS", "-c", f"{program}; p.main(sys.argv)", os.fspath(tmp_path), SOURCE]
    subprocess.run(words, check=True)
    return tmp_path


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def imported(folder: Path, **more: object) -> str:
    """Give what the module says and which loader it came by."""
    words = [PYTHON, "-IS", "-c", USE, os.fspath(folder)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=20, **more)  # type: ignore[call-overload]
    assert done.stderr == ""
    return str(done.stdout).strip()


def test_a_module_comes_from_the_pack(folder: Path) -> None:
    (folder / "gpubind/deep/thing.py").unlink()
    assert imported(folder) == "found Pack"


def test_a_module_that_is_not_in_the_pack_is_looked_for_as_ever(folder: Path) -> None:
    (folder / "gpubind/deep/late.py").write_text("WORD = 'late'\n")
    program = USE.replace("deep.thing", "late")
    (folder / "gpubind/late.py").write_text("WORD = 'late'\n")
    words = [PYTHON, "-IS", "-c", program, os.fspath(folder)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "late SourceFileLoader"


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "its head cut": lambda data: data[:7],
    "cut short": lambda data: data[:-1],
    "longer": lambda data: data + b"x",
    "another interpreter's": lambda data: b"\0\0\0\0" + data[4:],
    "text": lambda _: b"not a pack at all, but long enough",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_pack_that_does_not_fit_is_done_without(folder: Path, damage: str) -> None:
    file = folder / pack.NAME
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    assert imported(folder) == "found SourceFileLoader"


def test_no_pack_is_done_without(folder: Path) -> None:
    (folder / pack.NAME).unlink()
    assert imported(folder) == "found SourceFileLoader"


def test_a_pipe_in_place_of_the_pack_does_not_hang(folder: Path) -> None:
    (folder / pack.NAME).unlink()
    os.mkfifo(folder / pack.NAME)
    assert imported(folder) == "found SourceFileLoader"


def test_a_pack_never_takes_the_place_of_a_closed_stdin(folder: Path) -> None:
    assert imported(folder, preexec_fn=lambda: os.close(0)) == "found SourceFileLoader"


def test_a_failure_names_the_place_the_installation_says(folder: Path) -> None:
    (folder / "gpubind/deep/thing.py").write_text("raise ValueError\n")
    subprocess.run(
        [PYTHON, "-IS", "-c", "import sys; sys.path.insert(0, sys.argv[1]); "
         "from gpubind import packing as p; p.main(sys.argv)", os.fspath(folder), SOURCE],
        check=True,
    )  # fmt: skip
    words = [PYTHON, "-IS", "-c", USE, os.fspath(folder)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert f'File "{SOURCE}/gpubind/deep/thing.py", line 1' in done.stderr


def test_two_packs_of_the_same_sources_are_the_same(folder: Path) -> None:
    assert packing.packed(os.fspath(folder), SOURCE) == packing.packed(os.fspath(folder), SOURCE)
