# SPDX-License-Identifier: Apache-2.0
"""Who may import what: layers, one door per package, the start path, pure code."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = {"gpubind", "gpubind_hooks", "gpubind_cdi", "gpubind_ctl", "gpubind_plugin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where a package may be imported: files that match `files`, `limit` of them at most."""

    files: str
    limit: int = 1000


DOORS = {
    "click": Door(files="src/gpubind_[cp]*/*"),
    "tomlkit": Door(files="src/gpubind_ctl/toml.py"),
    "yaml": Door(files="cdi/gpubind_cdi/*", limit=1),
    "jsonschema": Door(files="cdi/gpubind_cdi/*", limit=1),
    "pynvml": Door(files="cdi/gpubind_cdi/nvml.py"),
    "elftools": Door(files="tests/*"),
    "grpc": Door(files="src/gpubind_plugin/api/*"),
    "google": Door(files="src/gpubind_plugin/api/*"),
    "prometheus_client": Door(files="src/gpubind_plugin/metrics.py"),
}

# Measured over a bare `python3 -IS`: 6 to 14 ms each, or one that pulls such a module in.
COSTLY = {
    *("argparse", "asyncio", "collections", "concurrent", "contextlib", "copy", "dataclasses"),
    *("datetime", "email", "enum", "functools", "glob", "hashlib", "http", "importlib", "inspect"),
    *("json", "logging", "multiprocessing", "pathlib", "pickle", "random", "re", "selectors"),
    *("shlex", "shutil", "socket", "ssl", "string", "subprocess", "tempfile", "textwrap"),
    *("threading", "tomllib", "traceback", "typing", "unittest", "urllib", "uuid", "zipfile"),
}

PURE = (
    "src/gpubind/edits.py",
    "src/gpubind/modifier*.py",
    "src/gpubind/modifier*/*.py",
    "src/gpubind/capability.py",
    "src/gpubind/asked.py",
    "src/gpubind/devicename.py",
    "src/gpubind/naming.py",
    "src/gpubind/policy.py",
    "src/gpubind/request.py",
    "src/gpubind/requirement.py",
    "src/gpubind/ldcache.py",
    "src/gpubind/ldformat.py",
    "src/gpubind/ldsoconf.py",
    "src/gpubind/words.py",
    "cdi/gpubind_cdi/transform/*.py",
    "cdi/gpubind_cdi/version.py",
    "src/gpubind_ctl/engine/engine.py",
    "src/gpubind_ctl/engine/place.py",
    "src/gpubind_ctl/engine/json*.py",
    "src/gpubind_ctl/engine/unit.py",
    "src/gpubind_ctl/engine/docker.py",
    "src/gpubind_ctl/engine/podman.py",
    "src/gpubind_ctl/engine/containerd*.py",
    "src/gpubind_ctl/engine/crio*.py",
)
IMPURE = {
    *("ctypes", "fcntl", "glob", "io", "mmap", "multiprocessing", "os", "pathlib", "posix"),
    *("select", "selectors", "shutil", "signal", "socket", "subprocess", "tempfile"),
}


