# SPDX-License-Identifier: Apache-2.0
"""How containerd merges its files, where our runtime goes for that, and what is refused."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest
from containerd_hosts import FakeHost

from gpubind_ctl.engine.containerd import Containerd, model
from gpubind_ctl.engine.engine import Wants

MAIN = "/etc/containerd/config.toml"
OWN = "/etc/containerd/conf.d/99-nvidia.toml"
EXTRA = "/etc/containerd/extra/a.toml"
ENGINE = Containerd()
WANTS = Wants(path="/opt/bin/gpubind-runtime")
CRI = 'plugins."io.containerd.grpc.v1.cri"'
V3 = "plugins.'io.containerd.cri.v1.runtime'"
RUNC = f'[{CRI}.containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n'


def document(host: FakeHost, path: str = MAIN) -> dict[str, Any]:
    return tomllib.loads(host.files[path].decode("utf-8-sig"))


def ours(host: FakeHost, path: str = MAIN, version: int = 2, name: str = "nvidia") -> Any:
    section = document(host, path)["plugins"][model.CRI[version]]["containerd"]
    return section["runtimes"][name]


def test_an_import_of_1_x_that_has_the_plugin_gets_our_block() -> None:
    main = f'version = 2\nimports = ["extra/a.toml"]\n[{CRI}]\nsandbox_image = "x"\n'
    host = FakeHost({MAIN: main, EXTRA: f"version = 2\n{RUNC}"}, "1.6.20")
    assert host.configure(ENGINE, WANTS) == [EXTRA]
    assert ours(host, EXTRA)["options"] == {"BinaryName": WANTS.path}
    host.unconfigure(ENGINE, WANTS)
    assert host.files == {MAIN: main.encode(), EXTRA: f"version = 2\n{RUNC}".encode()}


def test_an_import_of_1_x_without_the_plugin_leaves_the_block_in_the_main_file() -> None:
    main = f'version = 2\nimports = ["{EXTRA}"]\n{RUNC}'
    host = FakeHost({MAIN: main, EXTRA: '[metrics]\naddress = "127.0.0.1:1"\n'}, "1.6.20")
    assert host.configure(ENGINE, WANTS) == [MAIN]


def test_2_x_gets_a_drop_in_and_the_main_file_one_import() -> None:
    main = "version = 3\n# mine\n[debug]\nlevel = 'info'\n"
    host = FakeHost({MAIN: main}, "2.1.3")
    assert host.configure(ENGINE, WANTS) == [OWN, MAIN]
    assert document(host)["imports"] == ["/etc/containerd/conf.d/*.toml"]
    assert document(host, OWN)["version"] == 3
    host.unconfigure(ENGINE, WANTS)
    assert host.files == {MAIN: main.encode()}


def test_the_file_that_is_imported_goes_after_the_import() -> None:
    host = FakeHost({MAIN: "version = 3\n"}, "2.1.3")
    host.configure(ENGINE, WANTS)
    edits = ENGINE.remove(ENGINE.find(WANTS, host), WANTS, {})
    assert [(edit.path, edit.after is None) for edit in edits] == [(MAIN, False), (OWN, True)]


@pytest.mark.parametrize(
    "imports",
    ['"/etc/containerd/conf.d/*.toml"', '"conf.d/*.toml"', f'"{EXTRA}", "/etc/*/conf.d/9*.toml"'],
)
def test_an_import_that_is_there_already_is_used(imports: str) -> None:
    main = f"version = 3\nimports = [{imports}]\n"
    host = FakeHost({MAIN: main, EXTRA: "version = 3\n"}, "2.1.3")
    assert host.configure(ENGINE, WANTS) == [OWN]
    assert host.configure(ENGINE, WANTS) == []


def test_a_file_in_the_folder_that_was_not_loaded_is_not_loaded_by_us() -> None:
    other = "/etc/containerd/conf.d/10-off.toml"
    host = FakeHost({MAIN: "version = 3\n", other: "version = 3\n"}, "2.1.3")
    host.configure(ENGINE, WANTS)
    assert document(host)["imports"] == ["/etc/containerd/conf.d/99-nvidia*.toml"]


@pytest.mark.parametrize(
    ("imports", "want"),
    [
        ("[]", ["NEW"]),
        ("['/a.toml'] # one", ["/a.toml", "NEW"]),
        ("[\n  '/a.toml', # ]\n]", ["NEW", "/a.toml"]),
    ],
)
def test_a_list_of_imports_keeps_what_it_has(imports: str, want: list[str]) -> None:
    main = f"version = 3\nimports = {imports}\n"
    host = FakeHost({MAIN: main, "/a.toml": "version = 3\n"}, "2.1.3")
    host.configure(ENGINE, WANTS)
    new = [one.replace("NEW", "/etc/containerd/conf.d/*.toml") for one in want]
    assert document(host)["imports"] == new
    host.unconfigure(ENGINE, WANTS)
    assert host.files[MAIN] == main.encode()


@pytest.mark.parametrize(("release", "version"), [("1.6.20", 2), ("", 2), ("2.0.1", 3)])
def test_without_a_file_one_is_made_for_the_release_and_goes_again(
    release: str, version: int
) -> None:
    host = FakeHost({}, release)
    wants = replace(WANTS, default=True)
    host.configure(ENGINE, wants)
    path = OWN if version == 3 else MAIN
    assert document(host)["version"] == version
    assert ours(host, path, version)["options"]["BinaryName"] == WANTS.path
    host.unconfigure(ENGINE, wants)
    assert host.files == {}


def test_a_file_that_names_no_runtime_names_runc_beside_ours() -> None:
    host = FakeHost({MAIN: "version = 2\n"}, "1.6.20")
    host.configure(ENGINE, WANTS)
    assert ours(host, name="runc") == {"runtime_type": "io.containerd.runc.v2"}
    host.configure(ENGINE, replace(WANTS, name="second"))
    host.unconfigure(ENGINE, WANTS)
    assert ours(host, name="runc") == {"runtime_type": "io.containerd.runc.v2"}
    host.unconfigure(ENGINE, replace(WANTS, name="second"))
    assert host.files == {MAIN: b"version = 2\n"}


def test_version_1_has_its_own_names_and_its_nested_default() -> None:
    main = (
        "[plugins.cri.containerd.default_runtime]\nruntime_type = 'io.containerd.runc.v1'\n"
        "[plugins.cri.containerd.default_runtime.options]\nBinaryName = 'runc' # here\n"
        "[plugins.cri.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v1'\n"
    )
    host = FakeHost({MAIN: main}, "1.6.20")
    wants = replace(WANTS, default=True)
    host.configure(ENGINE, wants)
    section = document(host)["plugins"]["cri"]["containerd"]
    assert section["default_runtime"]["options"] == {"BinaryName": WANTS.path}
    assert section["runtimes"]["nvidia"]["runtime_type"] == "io.containerd.runc.v1"
    host.unconfigure(ENGINE, wants)
    assert host.files == {MAIN: main.encode()}


@pytest.mark.parametrize(
    ("release", "line", "written"),
    [
        ("1.6.20", "", None),
        ("1.7.27", "", True),
        ("1.7.27", "enable_cdi = false", True),
        ("1.7.27", "enable_cdi = true", None),
        ("", "", True),
    ],
)
def test_cdi_is_switched_on_where_the_release_knows_it_and_has_it_off(
    release: str,
    line: str,
    written: bool | None,  # noqa: FBT001 - a test's parameter
) -> None:
    main = f"version = 2\n[{CRI}]\n{line}\n{RUNC}"
    host = FakeHost({MAIN: main}, release)
    wants = replace(WANTS, cdi=True)
    host.configure(ENGINE, wants)
    changed = document(host)["plugins"]["io.containerd.grpc.v1.cri"].get("enable_cdi")
    assert changed is (True if line.endswith("true") else written)
    assert (ENGINE.read(ENGINE.find(wants, host)).cdi is True) is (release != "1.6.20")
    host.unconfigure(ENGINE, wants)
    assert host.files == {MAIN: main.encode()}


def test_spec_folders_that_hold_no_spec_of_ours_are_told() -> None:
    main = f"version = 2\n[{CRI}]\ncdi_spec_dirs = ['/opt/cdi']\n{RUNC}"
    wants = replace(WANTS, cdi=True)
    notes = ENGINE.notes(ENGINE.find(wants, FakeHost({MAIN: main}, "1.7.27")), wants)
    assert notes == ("warning: cdi_spec_dirs is ['/opt/cdi']; no spec of ours is found there",)


def test_annotations_pass_where_the_daemon_does_not_inject_cdi_devices_itself() -> None:
    annotated = f'{RUNC}container_annotations = ["io.example/*"]\n'
    host = FakeHost({MAIN: f"version = 2\n{annotated}"}, "1.6.20")
    host.configure(ENGINE, WANTS)
    assert ours(host)["container_annotations"] == ["io.example/*", "cdi.k8s.io/*"]
    host = FakeHost({MAIN: "version = 3\n"}, "2.1.3")
    host.configure(ENGINE, replace(WANTS, annotations=("cdi.k8s.io/", "example.com/gpu-")))
    assert ours(host, OWN, 3)["container_annotations"] == ["example.com/gpu-*"]


@pytest.mark.parametrize(
    "other",
    [
        'runtime_type = "io.containerd.kata.v2"\n',
        'runtime_type = "io.containerd.runc.v2"\noptions = {BinaryName = "/x/gpubind-runtime"}\n',
    ],
)
def test_a_default_of_another_kind_or_one_that_injects_gpus_is_not_inherited(other: str) -> None:
    section = f'[{CRI}.containerd]\ndefault_runtime_name = "x"\n'
    own = f"[{CRI}.containerd.runtimes.x]\nsnapshotter = 'x'\n{other}"
    host = FakeHost({MAIN: f"version = 2\n{section}{own}{RUNC}snapshotter = 'y'\n"}, "1.6.20")
    host.configure(ENGINE, WANTS)
    assert ours(host)["snapshotter"] == "y"


def test_a_runtime_of_our_name_keeps_what_it_has_but_for_the_program() -> None:
    own = (
        f'[{CRI}.containerd.runtimes.nvidia]\nruntime_type = "io.containerd.runc.v2"\n'
        'base_runtime_spec = "/spec.json" # ours\n'
        f'[{CRI}.containerd.runtimes.nvidia.options]\nBinaryName = "/usr/bin/nvidia" # old\n'
        "NoNewKeyring = true\n"
    )
    main = f"version = 2\n{RUNC}{own}"
    host = FakeHost({MAIN: main}, "1.6.20")
    host.configure(ENGINE, WANTS)
    assert ours(host) == {
        "runtime_type": "io.containerd.runc.v2",
        "base_runtime_spec": "/spec.json",
        "container_annotations": ["cdi.k8s.io/*"],
        "options": {"BinaryName": WANTS.path, "NoNewKeyring": True},
    }
    assert b'"/opt/bin/gpubind-runtime" # old\n' in host.files[MAIN]
    host.unconfigure(ENGINE, WANTS)
    assert host.files == {MAIN: main.encode()}


def test_the_default_stays_ours_where_a_later_run_does_not_speak_of_it() -> None:
    main = f'version = 2\n[{CRI}.containerd]\ndefault_runtime_name = "runc" # of old\n{RUNC}'
    host = FakeHost({MAIN: main}, "1.6.20")
    host.configure(ENGINE, replace(WANTS, default=True))
    assert host.configure(ENGINE, replace(WANTS, path="/new/runtime")) == [MAIN]
    assert ENGINE.read(ENGINE.find(WANTS, host)).default == "nvidia"
    host.configure(ENGINE, replace(WANTS, default=False))
    assert ENGINE.read(ENGINE.find(WANTS, host)).default == "runc"
    host.unconfigure(ENGINE, WANTS)
    assert host.files == {MAIN: main.encode()}


def test_row37_what_others_wrote_since_stays_and_the_former_default_comes_back() -> None:
    main = f'version = 2\n[{CRI}.containerd]\ndefault_runtime_name = "runc"\n{RUNC}'
    host = FakeHost({MAIN: main}, "1.6.20")
    host.configure(ENGINE, replace(WANTS, default=True))
    host.files[MAIN] = b"# new\n" + host.files[MAIN] + b'[debug]\nlevel = "debug"\n'
    host.unconfigure(ENGINE, WANTS)
    assert host.files == {MAIN: f'# new\n{main}[debug]\nlevel = "debug"\n'.encode()}


def test_a_default_that_somebody_wrote_does_not_outlive_its_runtime() -> None:
    main = f"version = 2\n[{CRI}.containerd]\nsnapshotter = 'x'\n{RUNC}"
    host = FakeHost({MAIN: main}, "1.6.20")
    host.configure(ENGINE, WANTS)
    line = b"snapshotter = 'x'\n"
    text = host.files[MAIN].replace(line, line + b"default_runtime_name = 'nvidia'\n")
    host.files[MAIN] = text
    host.unconfigure(ENGINE, WANTS)
    assert host.files[MAIN].decode() == main.replace(
        "'x'\n", "'x'\ndefault_runtime_name = \"runc\"\n"
    )


def test_merging_as_2_x_does_hides_nothing_behind_an_empty_value() -> None:
    low = f"version = 3\nimports = ['{EXTRA}']\n[{V3}]\na = 'x'\nb = true\n[{V3}.t]\nc = 1\n"
    high = f"version = 3\n[{V3}]\na = ''\nb = false\n[{V3}.t]\nd = 2\n"
    host = FakeHost({MAIN: low, EXTRA: high})
    layers = model.layers(MAIN, host.read, host.names, 2)
    name = model.CRI[3]
    assert model.plugins(layers, 2) == {name: {"a": "x", "b": True, "t": {"c": 1, "d": 2}}}
    assert model.plugins(layers, 1) == {name: {"a": "", "b": False, "t": {"d": 2}}}
