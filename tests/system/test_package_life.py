# SPDX-License-Identifier: Apache-2.0
"""The packages on a Debian without GPU, systemd and network: installed, used, changed, removed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from system import debian, packaged
from system.engines import low_level
from system.place import Place

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = pytest.mark.system

OLD = "0.0.9"
PROGRAMS = {
    "gpubind": "gpubind",
    "gpubind-cdi-hook": "gpubind-cdi-hook version",
    "gpubind-runtime": "gpubind-runtime version",
    "nvidia-ctk": "gpubind",
    "nvidia-cdi-hook": "gpubind-cdi-hook version",
    "nvidia-container-runtime": "gpubind-runtime version",
    "nvidia-container-runtime.cdi": "gpubind-runtime version",
    "nvidia-container-runtime.legacy": "gpubind-runtime version",
}
SETTINGS = "/etc/gpubind/cdi-refresh.env"
DAEMON = "/etc/docker/daemon.json"


@pytest.fixture(scope="module")
def debs(scratch: str) -> list[str]:
    return packaged.built(f"{scratch}/debs")


@pytest.fixture(scope="module")
def older(scratch: str) -> list[str]:
    return packaged.built(f"{scratch}/older", OLD)


@pytest.fixture(params=["bookworm", "sid"])
def host(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A host of a release, as it is without us."""
    try:
        root = packaged.root(request.param)
    except debian.UnavailableError as error:
        pytest.skip(f"no Debian {request.param}: {error}")
    with Place(root=root) as place:
        yield place