def lint(root: str) -> subprocess.CompletedProcess[str]:
    """Run this project's import contracts over the packages under `root`."""
    shutil.copy(os.path.join(checkout.ROOT, "pyproject.toml"), os.path.join(root, "contracts.toml"))
    rooms = os.pathsep.join(os.path.join(root, room) for room in checkout.CODE)
    program = "from importlinter import cli; raise SystemExit(cli.lint_imports_command())"
    return subprocess.run(
        [sys.executable, "-c", program, "--config", "contracts.toml", "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": rooms, "PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )


def doors(root: str) -> Iterator[str]:
    """Give the imports of foreign packages that do not go through their door."""
    through: dict[str, set[str]] = {}
    for name in checkout.python(root, *checkout.CODE):
        for found in checkout.imports(root, name):
            package = found.module.partition(".")[0]
            if package in OURS or package in sys.stdlib_module_names:
                continue
            door = DOORS.get(package)
            if door is None or not fnmatch.fnmatch(name, door.files):
                yield f"{name}:{found.line}: {package} is not imported here"
            through.setdefault(package, set()).add(name)
    for package, names in through.items():
        if package in DOORS and len(names) > DOORS[package].limit:
            yield f"{package} has more than one door: {', '.join(sorted(names))}"


def start_path(root: str) -> Iterator[str]:
    """Give the imports the start path may not have. A types.py is for the type checker only."""
    for name in checkout.python(root, "src/gpubind", "hooks"):
        if name.endswith("/types.py"):
            continue
        for found in checkout.imports(root, name):
            package, _, rest = found.module.partition(".")
            if package in OURS and "types" in rest.split("."):
                yield f"{name}:{found.line}: {found.module} is for the type checker only"
            elif package not in sys.stdlib_module_names | {"gpubind", "gpubind_hooks"}:
                yield f"{name}:{found.line}: {package} is not in the standard library"
            elif found.top and package in COSTLY:
                yield f"{name}:{found.line}: {package} is too costly at import time"


def pure(root: str) -> Iterator[str]:
    """Give the imports, and the uses of open(), of code that may not touch the machine."""
    for name in checkout.python(root, *checkout.CODE):
        if not any(fnmatch.fnmatch(name, pattern) for pattern in PURE):
            continue
        for found in checkout.imports(root, name):
            if found.module.partition(".")[0] in IMPURE:
                yield f"{name}:{found.line}: {found.module} in pure code"
        for number, line in enumerate(checkout.text(root, name).split("\n"), 1):
            if line.lstrip().startswith(("with open(", "open(")) or " = open(" in line:
                yield f"{name}:{number}: open() in pure code"


def test_imports_go_down_only(tmp_path: Path) -> None:
    for room in checkout.CODE:
        os.symlink(os.path.join(checkout.ROOT, room), tmp_path / room)
    result = lint(os.fspath(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_import_upwards_or_sideways_is_seen(tmp_path: Path) -> None:
    root = checkout.grow(
        tmp_path,
        {
            "src/gpubind/__init__.py": "",
            "src/gpubind/core.py": "import gpubind_cdi\n",
            "cdi/gpubind_cdi/__init__.py": "",
            "hooks/gpubind_hooks/__init__.py": "import gpubind_cdi\n",
            "src/gpubind_ctl/__init__.py": "",
            "src/gpubind_plugin/__init__.py": "",
        },
    )
    result = lint(root)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "gpubind.core -> gpubind_cdi" in result.stdout
    assert "gpubind_hooks -> gpubind_cdi" in result.stdout


def test_each_foreign_package_has_one_door() -> None:
    assert list(doors(checkout.ROOT)) == []


def test_a_second_door_is_seen(tmp_path: Path) -> None:
    root = checkout.grow(
        tmp_path,
        {
            "cdi/gpubind_cdi/a.py": "def load():\n    import yaml\n",
            "cdi/gpubind_cdi/b.py": "from yaml import nodes\n",
            "cdi/gpubind_cdi/c.py": "import requests\n",
            "src/gpubind_ctl/d.py": "import pynvml\nimport click\nimport json\n",
        },
    )
    assert set(doors(root)) == {
        "cdi/gpubind_cdi/c.py:1: requests is not imported here",
        "src/gpubind_ctl/d.py:1: pynvml is not imported here",
        "yaml has more than one door: cdi/gpubind_cdi/a.py, cdi/gpubind_cdi/b.py",
    }


def test_the_start_path_imports_little_and_only_the_standard_library() -> None:
    assert list(start_path(checkout.ROOT)) == []


def test_a_costly_or_foreign_import_on_the_start_path_is_seen(tmp_path: Path) -> None:
    lazy = (
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import typing\ndef f():\n    import json\n"
    )
    root = checkout.grow(
        tmp_path,
        {
            "src/gpubind/a.py": "import os\ntry:\n    import json\nexcept ImportError:\n    pass\n",
            "src/gpubind/b.py": lazy,
            "src/gpubind/oci/types.py": "import typing\n",
            "src/gpubind/d.py": "def f():\n    import gpubind.oci.types\n",
            "hooks/gpubind_hooks/c.py": "def f():\n    import yaml\n",
            "hooks/bin/gpubind-x": "#!/usr/bin/python3 -IS\nfrom dataclasses import dataclass\n",
        },
    )
    assert set(start_path(root)) == {
        "src/gpubind/a.py:3: json is too costly at import time",
        "src/gpubind/d.py:2: gpubind.oci.types is for the type checker only",
        "hooks/gpubind_hooks/c.py:2: yaml is not in the standard library",
        "hooks/bin/gpubind-x:2: dataclasses is too costly at import time",
    }


def test_pure_code_never_touches_the_machine() -> None:
    assert list(pure(checkout.ROOT)) == []


def test_impure_code_in_a_pure_module_is_seen(tmp_path: Path) -> None:
    root = checkout.grow(
        tmp_path,
        {
            "src/gpubind/edits.py": "def f():\n    import os.path\n",
            "src/gpubind/plan.py": "import os\n",
            "cdi/gpubind_cdi/transform/root.py": "from subprocess import run\nx = open('y')\n",
        },
    )
    assert set(pure(root)) == {
        "src/gpubind/edits.py:2: os.path in pure code",
        "cdi/gpubind_cdi/transform/root.py:1: subprocess in pure code",
        "cdi/gpubind_cdi/transform/root.py:1: subprocess.run in pure code",
        "cdi/gpubind_cdi/transform/root.py:2: open() in pure code",
    }
