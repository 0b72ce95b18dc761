# SPDX-License-Identifier: Apache-2.0
"""The shim as an engine starts it: what goes through, what is injected, what is refused."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
import specs
import trees

from gpubind import VERSION

if TYPE_CHECKING:
    from installed import Prefix

ASKS: dict[str, Any] = {
    "root": {"path": "rootfs"},
    "process": {"env": ["NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0"]},
    "unknown": [1.5, None],
}


def start(prefix: Prefix, *words: str, **more: Any) -> tuple[int, str, str]:
    done = prefix.start("gpubind-runtime", words, **more)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["state", "create"],
        ["--log", "/l", "--log-format", "json", "start", "id"],
        ["exec", "id", "ls", "--version"],
        ["delete", "--force", "id"],
        ["create", "--help"],
        ["create", "--bundle", "{bundle}", "id"],
        ["run", "-b", "{bundle}", "", "*", "\n$(x)"],
        ["unheard-of", "--bundle", "{bundle}"],
    ],
)
def test_what_asks_for_nothing_goes_through_as_it_came(prefix: Prefix, words: list[str]) -> None:
    prefix.runtime(status=37)
    bundle = prefix.bundle({"process": {"env": []}, "mounts": "odd"})
    before = trees.seen(bundle)
    given = [word.replace("{bundle}", bundle) for word in words]
    assert start(prefix, *given) == (37, "", "")
    assert prefix.called() == "\n".join(given).split("\n")
    assert trees.seen(bundle) == before


@pytest.mark.parametrize("word", ["--version", "-v"])
def test_the_version_is_told_before_the_low_level_ones(prefix: Prefix, word: str) -> None:
    prefix.runtime("#!/bin/sh\necho runc version 1\n")
    text = f"gpubind-runtime version {VERSION}\nrunc version 1\n"
    assert start(prefix, word) == (0, text, "")


@pytest.mark.parametrize("command", ["create", "run"])
def test_a_container_that_asks_gets_its_gpu(prefix: Prefix, command: str) -> None:
    prefix.runtime()
    prefix.specs(specs.spec())
    bundle = prefix.bundle(ASKS)
    os.chmod(f"{bundle}/config.json", 0o600)
    words = ["--root", "/run/x", command, "--bundle", bundle, "id"]
    assert start(prefix, *words) == (0, "", "")
    assert prefix.called() == words
    with open(f"{bundle}/config.json", encoding="utf-8") as file:
        given = json.load(file)
    assert given["linux"]["devices"][0]["path"] == "/dev/nvidia0"
    assert given["unknown"] == [1.5, None]
    assert stat.S_IMODE(os.stat(f"{bundle}/config.json").st_mode) == 0o600
    assert os.path.exists(f"{bundle}/rootfs/etc/ld.so.cache")


def test_the_bundle_is_the_working_folder_where_none_is_named(prefix: Prefix) -> None:
    prefix.runtime()
    prefix.specs(specs.spec())
    bundle = prefix.bundle(ASKS)
    assert start(prefix, "create", "id", cwd=bundle)[0] == 0
    assert os.path.exists(f"{bundle}/rootfs/etc/ld.so.cache")


def test_what_was_left_out_is_told_and_the_container_starts(prefix: Prefix) -> None:
    prefix.runtime()
    mount = {"hostPath": "/absent", "containerPath": "/x", "required": False}
    prefix.specs(specs.spec(containerEdits={"mounts": [mount]}))
    status, _, said = start(prefix, "create", "--bundle", prefix.bundle(ASKS), "id")
    assert (status, said) == (0, "gpubind-runtime: warning: /absent: No such file or directory\n")


BAD: list[tuple[Any, str]] = [
    ("", "the file is empty [DOC-INVALID]"),
    ("{", "DOC-INVALID"),
    ("null", "expected an object, found NoneType"),
    ({"process": {"env": 5}}, "expected a list at process.env"),
    ({**ASKS, "root": {"path": "/"}}, "is the host's own root at root.path"),
    ({**ASKS, "root": {"path": "../.."}}, "leads out of the bundle at root.path"),
    ({**ASKS, "root": {"path": "absent"}}, "SPEC-ROOT"),
    ({**ASKS, "hooks": []}, "expected an object at hooks"),
    ({**ASKS, "process": {"env": ["NVIDIA_VISIBLE_DEVICES=9"]}}, "REGISTRY-DEVICE"),
    ({**ASKS, "process": {"env": ["NVIDIA_VISIBLE_DEVICES=../x"]}}, "NVIDIA_VISIBLE_DEVICES"),
]


@pytest.mark.parametrize(("document", "message"), BAD)
def test_a_bad_bundle_is_one_line_and_no_container(
    prefix: Prefix, document: Any, message: str
) -> None:
    prefix.runtime()
    prefix.specs(specs.spec())
    bundle = prefix.bundle(document)
    before = trees.seen(bundle)
    status, out, said = start(prefix, "create", "--bundle", bundle, "id")
    assert (status, out, said.count("\n")) == (1, "", 1)
    assert said.startswith("gpubind-runtime: ")
    assert message in said
    assert prefix.called() == []
    assert trees.seen(bundle) == before


def test_what_nobody_thought_of_is_one_line(prefix: Prefix) -> None:
    prefix.runtime()
    prefix.specs({"kind": "nvidia.com/gpu", "devices": {"0": {}}})
    status, out, said = start(prefix, "create", "--bundle", prefix.bundle(ASKS), "id")
    assert (status, out, said.count("\n")) == (1, "", 1)
    assert said.startswith("gpubind-runtime: KeyError: ")
    assert said.endswith("; please report it [INTERNAL-ERROR]\n")
    assert prefix.called() == []


def test_a_missing_bundle_is_told_in_the_engines_log_too(prefix: Prefix) -> None:
    prefix.runtime()
    log = f"{prefix.path}/log"
    words = ["--log", log, "--log-format", "json", "create", "--bundle", "/absent", "id"]
    status, _, said = start(prefix, *words)
    assert (status, said) == (
        1,
        "gpubind-runtime: /absent/config.json: No such file or directory [SPEC-READ]\n",
    )
    with open(log, encoding="utf-8") as file:
        assert json.load(file)["msg"] + "\n" == said


def test_an_option_without_value_is_bad_usage(prefix: Prefix) -> None:
    prefix.runtime()
    said = "gpubind-runtime: option --bundle needs a value [ARG-VALUE]\n"
    assert start(prefix, "create", "--bundle") == (2, "", said)


def test_a_broken_configuration_starts_nothing(prefix: Prefix) -> None:
    prefix.runtime()
    prefix.put("etc/gpubind/config.toml", "[[[")
    status, _, said = start(prefix, "create", "--bundle", prefix.bundle(ASKS), "id")
    assert status == 1
    assert "config.toml" in said
    assert prefix.called() == []


def test_a_broken_configuration_still_stops_containers(prefix: Prefix) -> None:
    prefix.runtime()
    prefix.put("etc/gpubind/config.toml", "[[[")
    status, _, said = start(prefix, "delete", "id")
    assert (status, prefix.called()) == (0, ["delete", "id"])
    assert said.startswith("gpubind-runtime: warning: ")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#!/absent/interpreter\n", "No such file or directory"),
        ("no program at all", "Exec format error"),
    ],
)
def test_a_runtime_that_cannot_be_run_is_named(prefix: Prefix, text: str, why: str) -> None:
    prefix.runtime(text)
    status, _, said = start(prefix, "state", "id")
    assert (status, said.partition(";")[0]) == (
        1,
        f"gpubind-runtime: {prefix.path}/runtimes/runc can't be run: {why}",
    )


def test_a_runtime_ended_by_a_signal_ends_us_so(prefix: Prefix) -> None:
    prefix.runtime("#!/bin/sh\nkill -9 $$\n")
    assert start(prefix, "state", "id") == (-9, "", "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_harm_nothing(prefix: Prefix, closed: str) -> None:
    prefix.runtime()
    prefix.specs(specs.spec())
    bundle = prefix.bundle(ASKS)
    line = f"exec {prefix.path}/bin/gpubind-runtime create --bundle {bundle} id {closed}"
    launcher = prefix.put("bin/closed", f"#!/bin/sh\n{line}\n", 0o755)
    done = prefix.start("closed", [])
    os.remove(launcher)
    assert (done.returncode, prefix.called()[0]) == (0, "create")


MAKES = """#!/usr/bin/python3 -IS
import json, os, sys
state, folder = sys.argv[4], sys.argv[6]
with open(state + "/compiled.json") as file:
    document = json.load(file)
