# SPDX-License-Identifier: Apache-2.0
"""Every command that the pages show works as it is shown, in the page's order."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import checkout
import pytest
from command_line import gpubind
from gpubind_hooks import prestart

from gpubind_ctl.simulate import layout, profile

if TYPE_CHECKING:
    from pathlib import Path

DOCS = os.path.join(checkout.ROOT, "docs")
PAGES = ["README.md", *(f"docs/{name}" for name in sorted(os.listdir(DOCS)) if name[-3:] == ".md")]
SPAN = re.compile(r"`((?:gpubind|\./dev)(?: [^`]+)?)`")
WORD = re.compile(r"[A-Za-z]+(-[a-z]+)*")
CELL = re.compile(r"^\| ((?:`[^`]+`(?:, )?)+)", re.MULTILINE)
UUID = "GPU-3053168a-df05-5583-9bd2-27dee931d716"


def lines(page: str, program: str) -> list[str]:
    """Give each indented line of a page that starts a program, without the comment behind it."""
    text = checkout.text(checkout.ROOT, page)
    found = [line.strip() for line in text.splitlines() if line.startswith(f"    {program} ")]
    return [line.partition(" #")[0].rstrip() for line in found]


def commands(page: str) -> list[list[str]]:
    """Give the words behind `gpubind` of each such line."""
    return [shlex.split(line)[1:] for line in lines(page, "gpubind")]


@functools.cache
def about(*words: str) -> str:
    """Give the help of a command. Fails where there is no such command."""
    asked = gpubind(*words, "--help")
    assert (words, asked.status) == (words, 0)
    return asked.out


def block(page: str, first: str) -> str:
    """Give the indented lines of a page that begin with this one, empty where it has none."""
    _, found, rest = checkout.text(checkout.ROOT, page).partition(f"\n    {first}\n")
    return f"{found}{rest}".partition("\n\n")[0] + "\n"


@pytest.mark.parametrize(
    "page",
    [
        *("docs/simulate.md", "docs/cdi.md", "docs/config.md", "docs/configure.md"),
        *("docs/mig.md", "docs/driver-containers.md"),
    ],
)
def test_the_examples_of_a_page_work(page: str, tmp_path: Path) -> None:
    shown = commands(page)
    assert len(shown) > 3
    (tmp_path / "script.yaml").write_text(block(page, "acts:"))
    for words in shown:
        moved = [word.replace("/tmp/", f"{tmp_path}{os.sep}") for word in words]
        outcome = gpubind(*moved)
        assert (words, outcome.status, outcome.out + outcome.err != "") in [
            (words, 0, True),
            (words, 0, words[:2] != ["cdi", "compile"] and words[0] != "config"),
        ]


def test_the_commands_of_the_first_page_work_on_a_host_with_a_driver(tmp_path: Path) -> None:
    layout.lay_out(profile.load("t4"), f"{tmp_path}/node")
    state = f"--state-dir={tmp_path}/state"
    shown = commands("README.md")
    assert ["cdi", "generate", "--output", "/etc/cdi/nvidia.yaml"] in shown
    for words in shown:
        moved = [word.replace("/etc/", f"{tmp_path}{os.sep}") for word in words]
        env = {"NVIDIA_CTK_DRIVER_ROOT": f"{tmp_path}/node"}
        outcome = gpubind(*moved, *([state] if words[0] == "cdi" else []), env=env)
        assert (words, outcome.status) == (words, 0), outcome.err


@pytest.mark.parametrize("page", PAGES)
def test_each_command_and_option_that_a_page_names_exists(page: str) -> None:
    text = " ".join(checkout.text(checkout.ROOT, page).split())
    for span in [*SPAN.findall(text), *lines(page, "gpubind")]:
        program, *words = span.split()
        names = list(itertools.takewhile(WORD.fullmatch, words))
        if program == "./dev":
            assert (span, all(f"./dev {name}" in usage() for name in names[:1])) == (span, True)
        elif program == "gpubind":
            known = about(*(name for name in names if name.islower()))
            options = [word.partition("=")[0] for word in words if word.startswith("--")]
            assert (span, [word for word in options if word not in known]) == (span, [])


@functools.cache
def usage() -> str:
    program = os.path.join(checkout.ROOT, "dev")
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout


def test_the_first_page_has_every_program() -> None:
    rooms = ("hooks/bin", "packaging/bin")
    programs = {name for room in rooms for name in os.listdir(os.path.join(checkout.ROOT, room))}
    table = checkout.text(checkout.ROOT, "README.md").partition("| program |")[2]
    assert {cell.strip("`") for cell in CELL.findall(table)} == programs


def test_the_first_page_links_every_page() -> None:
    text = checkout.text(checkout.ROOT, "README.md")
    assert [page for page in PAGES[1:] if f"({page})" not in text] == []


def test_the_prestart_hooks_page_has_its_usage() -> None:
    (shown,) = lines("docs/prestart.md", "gpubind-runtime-hook")
    told = f"usage: {shown}"
    assert told == prestart.USAGE


def test_the_page_about_requests_has_no_name_that_is_none(tmp_path: Path) -> None:
    table = checkout.text(checkout.ROOT, "docs/requests.md").partition("| name | device |")[2]
    cells = CELL.findall(table.partition("\n\n")[0])
    names = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert len(names) > 7
    node = tmp_path / "node"
    layout.lay_out(profile.load("dgx-h100"), str(node))
    (tmp_path / "config.toml").write_text(
        f'[nvidia-container-cli]\nroot = "{node}"\n'
        f'[nvidia-container-runtime.modes.cdi]\nspec-dirs = ["{tmp_path}/cdi"]\n'
    )
    (tmp_path / "bundle/rootfs").mkdir(parents=True)
    state = f"--state-dir={tmp_path}/state"
    place = f"--output={tmp_path}/cdi/nvidia.yaml"
    assert gpubind("cdi", "generate", f"--driver-root={node}", place, state).status == 0
    assert {
        name: explained(tmp_path, name.replace("07:00", "1b:00").replace("GPU-…", UUID))
        for name in names
        if not (name.startswith("MIG-") or ":1" in name)  # there are none on this machine
    } == {
        "0": "/dev/nvidia0",
        "GPU-…": "/dev/nvidia0",
        "0000:07:00.0": "/dev/nvidia0",
        "nvidia.com/gpu=0": "/dev/nvidia0",
        "all": ", ".join(f"/dev/nvidia{number}" for number in range(8)),
        "none": "",
        "void": "",
    }


def explained(place: Path, devices: str) -> str:
    """Give the GPUs' nodes of a container that asks for these devices."""
    env = [f"NVIDIA_VISIBLE_DEVICES={devices}"]
    document = {"ociVersion": "1.0.2", "process": {"env": env}, "root": {"path": "rootfs"}}
    (place / "bundle/config.json").write_text(json.dumps(document))
    words = ("--bundle", f"{place}/bundle", "--config", f"{place}/config.toml")
    told = gpubind("explain", *words, "--state-dir", f"{place}/state")
    assert (devices, told.status) == (devices, 0), told.err
    return ", ".join(re.findall(r"device +(/dev/nvidia\d+) ", told.out))
