# SPDX-License-Identifier: Apache-2.0
"""gpubind-runtime-hook as an engine starts it: its words, the state on stdin, what ends it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import checkout
import pytest
import specs

from gpubind import VERSION

if TYPE_CHECKING:
    import subprocess

    from installed import Prefix

HOOK = "gpubind-runtime-hook"
USAGE = "usage: gpubind-runtime-hook [-config FILE] [-debug] [-version] prestart|poststart|poststop"
GPU = "NVIDIA_VISIBLE_DEVICES=0"


def bundle(prefix: Prefix, *env: str, **changes: Any) -> str:
    """Make a bundle whose container has this environment; give its folder."""
    os.makedirs(f"{prefix.path}/bundle/rootfs", exist_ok=True)
    spec = {"process": {"env": list(env)}, "root": {"path": "rootfs"}, **changes}
    prefix.put("bundle/config.json", json.dumps(spec))
    return f"{prefix.path}/bundle"


def state(folder: str, **changes: Any) -> bytes:
    given = {"ociVersion": "1.0.2", "id": "name", "pid": os.getpid(), "bundle": folder, **changes}
    return json.dumps(given).encode()


def start(prefix: Prefix, data: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    return prefix.start(HOOK, words or ("prestart",), data=data)


def told(done: subprocess.CompletedProcess[bytes]) -> tuple[int, str]:
    """Give the status and the one line it said."""
    assert done.stderr.count(b"\n") == 1, done.stderr
    return done.returncode, done.stderr.decode().rstrip("\n")


@pytest.mark.parametrize("words", [["-version"], ["--version"], ["-debug", "-version=true"]])
def test_the_version(prefix: Prefix, words: list[str]) -> None:
    done = start(prefix, b"", *words)
    said = f"{HOOK} version {VERSION}\n".encode()
    assert (done.returncode, done.stdout, done.stderr) == (0, said, b"")


@pytest.mark.parametrize("command", ["poststart", "poststop"])
def test_commands_that_do_nothing_read_nothing(prefix: Prefix, command: str) -> None:
    done = start(prefix, b"no state at all", command)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("words", [["-debug"], ["precreate"], ["-config=x"], [""]])
def test_no_command_or_an_unknown_one_is_told_the_usage(prefix: Prefix, words: list[str]) -> None:
    assert told(start(prefix, b"", *words)) == (2, f"{HOOK}: {USAGE} [ARG-COMMAND]")


def test_no_words_at_all_are_told_the_usage(prefix: Prefix) -> None:
    assert told(prefix.start(HOOK, [])) == (2, f"{HOOK}: {USAGE} [ARG-COMMAND]")


@pytest.mark.parametrize("flag", ["-x", "---debug", "-debug=maybe", "-config"])
def test_an_unknown_flag_is_named(prefix: Prefix, flag: str) -> None:
    line = f"{HOOK}: there is no option {flag.partition('=')[0]}; {USAGE} [ARG-OPTION]"
    assert told(start(prefix, b"", flag)) == (2, line)


@pytest.mark.parametrize(
    "env",
    [[], ["NVIDIA_VISIBLE_DEVICES="], ["NVIDIA_VISIBLE_DEVICES=void"], [GPU, GPU[:-1] + "void"]],
)
def test_a_container_that_asks_for_nothing_gets_nothing_silently(
    prefix: Prefix, env: list[str]
) -> None:
    done = start(prefix, state(bundle(prefix, *env), pid="not even a number"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_what_the_hook_does_not_need_may_have_any_shape(prefix: Prefix) -> None:
    folder = bundle(prefix, hooks=[1], linux="x", annotations=7, solaris={})
    assert start(prefix, state(folder)).returncode == 0


def test_the_bundle_s_old_name_is_known(prefix: Prefix) -> None:
    folder = bundle(prefix)
    assert start(prefix, state("", bundlePath=folder)).returncode == 0


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "the OCI state on stdin: the file is empty [DOC-INVALID]"),
        (b"[]", "the OCI state on stdin: expected an object [DOC-INVALID]"),
        (
            state("relative"),
            "the OCI state on stdin: expected a folder's name at bundle [DOC-INVALID]",
        ),
        (
            state("/a\0b"),
            "the OCI state on stdin: expected a folder's name at bundle [DOC-INVALID]",
        ),
        (state("/absent"), "/absent/config.json: No such file or directory [SPEC-READ]"),
        (
            b" " * (1 << 20) + b"{}",
            "the OCI state on stdin: larger than 1048576 bytes [DOC-INVALID]",
        ),
    ],
)
def test_a_broken_state_is_one_line(prefix: Prefix, data: bytes, line: str) -> None:
    assert told(start(prefix, data)) == (1, f"{HOOK}: {line}")


@pytest.mark.parametrize("pid", [None, "1", True, 0, -1, 1 << 31, 1.5])
def test_a_pid_that_is_none_is_refused(prefix: Prefix, pid: Any) -> None:
    prefix.specs(specs.spec())
    line = "the OCI state on stdin: expected the number of a process at pid [DOC-INVALID]"
    assert told(start(prefix, state(bundle(prefix, GPU), pid=pid))) == (1, f"{HOOK}: {line}")


def test_a_container_in_our_own_mount_namespace_is_refused(prefix: Prefix) -> None:
    prefix.specs(specs.spec())
    status, line = told(start(prefix, state(bundle(prefix, GPU))))
    assert (status, line.endswith("[PRESTART-NAMESPACE]")) == (1, True)
    assert f"process {os.getpid()} has no mount namespace of its own" in line
    assert os.listdir(f"{prefix.path}/bundle/rootfs") == []


def test_a_process_that_is_gone_is_named(prefix: Prefix) -> None:
    prefix.specs(specs.spec())
    line = "process 2147483647 of the OCI state: No such file or directory [PRESTART-PROCESS]"
    done = start(prefix, state(bundle(prefix, GPU), pid=(1 << 31) - 1))
    assert told(done) == (1, f"{HOOK}: {line}")


def test_an_unknown_device_is_named(prefix: Prefix) -> None:
    prefix.specs(specs.spec())
    status, line = told(start(prefix, state(bundle(prefix, "NVIDIA_VISIBLE_DEVICES=42"))))
    assert (status, "nvidia.com/gpu=42" in line) == (1, True)
    assert line.endswith("[REGISTRY-DEVICE]")


def test_a_host_with_nothing_to_give_is_an_error(prefix: Prefix) -> None:
    prefix.specs()
    status, line = told(start(prefix, state(bundle(prefix, GPU))))
    assert (status, "started without" in line) == (1, False)
    assert line.endswith(("[NO-DRIVER]", "[REGISTRY-DEVICE]"))  # the latter on a host with GPUs


def test_the_configuration_may_be_named(prefix: Prefix) -> None:
    prefix.specs(specs.spec())
    file = prefix.put("other.toml", "[nvidia-container-runtime.modes.cdi]\nspec-dirs = 3\n")
    status, line = told(start(prefix, state(bundle(prefix, GPU)), "-config", file, "prestart"))
    assert (status, line.startswith(f"{HOOK}: {file}: ")) == (1, True)


def test_the_hook_file_starts_our_launcher_with_an_environment_of_its_own() -> None:
    document = json.loads(checkout.text(checkout.ROOT, "hooks/hooks.d/oci-nvidia-hook.json"))
    assert document == {
        "version": "1.0.0",
        "hook": {
            "path": "/usr/bin/gpubind-runtime-hook",
            "args": [HOOK, "prestart"],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "when": {"always": True},
        "stages": ["prestart"],
    }