def dpkg(place: Place, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
    return place.run("/usr/bin/dpkg", *words, status=status, timeout=300)


def versions(place: Place) -> dict[str, str]:
    """Give the first line that each program says of its version."""
    return {
        name: place.run(f"/usr/bin/{name}", "--version").stdout.partition("\n")[0].strip()
        for name in PROGRAMS
    }


def test_an_installation_works_at_once(
    host: Place, debs: list[str], minimal_root: str, scratch: str
) -> None:
    assert dpkg(host, "-i", *debs).stderr == ""
    assert {
        name: version.startswith(PROGRAMS[name]) for name, version in versions(host).items()
    } == dict.fromkeys(PROGRAMS, True)
    assert host.run("gpubind", "cdi", "refresh").stderr == ""
    shim = low_level.LowLevel(host, minimal_root, scratch, "/usr/bin/gpubind-runtime")
    assert shim.run("sh", "-c", "echo started").stdout == "started\n"
    asked = shim.run("true", environment={"NVIDIA_VISIBLE_DEVICES": "all"}, status=None)
    assert (asked.returncode, asked.stderr.count("\n")) == (0, 1)


def test_nothing_is_left_and_nothing_of_others_is_touched(
    host: Place, debs: list[str], minimal_root: str, scratch: str
) -> None:
    before = packaged.files(host)
    dpkg(host, "-i", *debs)
    installed = packaged.files(host)
    assert {name: installed[name] for name in before if not name_of_folder(before[name])} == {
        name: told for name, told in before.items() if not name_of_folder(told)
    }
    shim = low_level.LowLevel(host, minimal_root, scratch, "/usr/bin/gpubind-runtime")
    shim.run("true")
    host.run("gpubind", "config", "--in-place")
    host.run("gpubind", "simulate", "--profile", "t4", "--root", "/opt/node")
    host.run("gpubind", "cdi", "generate", "--driver-root=/opt/node", "--output=/etc/cdi/x.yaml")
    host.run("gpubind", "cdi", "refresh", "--driver-root=/opt/node")
    assert host.run("ls", "/run/cdi", "/var/lib/gpubind", status=None).stdout != ""
    assert dpkg(host, "-r", *packaged.NAMES).stderr == ""
    assert host.run("ls", SETTINGS).returncode == 0
    dpkg(host, "-P", *packaged.NAMES)
    host.run("rm", "-r", "/opt/node")
    assert sorted(packaged.files(host).keys() ^ before.keys()) == []


def name_of_folder(told: str) -> bool:
    """Tell whether it is a folder: its time changes when something comes into it."""
    return told.startswith("d")


def test_an_upgrade_keeps_what_the_operator_wrote(
    host: Place, debs: list[str], older: list[str]
) -> None:
    dpkg(host, "-i", *older)
    assert versions(host)["gpubind"] == f"gpubind {OLD}"
    host.run("sh", "-c", f"echo NVIDIA_CTK_CDI_OUTPUT_NO_ALL_DEVICE=true >>{SETTINGS}")
    host.run("gpubind", "config", "--set", "disable-require=true", "--in-place")
    before = host.run("sh", "-c", f"cat {SETTINGS} /etc/gpubind/config.toml").stdout
    told = dpkg(host, "-i", *debs)
    assert (told.stderr.replace("warning: downgrading", ""), "conffile" in told.stdout) == (
        "",
        False,
    )
    assert versions(host)["gpubind"] != f"gpubind {OLD}"
    assert host.run("sh", "-c", f"cat {SETTINGS} /etc/gpubind/config.toml").stdout == before
    dpkg(host, "-i", *older)
    assert versions(host)["gpubind-runtime"] == f"gpubind-runtime version {OLD}"
    assert host.run("sh", "-c", f"cat {SETTINGS} /etc/gpubind/config.toml").stdout == before


def test_the_runtime_needs_python_alone(host: Place, debs: list[str]) -> None:
    host.run("sh", "-c", "rm -r /usr/lib/python3/dist-packages")
    dpkg(host, "-i", debs[0])
    told = host.run("gpubind-runtime", "--version").stdout
    assert told.startswith("gpubind-runtime version ")


def test_a_daemons_file_that_names_us_keeps_us(host: Place, debs: list[str]) -> None:
    dpkg(host, "-i", *debs)
    host.run("sh", "-c", f"mkdir -p /etc/docker; echo '{{\"debug\": true}}' >{DAEMON}")
    host.run("gpubind", "runtime", "configure", "--runtime", "docker")
    refused = dpkg(host, "-r", *packaged.NAMES, status=None)
    assert refused.returncode != 0
    assert "run 'gpubind runtime unconfigure --runtime docker' and restart docker" in refused.stderr
    assert host.run("/usr/bin/gpubind-runtime", "--version").returncode == 0
    host.run("gpubind", "runtime", "unconfigure", "--runtime", "docker")
    assert host.run("cat", DAEMON).stdout == '{"debug": true}\n'
    dpkg(host, "-r", "gpubind", "gpubind-runtime")
    assert host.run("ls", "/usr/lib/gpubind", status=None).returncode != 0


def test_a_daemon_that_has_us_loaded_keeps_us(host: Place, debs: list[str], scratch: str) -> None:
    dpkg(host, "-i", *debs)
    server = os.path.join(scratch, "dockerd.py")
    with open(server, "w", encoding="utf-8") as file:
        file.write(DOCKERD.format(json.dumps({"Runtimes": {"gpu": {"path": PROGRAM}}})))
    daemon = host.start("/usr/bin/python3", server, log=f"{scratch}/dockerd.log")
    host.run("sh", "-c", "until [ -S /run/docker.sock ]; do sleep 0.1; done")
    refused = dpkg(host, "-r", *packaged.NAMES, status=None)
    Place.stop(daemon)
    assert "dockerd has it loaded as runtime 'gpu': restart docker" in refused.stderr


PROGRAM = "/usr/bin/gpubind-runtime"
DOCKERD = """\
import socketserver
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        self.rfile.readline()
        self.wfile.write(b'HTTP/1.0 200 OK\\r\\nContent-Type: application/json\\r\\n\\r\\n')
        self.wfile.write(b'''{}''')
socketserver.UnixStreamServer('/run/docker.sock', Answer).serve_forever()
"""


def test_one_that_insists_gets_rid_of_us(host: Place, debs: list[str]) -> None:
    dpkg(host, "-i", *debs)
    host.run("gpubind", "runtime", "configure", "--runtime", "docker")
    words = ("/usr/bin/dpkg", "-r", *packaged.NAMES)
    host.run(*words, environment={"GPUBIND_REMOVE_ANYWAY": "1"})
    assert host.run("ls", PROGRAM, status=None).returncode != 0
