# SPDX-License-Identifier: Apache-2.0
"""Hostile images under real runtimes, runc and crun, by the rows of tests/rules/hostile_rows.txt.

What `test_hostile_roots` shows for runc is shown for crun here, with what lies between: traps that
lead from the container's root, and hook entries that others wrote without an environment.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from system import host, injected, roots
from system.engines.low_level import LowLevel
from system.test_hostile_roots import CASES, FILES, contents, fine_or_refused, trapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.nodes import Node
    from system.place import Place

pytestmark = pytest.mark.system

RUNC, CRUN = "/usr/sbin/runc", "/usr/bin/crun"
OPENS = ("/probe", "open", "/dev/nvidia0")
ALLOWED = "/dev/nvidia0: allowed\n"
SOME = [name for name in CASES if name in FILES or name.endswith((" relative", " through proc"))]


@pytest.fixture(scope="module")
def smallest(minimal_root: str, scratch: str) -> str:
    """A root with nothing but the static probe."""
    folder = os.path.join(scratch, "rows-smallest")
    os.makedirs(folder)
    shutil.copy(f"{minimal_root}/usr/bin/probe", f"{folder}/probe")
    return folder


@pytest.fixture
def outside(scratch: str) -> Iterator[str]:
    """A folder of the host that no container may change."""
    folder = os.path.join(scratch, "outside-rows")
    os.makedirs(f"{folder}/ld.so.conf.d")
    for name in ("file", "ld.so.cache", "ld.so.conf.d/00-gpubind.conf"):
        with open(f"{folder}/{name}", "w", encoding="utf-8") as stream:
            stream.write("the host's\n")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=[RUNC, CRUN], ids=["runc", "crun"])
def behind(request: pytest.FixtureRequest, scratch: str) -> Node:
    """A node with each runtime behind the shim."""
    program: str = request.param
    return injected.node(os.path.join(scratch, f"rows-{os.path.basename(program)}"), program)


def hooked(node: Node, config: dict[str, Any], *, env: bool = True) -> None:
    """Put the spec's hook into a config.json; without `env` as those do who forget it."""
    given = injected.hook(node)
    entry = {key: given[key] for key in ("path", "args", "env")[: 3 if env else 2]}
    config["hooks"] = {given["hookName"]: [entry]}


@pytest.mark.parametrize("case", SOME)
def test_row51_row54_the_host_stays_as_it_is_under_crun(
    case: str, simulated: Node, place: Place, smallest: str, scratch: str, outside: str
) -> None:
    prepare = CASES[case].format(canary=outside)
    crun, words = LowLevel(place, smallest, scratch, CRUN), ("/probe", "open", "/dev/null")
    crun.run(*words, prepare=prepare, status=None)  # what crun does alone is not ours
    before, machine = contents(outside), host.snapshot()
    done = crun.run(
        *words, prepare=prepare, change=lambda config: hooked(simulated, config), status=None
    )
    assert contents(outside) == before
    assert host.changes(machine, host.snapshot()) == []
    assert fine_or_refused(done, "/dev/null"), (done.returncode, done.stdout, done.stderr)


WITHOUT_DEV = {
    "dev to the host": "ln -s {outside} dev",
    "dev/null to a host file": "mkdir dev && ln -s {outside}/file dev/null",
    "dev/dri to the host": "mkdir dev && ln -s {outside} dev/dri",
    "the gpu's node to a host file": "mkdir dev && ln -s {outside}/file dev/nvidia0",
    "firmware to the host": "mkdir -p lib/firmware/nvidia && "
    "ln -s /../../../../../../../..{outside} lib/firmware/nvidia/550.54.15",
}


