# SPDX-License-Identifier: Apache-2.0
"""What the packages brought is put into use in one step, and nothing else."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import activate
import checkout
import contents
import install
import pytest

if TYPE_CHECKING:
    from pathlib import Path


class Host:
    """A host with `share`, what the packages unpacked, and `lib`, what is made of it."""

    def __init__(self, folder: Path) -> None:
        self.share, self.lib = f"{folder}/share", f"{folder}/lib"

    def unpack(self, part: str, version: str) -> None:
        """Put a part there as dpkg does: what was there is written over."""
        tree = {"runtime": contents.runtime, "tools": contents.tools}[part](version)
        for path, (data, mode) in tree.files.items():
            if path.startswith(f"{contents.SHARE}/{part}/"):
                target = path.replace(contents.SHARE, self.share)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as file:
                    file.write(data)
                os.chmod(target, mode)

    def activate(self) -> str:
        return activate.activate(self.share, self.lib)

    def start(self, program: str = "gpubind-cdi-hook") -> str:
        """Start a program through the link, and give what it says its version is."""
        words = [f"{self.lib}/current/bin/{program}", "--version"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.unpack("runtime", "1.0")
    made.activate()
    return made


def test_programs_start_from_the_folder_that_is_in_use(host: Host) -> None:
    name = os.readlink(f"{host.lib}/current")
    assert host.start() == "gpubind-cdi-hook version 1.0\n"
    assert name.startswith("1.0-")
    launcher = checkout.text(host.lib, "current/bin/gpubind-runtime")
    assert f'LIB = "{host.lib}/{name}"\n' in launcher
    assert os.path.exists(f"{host.lib}/{name}/start.pack")


def test_unpacking_changes_nothing_that_is_in_use(host: Host) -> None:
    host.unpack("runtime", "2.0")
    assert host.start() == "gpubind-cdi-hook version 1.0\n"
    host.activate()
    assert host.start() == "gpubind-cdi-hook version 2.0\n"


def test_the_version_before_stays_for_starts_under_way_and_only_that(host: Host) -> None:
    names = [os.readlink(f"{host.lib}/current")]
    for version in ("2.0", "3.0"):
        host.unpack("runtime", version)
        names.append(host.activate())
    assert sorted(os.listdir(host.lib)) == [*names[1:], "current"]


def test_doing_it_again_changes_nothing(host: Host) -> None:
    host.unpack("runtime", "2.0")
    host.activate()
    before = {name: os.stat(f"{host.lib}/{name}").st_ino for name in os.listdir(host.lib)}
    host.activate()
    assert {name: os.stat(f"{host.lib}/{name}").st_ino for name in os.listdir(host.lib)} == before


def test_tools_of_another_version_wait(host: Host) -> None:
    host.unpack("tools", "2.0")
    host.activate()
    assert not os.path.exists(f"{host.lib}/current/bin/gpubind")
    host.unpack("runtime", "2.0")
    host.activate()
    assert host.start("gpubind") != ""
    assert os.path.isdir(f"{host.lib}/current/tools/gpubind_ctl")


def test_code_that_cannot_be_compiled_leaves_what_was_there(host: Host) -> None:
    host.unpack("runtime", "2.0")
    with open(f"{host.share}/runtime/lib/gpubind/edits.py", "a", encoding="utf-8") as file:
        file.write("def broken(\n")
    with pytest.raises(subprocess.CalledProcessError):
        host.activate()
    assert host.start() == "gpubind-cdi-hook version 1.0\n"
    assert len(os.listdir(host.lib)) == 2  # nothing half-made


def test_what_was_left_by_a_kill_goes(host: Host) -> None:
    os.makedirs(f"{host.lib}/{activate.NEW}half/gpubind")
    os.symlink("nowhere", f"{host.lib}/{activate.NEW}link")
    host.unpack("runtime", "2.0")
    host.activate()
    assert [name for name in os.listdir(host.lib) if name.startswith(activate.NEW)] == []
    assert host.start() == "gpubind-cdi-hook version 2.0\n"


def test_an_installation_without_packages_gives_way(tmp_path: Path) -> None:
    install.install(str(tmp_path), tools=False)
    host = Host(tmp_path)
    host.lib = f"{tmp_path}/lib/gpubind"
    host.unpack("runtime", "1.0")
    name = host.activate()
    assert sorted(os.listdir(host.lib)) == [name, "current"]
    assert host.start() == "gpubind-cdi-hook version 1.0\n"


def test_a_name_tells_versions_and_codes_apart(host: Host) -> None:
    names = {activate.name_of(list(activate.parts(host.share)))}
    with open(f"{host.share}/runtime/lib/gpubind/edits.py", "a", encoding="utf-8") as file:
        file.write("# another\n")
    names.add(activate.name_of(list(activate.parts(host.share))))
    host.unpack("runtime", "2.0")
    names.add(activate.name_of(list(activate.parts(host.share))))
    assert len(names) == 3
