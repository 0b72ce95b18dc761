# SPDX-License-Identifier: Apache-2.0
"""Nothing an image or an environment brings runs inside a launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import checkout
import pytest
import specs
import trees

if TYPE_CHECKING:
    from pathlib import Path

    from installed import Prefix

HOOK = ["create-symlinks", "--link", "t::/l", "update-ldcache", "--folder", "/f"]
TRAPPED = (
    *("json", "os", "re", "enum", "typing", "codecs", "encodings", "errno", "_json", "_ctypes"),
    *("gpubind", "gpubind_hooks", "sitecustomize", "usercustomize", "time", "fcntl", "tomllib"),
)


@pytest.fixture
def trap(tmp_path: Path) -> str:
    """Give a folder full of modules and files that leave a mark where one of them runs."""
    mark = f"open({str(tmp_path / 'owned')!r}, 'w')\n"
    tree: dict[str, str | bytes | trees.Special] = {f"/{name}.py": mark for name in TRAPPED}
    lib = f"/.local/lib/python3.{sys.version_info.minor}/site-packages"
    tree |= {f"{lib}/x.pth": f"import os; {mark}", f"{lib}/usercustomize.py": mark}
    tree |= {"/python3": f"#!/bin/sh\ntouch {tmp_path}/owned\n", "/rc": mark}
    return trees.build(tmp_path / "trap", tree)


def environments(trap: str) -> dict[str, dict[str, str]]:
    return {
        "nothing": {},
        "PYTHONPATH": {"PYTHONPATH": f"{trap}:."},
        "HOME": {"HOME": trap, "PYTHONUSERBASE": f"{trap}/.local"},
        "PYTHONHOME": {"PYTHONHOME": trap},
        "PYTHONSTARTUP": {"PYTHONSTARTUP": f"{trap}/rc", "PYTHONINSPECT": "1"},
        "PATH": {"PATH": trap},
        "caches": {"PYTHONPYCACHEPREFIX": trap, "PYTHONPLATLIBDIR": "."},
        "warnings": {"PYTHONWARNINGS": "error", "PYTHONBREAKPOINT": "json.x", "PYTHONDEBUG": "1"},
        "verbose": {"PYTHONVERBOSE": "1", "PYTHONPROFILEIMPORTTIME": "1", "PYTHONDUMPREFS": "1"},
        "locale": {"LC_ALL": "C", "LANG": "xx_YY", "LOCPATH": trap, "PYTHONIOENCODING": "none"},
        "virtual": {"VIRTUAL_ENV": trap, "__PYVENV_LAUNCHER__": trap},
        "configuration": {"XDG_CONFIG_HOME": trap, "TMPDIR": trap, "PYTHONCASEOK": "1"},
    }


WAYS = sorted(environments(""))


@pytest.mark.parametrize("way", WAYS)
def test_the_hook_runs_nothing_of_the_image(prefix: Prefix, trap: str, way: str) -> None:
    state = {"bundle": prefix.bundle({}), "root": "rootfs"}
    done = prefix.start(
        "gpubind-cdi-hook",
        HOOK,
        data=json.dumps(state).encode(),
        env=environments(trap)[way],
        cwd=trap,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not os.path.exists(f"{trap}/../owned")


@pytest.mark.parametrize("way", [way for way in WAYS if way != "PATH"])
def test_the_shim_runs_nothing_of_the_image(prefix: Prefix, trap: str, way: str) -> None:
    prefix.runtime()
    prefix.specs(specs.spec())
    env = ["NVIDIA_VISIBLE_DEVICES=0"]
    bundle = prefix.bundle({"root": {"path": "rootfs"}, "process": {"env": env}})
    words = ["create", "--bundle", bundle, "id"]
    done = prefix.start("gpubind-runtime", words, env=environments(trap)[way], cwd=trap)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert prefix.called() == words
    assert not os.path.exists(f"{trap}/../owned")


@pytest.mark.parametrize("launcher", ["gpubind-cdi-hook", "gpubind-runtime"])
def test_bytes_that_are_no_text_harm_nothing(prefix: Prefix, launcher: str) -> None:
    prefix.runtime()
    words: list[str | bytes] = [f"{prefix.path}/bin/{launcher}", b"--version"]
    env = {b"PATH": prefix.path.encode() + b"/runtimes", b"A\xff": b"\xfe", b"B": b"=\n" * 9999}
    done = subprocess.run(words, check=False, capture_output=True, env=env)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_trap_would_be_seen(trap: str) -> None:
    words = ["/usr/bin/python3", "-c", "import json"]
    subprocess.run(words, check=False, cwd=trap, env={}, capture_output=True)
    assert os.path.exists(f"{trap}/../owned")


def test_a_launcher_reads_the_code_beside_it_and_no_other(prefix: Prefix) -> None:
    words = ["/usr/bin/python3", "-IS", "-v", f"{prefix.path}/bin/gpubind-cdi-hook", "--version"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env={})
    ours = [
        line for line in done.stderr.splitlines() if "gpubind" in line and "code object" in line
    ]
    assert ours
    assert not [line for line in ours if prefix.path not in line]
    assert f"{checkout.ROOT}/" not in done.stderr