s = os.stat(folder)
document["stamps"] = {folder: [s.st_mtime_ns, s.st_size, s.st_ino, s.st_ctime_ns]}
with open(state + "/compiled.json", "w") as file:
    json.dump(document, file)
"""


def stale(prefix: Prefix, generator: str) -> tuple[int, str, str]:
    """Start a container after a spec was added; the generator is this program."""
    prefix.runtime()
    prefix.specs(specs.spec())
    prefix.put("cdi/new.yaml", "")
    if generator:
        prefix.put("bin/gpubind", generator, 0o755)
    try:
        return start(prefix, "create", "--bundle", prefix.bundle(ASKS), "id")
    finally:
        if generator:
            os.remove(f"{prefix.path}/bin/gpubind")


def test_specs_that_changed_are_compiled_first(prefix: Prefix) -> None:
    assert stale(prefix, MAKES) == (0, "", "")
    assert prefix.called()[0] == "create"


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        ("", "GENERATOR-ABSENT"),
        ("#!/bin/sh\necho no GPU >&2; exit 1\n", "no GPU [GENERATOR-FAILED]"),
        ("#!/bin/sh\n", "REGISTRY-STALE"),
    ],
)
def test_specs_that_cannot_be_compiled_start_nothing(
    prefix: Prefix, generator: str, message: str
) -> None:
    status, _, said = stale(prefix, generator)
    assert (status, said.count("\n"), prefix.called()) == (1, 1, [])
    assert message in said


def test_the_runtime_gets_its_signals_as_the_engine_gave_them(prefix: Prefix) -> None:
    prefix.runtime("#!/bin/sh\n/usr/bin/grep ^SigIgn: /proc/self/status\n")
    done = prefix.start("gpubind-runtime", ["state", "x"])
    assert done.stdout.split() == [b"SigIgn:", b"0" * 16]