@pytest.mark.parametrize("case", WITHOUT_DEV)
def test_row_a3_row_a9_a_container_without_a_dev_of_its_own(
    case: str, behind: Node, place: Place, smallest: str, scratch: str, outside: str
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["mounts"] = [m for m in config["mounts"] if not m["destination"].startswith("/dev")]

    prepare = WITHOUT_DEV[case].format(outside=outside)
    runtime = RUNC if "runc" in behind.prefix else CRUN
    alone = LowLevel(place, smallest, scratch, runtime)
    words = ("/probe", "open", "/dev/null")
    alone.run(*words, prepare=prepare, change=change, status=None)  # what it does alone
    before, machine = contents(outside), host.snapshot()
    shim = LowLevel(place, smallest, scratch, behind.runtime)
    environment = injected.GPU_0
    shim.run(*OPENS, environment=environment, prepare=prepare, change=change, status=None)
    assert [name for name in contents(outside) if name[0].endswith("gsp_ga10x.bin")] == []
    assert [name for name in contents(outside) if "by-path" in name[0]] == []
    assert contents(outside) == before
    assert host.changes(machine, host.snapshot()) == []


# A hook of runc before 1.3 has the container's root as its folder, and without an env of its own
# the container's variables.
TRAPS = {
    "PYTHONPATH": "./trap:.",
    "PYTHONHOME": "./trap",
    "PYTHONSTARTUP": "./trap/json.py",
    "PYTHONUSERBASE": "./trap",
    "PYTHONPYCACHEPREFIX": "./trap",
    "PYTHONBREAKPOINT": "json.mark",
    "PYTHONINSPECT": "1",
    "HOME": "./trap",
    "PATH": "./trap:/proc/self/cwd/trap:/usr/sbin:/usr/bin:/sbin:/bin",
    "BASH_ENV": "./trap/sh",
    "ENV": "./trap/sh",
    "TMPDIR": "./trap",
}
LOADER = {
    "LD_PRELOAD": "/proc/self/cwd/trap/trap.so",
    "LD_AUDIT": "./trap/trap.so",
    "LD_LIBRARY_PATH": "./trap",
}


@pytest.fixture(scope="module")
def set_traps(smallest: str, scratch: str) -> tuple[str, str]:
    """A root full of traps, and the file they make."""
    marker = os.path.join(scratch, "marker-rows")
    root = roots.copy(smallest, os.path.join(scratch, "trapped-rows"))
    trapped(root, marker)
    return root, marker


@pytest.mark.parametrize("program", [RUNC, CRUN])
def test_row_a6_nothing_of_the_image_runs_in_the_spec_s_hook(
    program: str, simulated: Node, place: Place, set_traps: tuple[str, str], scratch: str
) -> None:
    root, marker = set_traps
    runtime = LowLevel(place, root, scratch, program)
    done = runtime.run(
        *("/probe", "open", "/dev/null"),
        environment=TRAPS | LOADER,
        change=lambda config: hooked(simulated, config),
    )
    assert done.stdout == "/dev/null: allowed\n"
    assert not os.path.exists(marker)


def test_row_a6_nothing_of_the_image_runs_in_the_shim_s_hook(
    behind: Node, place: Place, set_traps: tuple[str, str], scratch: str
) -> None:
    root, marker = set_traps

    def change(config: dict[str, Any]) -> None:
        etc = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": []}
        config["mounts"].append(etc)

    shim = LowLevel(place, root, scratch, behind.runtime)
    environment = injected.GPU_0 | TRAPS | LOADER
    assert shim.run(*OPENS, environment=environment, change=change).stdout == ALLOWED
    assert not os.path.exists(marker)


@pytest.mark.parametrize("program", [RUNC, CRUN])
def test_row_a6_an_entry_without_env_still_runs_no_python_of_the_image(
    program: str, simulated: Node, place: Place, set_traps: tuple[str, str], scratch: str
) -> None:
    root, marker = set_traps
    runtime = LowLevel(place, root, scratch, program)
    done = runtime.run(
        *("/probe", "open", "/dev/null"),
        environment=TRAPS,
        change=lambda config: hooked(simulated, config, env=False),
    )
    assert done.stdout == "/dev/null: allowed\n"
    assert not os.path.exists(marker)


@pytest.mark.parametrize("trap", ["LD_PRELOAD", "LD_AUDIT"])
def test_row_a6_what_the_loader_reads_is_what_only_an_env_keeps_out(
    trap: str, simulated: Node, place: Place, set_traps: tuple[str, str], scratch: str
) -> None:
    """Pins the limit that `cdi check` warns of, and that the traps lead where they should."""
    root, marker = set_traps
    runtime = LowLevel(place, root, scratch, RUNC)
    runtime.run(
        *("/probe", "open", "/dev/null"),
        environment={trap: LOADER[trap]},
        change=lambda config: hooked(simulated, config, env=False),
        status=None,
    )
    version = place.run(RUNC, "--version").stdout.split()[2]
    given = tuple(int(part) for part in version.partition("+")[0].split(".")[:2])
    assert os.path.exists(marker) is (given < (1, 3))
    if given < (1, 3):
        os.unlink(marker)


@pytest.mark.parametrize("number", [4294967296, -1, 1.5, "0"])
def test_row_a9_a_user_of_no_32_bit_number_is_nobody(
    number: object, behind: Node, place: Place, smallest: str, scratch: str
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["process"]["user"]["uid"] = number

    shim = LowLevel(place, smallest, scratch, behind.runtime)
    done = shim.run(*OPENS, environment=injected.GPU_0, change=change, status=None)
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert "Traceback" not in done.stderr
