# SPDX-License-Identifier: Apache-2.0
"""`./dev install`: what is put where, and that an installation stands alone."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import activate
import install
import pytest

if TYPE_CHECKING:
    from pathlib import Path

LAUNCHERS = {"gpubind", "gpubind-cdi-hook", "gpubind-device-plugin", "gpubind-runtime"}
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True, env=ENVIRONMENT)


def listed(folder: Path) -> list[str]:
    return sorted(os.fspath(path.relative_to(folder)) for path in folder.rglob("*"))


def test_every_launcher_runs_from_the_prefix(tmp_path: Path) -> None:
    install.install(os.fspath(tmp_path))
    assert set(os.listdir(tmp_path / "bin")) >= LAUNCHERS
    answers = [
        run(os.fspath(tmp_path / "bin" / name), "--version") for name in sorted(LAUNCHERS)[:3]
    ]
    assert [answer.returncode for answer in answers] == [0, 0, 0]
    assert "0.1.0" in answers[0].stdout
    assert "0.1.0" in answers[2].stdout


def test_the_device_plugin_has_what_it_speaks_to_the_kubelet_with(tmp_path: Path) -> None:
    install.install(os.fspath(tmp_path))
    lib = os.fspath(tmp_path / "lib/gpubind")
    program = (
        f"import sys; sys.path[:0] = [{lib!r}, {lib!r} + '/tools']; "
        "from gpubind_plugin import keeper, metrics; print(metrics.__file__)"
    )
    answer = run("/usr/bin/python3", "-IS", "-c", program)
    assert answer.stdout == f"{lib}/tools/gpubind_plugin/metrics.py\n", answer.stderr


def test_every_command_of_the_tools_loads_what_it_needs_from_the_prefix(tmp_path: Path) -> None:
    install.install(os.fspath(tmp_path))
    node, spec = os.fspath(tmp_path / "node"), os.fspath(tmp_path / "nvidia.yaml")
    program = os.fspath(tmp_path / "bin/gpubind")
    laid_out = run(program, "simulate", "--profile", "t4", "--root", node)
    assert laid_out.returncode == 0, laid_out.stderr
    if os.geteuid() == 0:
        made = run(program, "cdi", "generate", "--driver-root", node, "--output", spec)
        assert made.returncode == 0, made.stderr
        assert run(program, "cdi", "validate", spec).returncode == 0
        assert os.listdir(tmp_path / "run/gpubind/sidecars")


def test_places_are_those_of_the_prefix(tmp_path: Path) -> None:
    install.install(os.fspath(tmp_path), tools=False)
    program = (
        f"import sys; sys.path.insert(0, '{tmp_path}/lib/gpubind'); from gpubind import paths;"
        "print(paths.ETC, paths.STATE, paths.LIB, paths.GENERATOR, paths.HOOK)"
    )
    told = run(activate.PYTHON, "-IS", "-c", program).stdout.split()
    inner = ("etc/gpubind", "run/gpubind", "lib/gpubind", "bin/gpubind", "bin/gpubind-cdi-hook")
    assert told == [f"{tmp_path}/{name}" for name in inner]


def test_without_a_prefix_places_stay_as_they_are() -> None:
    text = 'LIB = "/usr/lib/gpubind"\nETC = "/etc/gpubind"\n'
    assert install.moved(text, "/usr") == text


def test_only_whole_places_of_ours_are_moved() -> None:
    text = '"/usr/bin/gpubind" "/usr/bin/gpubind-cdi-hook" "/etc/gpubindings" "/usr/bin/python3"'
    want = '"/p/bin/gpubind" "/p/bin/gpubind-cdi-hook" "/etc/gpubindings" "/usr/bin/python3"'
    assert install.moved(text, "/p") == want


def test_installing_twice_changes_nothing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    install.install(os.fspath(tmp_path), tools=False)
    before = listed(tmp_path)
    install.install(os.fspath(tmp_path), tools=False)
    assert listed(tmp_path) == before


def test_what_an_older_installation_left_is_gone(tmp_path: Path) -> None:
    install.install(os.fspath(tmp_path), tools=False)
    (tmp_path / "lib/gpubind/gpubind/old.py").touch()
    install.install(os.fspath(tmp_path), tools=False)
    assert not (tmp_path / "lib/gpubind/gpubind/old.py").exists()


def test_everything_is_compiled_and_nobody_else_may_write_it(tmp_path: Path) -> None:
    before = os.umask(0)
    install.install(os.fspath(tmp_path), tools=False)
    assert os.umask(before) == 0
    for path in (tmp_path / "lib").rglob("*"):
        assert not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH), path
        assert path.stat().st_uid == os.geteuid()
    core = tmp_path / "lib/gpubind/gpubind"
    compiled = {path.name.partition(".")[0] for path in (core / "__pycache__").iterdir()}
    assert compiled == {path.stem for path in core.glob("*.py")}


def test_compiled_files_are_used_whatever_the_time_of_their_source(tmp_path: Path) -> None:
    install.install(os.fspath(tmp_path), tools=False)
    core = tmp_path / "lib/gpubind/gpubind"
    data = next((core / "__pycache__").glob("runtime.*.pyc")).read_bytes()
    assert data[4:8] == (0b01).to_bytes(4, "little")  # PEP 552: by hash, unchecked


def test_code_without_places_is_not_installed_under_a_prefix(tmp_path: Path) -> None:
    file = tmp_path / "paths.py"
    file.write_text('LIB = "/usr/lib/other"\n')
    with pytest.raises(install.InstallError, match=r"names no place"):
        install._rewrite(os.fspath(file), "/elsewhere")


def test_a_prefix_others_can_change_is_warned_of(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    inner = loose / "inner"
    inner.mkdir(0o755)
    warnings = list(install.exposed(os.fspath(inner)))
    assert (
        f"{loose} can be changed by others than root, and with it what containers start" in warnings
    )


def test_a_prefix_only_root_can_change_is_not_warned_of() -> None:
    assert list(install.exposed("/usr")) == []


def test_a_missing_package_is_named() -> None:
    with pytest.raises(install.InstallError, match=r"^no-such-package is not in \.venv"):
        install.needed(["no-such-package>=1"])


@pytest.mark.parametrize("prefix", ['/tmp/a"b', "/tmp/a\\b", "/tmp/a\nb"])
def test_a_prefix_that_cannot_stand_in_a_text_is_refused(
    prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        install.main(["--prefix", prefix])
    assert end.value.code == 2
    assert "plain text is needed" in capsys.readouterr().err
