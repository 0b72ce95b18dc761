# SPDX-License-Identifier: Apache-2.0
"""What containerd's configurator refuses: one line that names file, line and reason."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest
from containerd_hosts import FakeHost

from gpubind.errors import ToolkitError
from gpubind_ctl.engine.containerd import Containerd
from gpubind_ctl.engine.engine import Wants

MAIN = "/etc/containerd/config.toml"
EXTRA = "/etc/containerd/extra/a.toml"
ENGINE = Containerd()
WANTS = Wants(path="/opt/bin/gpubind-runtime")
CRI = 'plugins."io.containerd.grpc.v1.cri"'
V3 = "plugins.'io.containerd.cri.v1.runtime'"
RUNC = f'[{CRI}.containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n'


def ours(host: FakeHost) -> Any:
    plugins = tomllib.loads(host.files[MAIN].decode())["plugins"]
    return plugins["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["nvidia"]


def refusal(host: FakeHost, wants: Wants = WANTS) -> str:
    before = dict(host.files)
    with pytest.raises(ToolkitError) as error:
        host.configure(ENGINE, wants)
    assert host.files == before
    return str(error.value)


@pytest.mark.parametrize(
    ("main", "release", "message"),
    [
        ("version = 99\n", "1.6.20", ":1:1: version 99 is none of 1, 2, 3, 4"),
        ('version = "two"\n', "1.6.20", ":1:1: version 'two' is none of 1, 2, 3, 4"),
        ("# x\nversion = true\n", "", ":2:1: version True is none of 1, 2, 3, 4"),
        ("root = '/x'\n", "2.1.3", "version 1 is not read by containerd 2.1.3"),
        ("root = '/x'\nversion = 3\n", "1.6.20", ":2:1: version 3 is for containerd 2.0 and"),
        ('version = 2\nplugins = "x"\n', "", ":2:1: plugins is a text, not a table"),
        (f"version = 2\n[{CRI}]\ncontainerd = 1\n", "", ':3:1: plugins."io.containerd.grpc'),
        (f"version = 2\n[{CRI}.containerd.runtimes]\nrunc = 1\n", "", ":3:1: plugins."),
        ("imports = 'x'\nversion = 2\n", "", ":1:1: imports is no list of texts"),
        ("imports = ['/no.toml']\nversion = 2\n", "", ":1:1: imports /no.toml, which is not"),
        ("version = 2\nimports = ['c/*.toml']\n", "1.7.1", ":2:1: imports 'c/*.toml', which"),
        ("version = 2\nx = \n", "", ":2:5: Invalid value"),
        ("version = 2\n[a]\n[a]\n", "", ":3:3: Cannot declare ('a',) twice"),
        ("version = 2\na.b = 1\n[a]\n", "", ":3:3: Cannot declare ('a',) twice"),
        ("version = 2\rx = 1\n", "", ":1:12: Expected newline or end of document after a"),
        ('version = 2\nx = "\\q"\n', "", ":2:8: Unescaped '\\' in a string"),
        ("version = 2\nx = " + "[" * 9999, "", ": is nested too deeply"),
        ("version = 2\n" + "a." * 50_000 + "a = 1\n", "", ": is nested too deeply"),
        ("version = 2\nx = " + "[" * 99 + "]" * 99, "", ": is nested too deeply"),
        ("version = 2\nx = " + "1" * 5000, "", ": Exceeds the limit"),
        ("disabled_plugins = 3\n", "", ":1:1: disabled_plugins must be a list of texts"),
        (b"version = 2\n\xff\n", "", ":2:1: byte 12 is no UTF-8"),
        (b"\xff\xfev\0", "", ":1:1: is UTF-16, TOML is UTF-8"),
        (
            f'version = 2\n[{CRI}.containerd]\ndefault_runtime_name = "kata"\n{RUNC}',
            "1.6.20",
            ": default_runtime_name is 'kata', which is no runtime there",
        ),
    ],
)
def test_row31_row32_what_is_doubtful_is_refused_with_its_line(
    main: str | bytes, release: str, message: str
) -> None:
    told = refusal(FakeHost({MAIN: main}, release))
    assert told.startswith(MAIN)
    assert message in told


@pytest.mark.parametrize("name", ["cri", "io.containerd.grpc.v1.cri"])
def test_row32_a_cri_plugin_that_is_off_is_a_finding(name: str) -> None:
    host = FakeHost({MAIN: f'version = 2\n\n  disabled_plugins = ["x", "{name}"]\n'}, "1.7.27")
    host.configure(ENGINE, WANTS)
    target = ENGINE.find(WANTS, host)
    (finding,) = ENGINE.read(target).findings
    assert ENGINE.notes(target, WANTS)[0] == f"warning: {finding}"
    assert finding == (
        f"{MAIN}:3: disabled_plugins has {name!r}: containerd serves no Kubernetes with it; "
        f"take {name!r} out, unless docker alone uses this containerd"
    )


@pytest.mark.parametrize("release", ["1.7.27", "2.1.3", ""])
def test_row32_files_of_different_versions_are_refused_by_name(release: str) -> None:
    host = FakeHost(
        {MAIN: f"version = 2\nimports = ['{EXTRA}']\n", EXTRA: "version = 3\n"}, release
    )
    assert refusal(host).startswith(f"{EXTRA}:1:1: has version 3, {MAIN} has version 2")


def test_row32_imports_in_a_circle_and_a_pattern_that_matches_its_own_file_are_read_once() -> None:
    main = "version = 2\nimports = ['/etc/containerd/*.toml', '/etc/containerd/b.toml']\n"
    host = FakeHost({MAIN: main, "/etc/containerd/b.toml": f"imports = ['{MAIN}']\n"}, "1.6.20")
    assert host.configure(ENGINE, WANTS) == [MAIN]


def test_row32_a_runtime_without_a_type_is_told() -> None:
    main = f"version = 2\n[{CRI}.containerd.runtimes.runc.options]\nSystemdCgroup = true\n"
    host = FakeHost({MAIN: main}, "1.6.20")
    host.configure(ENGINE, WANTS)
    assert ours(host)["options"] == {"SystemdCgroup": True, "BinaryName": WANTS.path}
    assert ours(host)["runtime_type"] == "io.containerd.runc.v2"
    notes = ENGINE.notes(ENGINE.find(WANTS, host), WANTS)
    assert notes == ("warning: runtime runc has no runtime_type, it starts no container",)


@pytest.mark.parametrize(
    "line",
    [
        'snapshotter = "zfs"',
        "disable_snapshot_annotations = false",
        "discard_unpacked_layers = true",
    ],
)
def test_settings_that_2_x_would_read_from_now_on_are_refused(line: str) -> None:
    section = f"version = 2\n[{CRI}.containerd]\n{line}\n"
    told = refusal(FakeHost({MAIN: section}, "2.1.9"))
    assert told.startswith(f"{MAIN}:3:1: {line.partition(' ')[0]} of version 2 is not read by")
    assert FakeHost({MAIN: section + RUNC}, "2.1.9").configure(ENGINE, WANTS) != []
    assert FakeHost({MAIN: section}, "1.7.27").configure(ENGINE, WANTS) == [MAIN]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"sandbox_image = 'x'", b"sandbox_image = 'y'", "io.containerd.grpc.v1.cri would change"),
        (b"level = 'info'", b"level = 'warn'", "debug would change too"),
        (b"version = 2", b"version = 1", "the version would change"),
        (b'runtime_type = "io.containerd.runc.v2"\n  c', b"c", "nvidia would have no runtime_type"),
    ],
)
def test_an_edit_that_changes_anything_else_is_refused(
    old: bytes, new: bytes, message: str
) -> None:
    main = f"version = 2\n[debug]\nlevel = 'info'\n[{CRI}]\nsandbox_image = 'x'\n{RUNC}"
    target = ENGINE.find(WANTS, FakeHost({MAIN: main}, "1.6.20"))
    (edit,) = ENGINE.edit(target, WANTS)
    assert edit.after is not None
    assert old in edit.after
    ENGINE.prove(target, (edit,), WANTS)
    with pytest.raises(ToolkitError, match=message):
        ENGINE.prove(target, (replace(edit, after=edit.after.replace(old, new)),), WANTS)


def test_a_later_file_that_overrides_ours_is_refused_by_name() -> None:
    later = "/etc/containerd/conf.d/99-z.toml"
    text = f"version = 3\n[{V3}.containerd.runtimes.nvidia.options]\nBinaryName = '/other'\n"
    main = "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n"
    host = FakeHost({MAIN: main, later: text}, "2.1.3")
    assert f"because of {later}" in refusal(host)


def test_row30_what_a_layout_in_one_line_does_not_let_us_write_is_refused() -> None:
    main = 'version = 2\nplugins = { "io.containerd.grpc.v1.cri" = { sandbox_image = "x" } }\n'
    told = refusal(FakeHost({MAIN: main}, "1.6.20"))
    assert told.startswith(f"{MAIN}:2:1: ")
    assert "can't be written into this file as it is laid out" in told
