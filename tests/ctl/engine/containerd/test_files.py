# SPDX-License-Identifier: Apache-2.0
"""containerd's files as seen in the field: only ours is added, and all of it goes again."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from containerd_hosts import FakeHost
from engine_files import cases

from gpubind_ctl.engine.containerd import Containerd, model, proof
from gpubind_ctl.engine.engine import Wants

MAIN = "/etc/containerd/config.toml"
FILES = cases("containerd")
RELEASES = {1: ("1.6.20", "1.7.27"), 2: ("1.6.20", "1.7.27", "2.1.3", ""), 3: ("2.1.3", "")}


def documents() -> dict[str, Any]:
    return {name: tomllib.loads(data.decode("utf-8-sig")) for name, data in FILES.items()}


def moves(document: dict[str, Any], release: str) -> bool:
    """Tell whether 2.x would read more of the file once it names a runtime: it is refused then."""
    section = document.get("plugins", {}).get(model.CRI[2], {}).get("containerd", {})
    there = proof.MOVED | section
    differs = any(there[key] != value for key, value in proof.MOVED.items())
    return release[:1] in ("2", "") and differs and not section.get("runtimes")


CASES = [
    (name, release)
    for name, document in documents().items()
    for release in RELEASES[document.get("version", 1)]
    if (document or release != "2.1.3") and not moves(document, release)
]
ENGINE = Containerd()


def wants(*, default: bool | None = None, cdi: bool | None = None) -> Wants:
    return Wants(default=default, cdi=cdi, path="/opt/bin/gpubind-runtime")


def cri(host: FakeHost, major: int) -> Any:
    layers = model.layers(MAIN, host.read, host.names, major)
    return model.plugins(layers, major)[model.CRI[model.version(layers)]]


def kept(data: bytes, added: bytes) -> list[bytes]:
    """Give the lines of `data` that stand in `added` too, in their order, ends not counted."""
    new = iter([line.rstrip(b"\r\n") for line in added.split(b"\n")])
    return [line for line in lines(data) if line.rstrip(b"\r\n") in new]


def lines(data: bytes) -> list[bytes]:
    """Give the lines but for that of the imports, in which an element may be ours."""
    return [line for line in data.split(b"\n") if not line.startswith(b"imports")]


def test_there_are_a_hundred_files() -> None:
    assert len({bytes(data) for data in FILES.values()}) >= 100


@pytest.mark.parametrize(("name", "release"), CASES)
@pytest.mark.parametrize("default", [None, True])
def test_our_runtime_comes_and_goes_and_nothing_else_does(
    name: str,
    release: str,
    default: bool | None,  # noqa: FBT001 - a test's parameter
) -> None:
    host = FakeHost({MAIN: FILES[name]}, release)
    wanted = wants(default=default, cdi=True)
    assert host.configure(ENGINE, wanted) != []
    written = dict(host.files)
    assert host.configure(ENGINE, wanted) == []
    assert host.files == written
    setting = ENGINE.read(ENGINE.find(wanted, host))
    assert setting.runtimes["nvidia"] == "/opt/bin/gpubind-runtime"
    host.unconfigure(ENGINE, wanted)
    assert host.files == {MAIN: FILES[name]}


@pytest.mark.parametrize(("name", "release"), CASES)
def test_every_line_stays_where_it_was(name: str, release: str) -> None:
    host = FakeHost({MAIN: FILES[name]}, release)
    host.configure(ENGINE, wants())
    after = host.files[MAIN].replace(wants().path.encode(), b"/usr/bin/nvidia-container-runtime")
    assert kept(FILES[name], after) == lines(FILES[name])


@pytest.mark.parametrize(("name", "release"), CASES)
def test_the_default_runtime_is_inherited_and_the_others_stay(name: str, release: str) -> None:
    host = FakeHost({MAIN: FILES[name]}, release)
    document = tomllib.loads(FILES[name].decode("utf-8-sig"))
    major = 2 if release[:1] == "2" or document.get("version") == 3 else 1
    plugins = document.get("plugins", {})
    section = plugins.get(model.CRI[document.get("version", 1)], {}).get("containerd", {})
    before = section.get("runtimes", {})
    host.configure(ENGINE, wants(default=True))
    after = cri(host, major)["containerd"]
    ours = after["runtimes"]["nvidia"]
    nested = section.get("default_runtime", {})
    usual = [section.get("default_runtime_name", "runc"), "runc", "crun"]
    found = [nested, *(before.get(one, {}) for one in usual if one != "nvidia")]
    runc = [one for one in found if "runc.v" in one.get("runtime_type", "")]
    base: dict[str, Any] = next(iter(runc), {})
    keys = ("SystemdCgroup", "Root", "systemdCgroup")
    options = {key: ours["options"][key] for key in keys if key in ours["options"]}
    want = {key: value for key, value in base.get("options", {}).items() if key in keys}
    assert (ours["options"]["BinaryName"], ours["runtime_type"] != "") == (wants().path, True)
    if "nvidia" not in before:
        assert options == want
        assert {**ours, **base, "options": 0, "container_annotations": 0} == {
            **ours,
            "options": 0,
            "container_annotations": 0,
        }
    others = {key: value for key, value in after["runtimes"].items() if key != "nvidia"}
    stock = {} if before or others == {} else {"runc": {"runtime_type": "io.containerd.runc.v2"}}
    assert others == {**{k: v for k, v in before.items() if k != "nvidia"}, **stock}
