# SPDX-License-Identifier: Apache-2.0
"""CRI-O: a drop-in beside the operator's files, or a block in crio.conf; what overrides is told."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest
from containerd_hosts import FakeHost
from engine_files import cases

from gpubind.errors import ToolkitError, UsageError
from gpubind_ctl.engine import ocihook
from gpubind_ctl.engine.crio import Crio
from gpubind_ctl.engine.engine import Wants

MAIN = "/etc/crio/crio.conf"
OWN = "/etc/crio/crio.conf.d/99-nvidia.toml"
FILES = cases("crio")
ENGINE = Crio()
WANTS = Wants(path="/opt/bin/gpubind-runtime")
CRUN = """\
[crio.runtime]
default_runtime = "crun"
[crio.runtime.runtimes.crun]
runtime_path = "/usr/bin/crun"
runtime_root = "/run/crun"
monitor_path = "/usr/libexec/crio/conmon"
allowed_annotations = ["io.kubernetes.cri-o.Devices"]
inherit_default_runtime = false
platform_runtime_paths = { "linux/arm64" = "/usr/bin/other" }
"""


def runtime(host: FakeHost, path: str = OWN) -> Any:
    return tomllib.loads(host.files[path].decode("utf-8-sig"))["crio"]["runtime"]


def refusal(host: FakeHost, wants: Wants = WANTS) -> str:
    before = dict(host.files)
    with pytest.raises(ToolkitError) as error:
        host.configure(ENGINE, wants)
    assert host.files == before
    return str(error.value)


def test_there_are_a_hundred_files() -> None:
    assert len(set(FILES.values())) >= 100


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("default", [None, True])
@pytest.mark.parametrize("drop_in", ["", None])
def test_our_runtime_comes_and_goes_and_nothing_else_does(
    name: str,
    default: bool | None,  # noqa: FBT001 - a test's parameter
    drop_in: str | None,
) -> None:
    host = FakeHost({MAIN: FILES[name]}, "1.30.2")
    wants = replace(WANTS, default=default, drop_in=drop_in)
    written = [MAIN] if drop_in is None else [OWN]
    assert host.configure(ENGINE, wants) == written
    assert (host.files[MAIN] == FILES[name]) is (drop_in is not None)
    assert host.configure(ENGINE, wants) == []
    setting = ENGINE.read(ENGINE.find(wants, host))
    assert setting.runtimes["nvidia"] == "/opt/bin/gpubind-runtime"
    assert default is None or setting.default == "nvidia"
    host.unconfigure(ENGINE, wants)
    assert host.files == {MAIN: FILES[name]}


def test_the_default_runtimes_options_are_inherited_but_for_those_that_name_programs() -> None:
    host = FakeHost({MAIN: CRUN}, "1.30.2")
    host.configure(ENGINE, replace(WANTS, default=True))
    assert runtime(host) == {
        "default_runtime": "nvidia",
        "runtimes": {
            "nvidia": {
                "runtime_path": "/opt/bin/gpubind-runtime",
                "runtime_type": "oci",
                "runtime_root": "/run/crun",
                "monitor_path": "/usr/libexec/crio/conmon",
                "allowed_annotations": ["io.kubernetes.cri-o.Devices"],
            }
        },
    }


def test_a_drop_in_counts_for_what_is_inherited() -> None:
    later = '[crio.runtime.runtimes.crun]\nruntime_path = "/x"\nruntime_root = "/run/later"\n'
    host = FakeHost({MAIN: CRUN, "/etc/crio/crio.conf.d/10-crun.conf": later}, "1.30.2")
    host.configure(ENGINE, WANTS)
    assert runtime(host)["runtimes"]["nvidia"]["runtime_root"] == "/run/later"


def test_without_any_file_the_drop_in_is_enough_and_goes_again() -> None:
    host = FakeHost({}, "1.24.6")
    assert host.configure(ENGINE, WANTS) == [OWN]
    assert runtime(host)["runtimes"] == {
        "nvidia": {"runtime_path": "/opt/bin/gpubind-runtime", "runtime_type": "oci"}
    }
    host.unconfigure(ENGINE, WANTS)
    assert host.files == {}


def test_the_temporary_file_is_made_outside_of_the_folder_that_is_read_whole() -> None:
    target = ENGINE.find(WANTS, FakeHost({}))
    assert [edit.scratch for edit in ENGINE.edit(target, WANTS)] == ["/etc/crio"]


def test_the_files_the_daemon_names_are_used() -> None:
    host = FakeHost({}, command=("/usr/bin/crio", "--config=/x/crio.conf", "--config-dir", "/x/d"))
    assert host.configure(ENGINE, WANTS) == ["/x/d/99-nvidia.toml"]
    assert ENGINE.find(WANTS, host).main == "/x/crio.conf"


def test_row33_a_later_drop_in_that_overrides_ours_is_named() -> None:
    later = "/etc/crio/crio.conf.d/99-z.conf"
    text = '[crio.runtime.runtimes.nvidia]\nruntime_path = "/usr/bin/other"\n'
    host = FakeHost({later: text})
    assert refusal(host).startswith(f"{later} comes later and gives runtime nvidia another program")
    host = FakeHost({later: '[crio.runtime]\ndefault_runtime = "crun"\n'})
    wants = replace(WANTS, default=True)
    assert refusal(host, wants).startswith(f"{later} comes later and makes crun the default")
    assert host.configure(ENGINE, WANTS) == [OWN]


@pytest.mark.parametrize("name", ["notes.txt", ".10-x.conf.swp", "10-x.conf~"])
def test_row33_a_stray_file_is_told_because_crio_reads_it(name: str) -> None:
    path = f"/etc/crio/crio.conf.d/{name}"
    host = FakeHost({path: "# nothing\n"})
    notes = ENGINE.notes(ENGINE.find(WANTS, host), WANTS)
    assert notes == (f"warning: CRI-O reads {path} too, whatever it ends in",)
    host.files[path] = b"no toml"
    assert refusal(host).startswith(f"{path}:1:4: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crio = 1\n", ":1:1: crio is a number, not a table"),
        ('[crio]\nruntime = "x"\n', ":2:1: crio.runtime is a text, not a table"),
        ("[crio.runtime]\n  runtimes = []\n", ":2:3: crio.runtime.runtimes is a list, not a"),
        ("[crio.runtime.runtimes]\nrunc = true\n", ":2:1: crio.runtime.runtimes.runc is true or"),
        ("[crio.runtime]\ndefault_runtime = 1\n", ":2:1: default_runtime is a number, not a text"),
        ("[crio.runtime]\nhooks_dir = [1]\n", ":2:1: crio.runtime.hooks_dir must be a list of"),
        ('[crio.runtime]\ndefault_runtime = "none"\n', ": default_runtime is 'none', which is no"),
        ("[crio.runtime]\n[crio.runtime]\n", ":2:14: Cannot declare ('crio', 'runtime') twice"),
    ],
)
def test_row33_what_is_no_configuration_is_refused_with_its_line(text: str, message: str) -> None:
    assert refusal(FakeHost({MAIN: text})).startswith(MAIN + message)


@pytest.mark.parametrize(
    "wants", [replace(WANTS, path="gpubind-runtime"), replace(WANTS, drop_in="x/y.conf")]
)
def test_relative_paths_are_bad_usage(wants: Wants) -> None:
    with pytest.raises(UsageError, match=r"is not an absolute path"):
        ENGINE.find(wants, FakeHost({}))


def test_a_drop_in_that_crio_would_not_read_is_refused() -> None:
    message = refusal(FakeHost({}), replace(WANTS, drop_in="/srv/x.toml"))
    assert message.startswith(
        "/srv/x.toml: CRI-O reads no drop-in outside of /etc/crio/crio.conf.d"
    )


def test_an_old_hook_file_is_named_and_goes_when_asked_and_comes_back() -> None:
    hook = "/opt/h/oci-nvidia-hook.json"
    data = ocihook.document("/usr/bin/nvidia-container-runtime-hook")
    files: dict[str, bytes | str] = {MAIN: '[crio.runtime]\nhooks_dir = ["/opt/h"]\n', hook: data}
    host = FakeHost(files, "1.30.2")
    target = ENGINE.find(WANTS, host)
    assert ENGINE.read(target).hooks == (hook,)
    assert ENGINE.notes(target, WANTS) == (
        f"warning: {hook} has crio start /usr/bin/nvidia-container-runtime-hook in every "
        "container, so that GPUs are injected twice; --remove-old-hooks removes it",
    )
    wants = replace(WANTS, sweep=True)
    former = ENGINE.former(target, wants)
    edits = ENGINE.edit(target, wants)
    assert [(edit.path, edit.after is None) for edit in edits] == [(OWN, False), (hook, True)]
    assert ENGINE.read(target.after(edits)).hooks == ()
    host.files[OWN] = edits[0].after or b""
    del host.files[hook]
    back = ENGINE.remove(ENGINE.find(WANTS, host), WANTS, former)
    assert {edit.path: edit.after for edit in back} == {OWN: None, hook: data}


def test_cdi_has_no_switch_and_that_is_said() -> None:
    target = ENGINE.find(WANTS, FakeHost({}, "1.30.2"))
    (note,) = ENGINE.notes(target, replace(WANTS, cdi=True))
    assert note == "warning: CRI-O has no switch for CDI; 1.23 and later have it on"


def test_two_runtimes_share_the_drop_in_and_go_one_by_one() -> None:
    host = FakeHost({MAIN: CRUN})
    other = replace(WANTS, name="nvidia-cdi", default=True)
    host.configure(ENGINE, WANTS)
    host.configure(ENGINE, other)
    assert set(runtime(host)["runtimes"]) == {"nvidia", "nvidia-cdi"}
    host.unconfigure(ENGINE, WANTS)
    assert runtime(host)["default_runtime"] == "nvidia-cdi"
    host.unconfigure(ENGINE, other)
    assert host.files == {MAIN: CRUN.encode()}


def test_a_default_that_somebody_wrote_does_not_outlive_its_runtime() -> None:
    text = '[crio.runtime]\ndefault_runtime = "nvidia"\n'
    host = FakeHost({MAIN: text})
    host.configure(ENGINE, WANTS)
    host.unconfigure(ENGINE, WANTS)
    assert host.files == {MAIN: text.replace("nvidia", "runc").encode()}
