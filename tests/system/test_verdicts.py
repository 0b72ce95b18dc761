# SPDX-License-Identifier: Apache-2.0
"""Real engines read CDI documents: up to which version, and do we agree on good and bad?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import cdidocs
import pytest
from gpubind_cdi import document, validate, version
from gpubind_cdi.model import Spec
from system import verdicts
from system.engines.containerd import Containerd
from system.engines.docker import Docker
from system.engines.podman import Podman
from system.place import Place

from gpubind.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.verdicts import Engine

pytestmark = pytest.mark.system

NEWEST = version.KNOWN[-1]
GOLDEN = os.path.join(os.path.dirname(cdidocs.FOLDER), "golden")
CRASHING = ["r06-class-of-one-letter.yaml", "r06-vendor-of-one-letter.yaml"]
FILES = [
    *(("good", name) for name in cdidocs.good()),
    *(("bad", name) for name in cdidocs.bad() if name not in CRASHING),
]
# One document for each thing that a version brought.
BROUGHT: dict[str, tuple[str, dict[str, Any]]] = {
    "mounts.type": (
        "0.4.0",
        cdidocs.spec(
            cdidocs.device(mounts=[{"hostPath": "/a", "containerPath": "/a", "type": "bind"}])
        ),
    ),
    "deviceNodes.hostPath": (
        "0.5.0",
        cdidocs.spec(cdidocs.device(deviceNodes=[{"path": "/dev/a", "hostPath": "/dev/b"}])),
    ),
    "a name that starts with a digit": ("0.5.0", cdidocs.spec(cdidocs.device("0"))),
    "annotations": ("0.6.0", cdidocs.spec(annotations={"vendor.example/a": "b"})),
    "a dot in the class": ("0.6.0", cdidocs.spec(kind="nvidia.com/gpu.shared")),
    "additionalGids": ("0.7.0", cdidocs.spec(cdidocs.device(additionalGids=[44]))),
    "intelRdt": ("0.7.0", cdidocs.spec(cdidocs.device(intelRdt={"closID": "a"}))),
    "netDevices": (
        "1.1.0",
        cdidocs.spec(cdidocs.device(netDevices=[{"hostInterfaceName": "a", "name": "b"}])),
    ),
    "intelRdt.schemata": (
        "1.1.0",
        cdidocs.spec(cdidocs.device(intelRdt={"schemata": ["L3:0=f"]})),
    ),
}


@pytest.fixture(scope="module")
def podman(image: str) -> Iterator[Podman]:
    """The machine's podman, with no CDI document yet."""
    with Place() as place:
        yield Podman(place, image)


@pytest.fixture(scope="module")
def newer(newer_root: str) -> Iterator[Place]:
    with Place(root=newer_root) as place:
        yield place


@pytest.fixture(scope="module")
def newer_podman(newer: Place, image: str) -> Podman:
    return Podman(newer, image)


@pytest.fixture(scope="module")
def newer_docker(
    newer_root: str, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Docker]:
    """Docker in a place of its own: it always looks at the documents, also at the others'."""
    with Place(root=newer_root) as place:
        yield Docker(place, image, str(tmp_path_factory.mktemp("docker")))


@pytest.fixture(scope="module")
def newer_containerd(
    newer: Place, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Containerd:
    return Containerd(newer, image, str(tmp_path_factory.mktemp("containerd")))


@pytest.fixture(params=["podman", "newer_podman", "newer_docker", "newer_containerd"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    if not verdicts.measured(found):
        pytest.skip(f"{found.name}: no row of engine_versions.yaml was measured with this release")
    return found


def ours(data: bytes, name: str, reads: str) -> str:
    """Give why we say that an engine which reads this version can't take a document."""
    try:
        spec = Spec.parse(document.load(data, name))
        validate.check(spec)
    except DocumentError as error:
        return error.message
    return "" if version.order(spec.cdi_version) <= version.order(reads) else spec.cdi_version


def test_it_reads_up_to_the_version_the_table_says(engine: Engine) -> None:
    taken = []
    for number in version.KNOWN[version.order(version.EARLIEST) :]:
        data = document.dump(cdidocs.spec(cdiVersion=number), "json")
        if not verdicts.fault(engine, data, "json"):
            taken.append(number)
    assert taken[-1] == verdicts.reads(engine)
    assert taken == list(version.KNOWN[version.order(taken[0]) :][: len(taken)])


@pytest.mark.parametrize("what", BROUGHT)
def test_it_knows_what_the_versions_up_to_this_brought_and_no_more(
    engine: Engine, what: str
) -> None:
    since, spec = BROUGHT[what]
    known = version.order(since) <= version.order(verdicts.reads(engine))
    data = document.dump({**spec, "cdiVersion": since}, "json")
    assert (verdicts.fault(engine, data, "json") == "") == known


def test_it_agrees_with_us_but_for_what_was_reviewed(engine: Engine) -> None:
    """A document of the newest version is given as one that the engine reads.

    Else its version would be all that is wrong with it.
    """
    reads, differ = verdicts.reads(engine), {}
    for folder, name in FILES:
        data = cdidocs.read(folder, name).replace(NEWEST.encode(), reads.encode())
        theirs = verdicts.fault(engine, data, os.path.splitext(name)[1][1:])
        if bool(theirs) != bool(ours(data, name, reads)):
            differ[name] = "refused" if theirs else "taken"
    assert differ == verdicts.reviewed(reads)


def test_it_takes_the_specs_of_all_kinds_of_nodes(engine: Engine) -> None:
    faults = {}
    for kind in ("profiles", "drivers"):
        for name in sorted(os.listdir(f"{GOLDEN}/{kind}")):
            with open(f"{GOLDEN}/{kind}/{name}", "rb") as stream:
                faults[name] = verdicts.fault(engine, stream.read(), "yaml")
    assert {name: why for name, why in faults.items() if why} == {}
    assert len(faults) > 10


@pytest.mark.parametrize("name", CRASHING)
def test_it_crashes_on_a_single_letter_which_we_refuse(engine: Engine, name: str) -> None:
    assert ours(cdidocs.read("bad", name), name, verdicts.reads(engine))
    with verdicts.given(engine, cdidocs.read("bad", name), "yaml"):
        told = engine.run("true", options=[verdicts.MISSING], status=None).stderr
        if isinstance(engine, Docker):
            engine.daemon.wait(30)
    if isinstance(engine, Docker):
        with open(engine.log, encoding="utf-8") as stream:
            told = stream.read()
        engine.start()
    assert "panic: runtime error: slice bounds out of range" in told


def test_docker_knows_the_devices_that_we_list(newer_docker: Docker) -> None:
    spec = cdidocs.spec(cdidocs.device("0"), cdidocs.device("GPU-1.a_b"), cdidocs.device("1:0"))
    for form in ("yaml", "json"):
        with verdicts.given(newer_docker, document.dump(spec, form), form):
            found = verdicts.devices(newer_docker)
        assert found == [f"nvidia.com/gpu={name}" for name in ("0", "1:0", "GPU-1.a_b")]


@pytest.mark.parametrize("name", ["docker_engine", "containerd_engine"])
def test_an_engine_older_than_the_table_s_first_row_knows_no_cdi(
    name: str, request: pytest.FixtureRequest
) -> None:
    old: Engine = request.getfixturevalue(name)
    if verdicts.reads(old):
        pytest.skip(f"the machine's {old.name} is one that reads CDI")
    old.place.run("mkdir", "-p", "/etc/cdi")
    with verdicts.given(old, document.dump(cdidocs.spec(), "json"), "json"):
        options = ["--device=nvidia.com/gpu=gpu0"]
        done = old.run("true", options=options, status=None)
    assert done.returncode != 0
    assert "CDI" not in done.stderr
