# SPDX-License-Identifier: Apache-2.0
"""The CDI hook as a runtime starts it: state on stdin, the plan in its words."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import trees
from gpubind_hooks import cdi

from gpubind import VERSION
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path

    from installed import Prefix

LINK = "create-symlinks --link libcuda.so.1::/usr/lib/gpu/libcuda.so"
WORDS = shlex.split(f"{LINK} update-ldcache --folder /usr/lib/gpu --library /usr/lib/gpu/libx.so.1")
MADE = {"etc", "usr"}


@pytest.fixture
def bundle(prefix: Prefix) -> str:
    return prefix.bundle({"root": {"path": "rootfs"}})


def hook(
    prefix: Prefix, state: Any, words: list[str] | None = None, cwd: str = ""
) -> tuple[int, str, str]:
    data = state if isinstance(state, bytes) else json.dumps(state).encode()
    done = prefix.start("gpubind-cdi-hook", WORDS if words is None else words, data=data, cwd=cwd)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def made(bundle: str) -> set[str]:
    return set(os.listdir(f"{bundle}/rootfs"))


@pytest.mark.parametrize("root", ["rootfs", "{bundle}/rootfs", "./rootfs/"])
def test_the_states_root_counts(prefix: Prefix, bundle: str, root: str) -> None:
    state = {"bundle": bundle, "root": root.replace("{bundle}", bundle)}
    assert hook(prefix, state) == (0, "", "")
    assert made(bundle) == MADE
    assert os.readlink(f"{bundle}/rootfs/usr/lib/gpu/libcuda.so") == "libcuda.so.1"


def test_a_second_time_changes_nothing(prefix: Prefix, bundle: str) -> None:
    hook(prefix, {"bundle": bundle, "root": "rootfs"})
    before = trees.seen(bundle)
    assert hook(prefix, {"bundle": bundle, "root": "rootfs"}) == (0, "", "")
    assert trees.seen(bundle) == before


@pytest.mark.parametrize("key", ["bundle", "bundlePath"])
def test_without_a_root_the_bundles_config_names_it(prefix: Prefix, bundle: str, key: str) -> None:
    assert hook(prefix, {key: bundle, "id": "x", "new": [1]}) == (0, "", "")
    assert made(bundle) == MADE


def test_the_states_root_counts_before_the_configs(prefix: Prefix, bundle: str) -> None:
    os.mkdir(f"{bundle}/other")
    assert hook(prefix, {"bundle": bundle, "root": "other"}) == (0, "", "")
    assert (made(bundle), set(os.listdir(f"{bundle}/other"))) == (set(), MADE)


def test_the_root_the_shim_names_needs_no_state(prefix: Prefix, bundle: str) -> None:
    assert hook(prefix, b"", ["--root", f"{bundle}/rootfs", *WORDS]) == (0, "", "")
    assert made(bundle) == MADE


@pytest.mark.parametrize(
    ("root", "status", "message"),
    [
        ("", 2, "--root needs a folder's absolute name"),
        ("rootfs", 2, "--root needs a folder's absolute name"),
        ("/", 2, "--root is the root this hook runs in"),
        ("/proc/self/root", 2, "--root is the root this hook runs in"),
        ("/nowhere/at/all", 1, "/nowhere/at/all: No such file or directory"),
        ("{bundle}/config.json", 1, "config.json: Not a directory"),
    ],
)
def test_a_root_that_is_none_is_refused(
    prefix: Prefix, bundle: str, root: str, status: int, message: str
) -> None:
    words = ["--root", root.replace("{bundle}", bundle), *WORDS]
    answered, _, text = hook(prefix, {"bundle": bundle}, words)
    assert answered == status
    assert message in text
    assert made(bundle) == set()


def test_where_the_config_is_not_to_be_read_the_working_folder_is_the_root(
    prefix: Prefix, bundle: str
) -> None:
    os.remove(f"{bundle}/config.json")
    assert hook(prefix, {"bundle": bundle}, cwd=f"{bundle}/rootfs") == (0, "", "")
    assert made(bundle) == MADE


STATES: list[tuple[bytes, str]] = [
    (b"", "the OCI state on stdin: the file is empty [DOC-INVALID]"),
    (b"  \n", "the OCI state on stdin: the file is empty [DOC-INVALID]"),
    (b'{"bundle": "/b', "the OCI state on stdin: broken JSON: Unterminated string"),
    (b"{}{}", "the OCI state on stdin: text after the end of the document, line 1"),
    (b"{} x", "the OCI state on stdin: text after the end of the document, line 1"),
    (b"[]", "the OCI state on stdin: expected an object [DOC-INVALID]"),
    (b"null", "the OCI state on stdin: expected an object [DOC-INVALID]"),
    (b'{"a":1,"a":2}', "the OCI state on stdin: duplicate key 'a' [DOC-INVALID]"),
    (b"\xff", "the OCI state on stdin: byte 0 is not UTF-8 [DOC-INVALID]"),
    (b" " * (2 << 20), "the OCI state on stdin: larger than 1048576 bytes [DOC-INVALID]"),
    (b"[" * 100_000, "the OCI state on stdin: nested too deeply [DOC-INVALID]"),
    (b"{}", "the OCI state: expected a folder's name at bundle [DOC-INVALID]"),
    (b'{"bundle":""}', "the OCI state: expected a folder's name at bundle [DOC-INVALID]"),
    (b'{"bundle":3}', "the OCI state: expected a folder's name at bundle [DOC-INVALID]"),
    (b'{"bundle":"b"}', "the OCI state: expected a folder's name at bundle [DOC-INVALID]"),
    (b'{"bundle":"/a\\u0000"}', "the OCI state: expected a folder's name at bundle"),
    (b'{"bundle":"/","root":3}', "the OCI state: expected a folder's name at root"),
    (b'{"bundle":"/","root":"a\\u0000"}', "the OCI state: expected a folder's name at root"),
    (b'{"bundle":"/","root":"\\ud800"}', "the OCI state: expected a folder's name at root"),
    (b'{"bundle":"/","root":"/"}', "the OCI state: is the root this hook runs in at root"),
    (b'{"bundle":"/etc","root":".."}', "the OCI state: is the root this hook runs in at root"),
    (b'{"bundle":"/","root":"/proc/self/root"}', "the OCI state: is the root this hook runs in"),
    (b'{"bundle":"/","root":"/absent"}', "/absent: No such file or directory [HOOK-OS]"),
    (b'{"bundle":"/","root":"/etc/passwd"}', "/etc/passwd: Not a directory [HOOK-OS]"),
    (b'{"bundle":"/a\\nb","root":"x"}', "/a\\nb/x: No such file or directory [HOOK-OS]"),
    (b'{"bundle":"/absent"}', "/absent: No such file or directory [HOOK-OS]"),
]


@pytest.mark.parametrize(
    ("state", "message"), STATES, ids=[repr(given[:30]) for given, _ in STATES]
)
def test_a_bad_state_is_one_line(prefix: Prefix, state: bytes, message: str) -> None:
    status, out, said = hook(prefix, state)
    assert (status, out, said.count("\n")) == (1, "", 1)
    assert said.startswith(f"gpubind-cdi-hook: {message}")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "broken JSON"),
        ({}, "expected a folder's name at root.path"),
        ({"root": {"path": ""}}, "expected a folder's name at root.path"),
        ({"root": {"path": "/"}}, "is the host's own root at root.path"),
        ({"root": {"path": "../x"}}, "leads out of the bundle at root.path"),
    ],
)
def test_a_config_that_names_no_root_is_one_line(prefix: Prefix, config: Any, message: str) -> None:
    bundle = prefix.bundle(config)
    status, _, said = hook(prefix, {"bundle": bundle})
    assert (status, said.count("\n"), made(bundle)) == (1, 1, set())
    assert said.startswith(f"gpubind-cdi-hook: {bundle}/config.json: {message}")


def test_without_config_and_in_the_bundle_there_is_no_root(prefix: Prefix, bundle: str) -> None:
    os.remove(f"{bundle}/config.json")
    status, _, said = hook(prefix, {"bundle": bundle}, cwd=bundle)
    assert (status, said.partition(": ")[2]) == (
        1,
        f"{bundle}/config.json can't be read to find the root [SPEC-READ]\n",
    )
    assert made(bundle) == set()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 0, ""),
        (["newer-hook", "--x"], 0, "warning: unsupported CDI hook 'newer-hook' skipped"),
        (["--new"], 2, "there is no option --new [ARG-OPTION]"),
        (["create-symlinks", "--new"], 2, "create-symlinks has no option --new [ARG-OPTION]"),
        (["create-symlinks", "--link"], 2, "create-symlinks: --link needs a value [ARG-VALUE]"),
    ],
)
def test_words_without_a_plan_need_no_state(
    prefix: Prefix, words: list[str], status: int, said: str
) -> None:
    line = f"gpubind-cdi-hook: {said}\n" if said else ""
    assert hook(prefix, b"", words) == (status, "", line)


def test_an_unknown_hook_keeps_none_from_its_work(prefix: Prefix, bundle: str) -> None:
    words = ["newer-hook", "--x", "1", *WORDS]
    status, _, said = hook(prefix, {"bundle": bundle, "root": "rootfs"}, words)
    assert (status, made(bundle)) == (0, MADE)
    assert said == "gpubind-cdi-hook: warning: unsupported CDI hook 'newer-hook' skipped\n"


def test_what_cannot_be_made_is_one_line(prefix: Prefix, bundle: str) -> None:
    trees.build(bundle, {"/rootfs/usr/lib/gpu/libcuda.so/x": ""})
    status, _, said = hook(prefix, {"bundle": bundle, "root": "rootfs"})
    assert (status, said) == (
        1,
        "gpubind-cdi-hook: container's root: link /usr/lib/gpu/libcuda.so -> libcuda.so.1: "
        "Is a directory [ROOT-WRITE]\n",
    )


@pytest.mark.parametrize("word", ["--version", "-v"])
def test_the_version_is_told(prefix: Prefix, word: str) -> None:
    assert hook(prefix, b"", [word]) == (0, f"gpubind-cdi-hook version {VERSION}\n", "")


def shell(prefix: Prefix, line: str) -> tuple[int, str]:
    words = " ".join(map(shlex.quote, [f"{prefix.path}/bin/gpubind-cdi-hook", *WORDS]))
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {words} {line}"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={},
    )
    return done.returncode, done.stderr.decode()


def test_a_closed_stdin_is_one_line(prefix: Prefix) -> None:
    status, said = shell(prefix, "<&-")
    assert (status, said) == (1, "gpubind-cdi-hook: Bad file descriptor [HOOK-OS]\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_outputs_harm_nothing(prefix: Prefix, bundle: str, closed: str) -> None:
    state = prefix.put("state", json.dumps({"bundle": bundle, "root": "rootfs"}))
    assert shell(prefix, f"<{state} {closed}") == (0, "")
    assert made(bundle) == MADE


@pytest.mark.parametrize("state", ["", "garbage"])
def test_an_error_that_nobody_hears_is_an_error(prefix: Prefix, state: str) -> None:
    assert shell(prefix, f"<{prefix.put('state', state)} 2>&-") == (1, "")


def test_a_state_that_never_ends_is_given_up(prefix: Prefix, bundle: str) -> None:
    text = prefix.put("bin/hasty", "", 0o755)
    with open(f"{prefix.path}/bin/gpubind-cdi-hook", encoding="utf-8") as file:
        prefix.put("bin/hasty", file.read().replace("main(sys.argv)", "main(sys.argv, 0.4)"), 0o755)
    reader, writer = os.pipe()
    os.write(writer, b'{"bundle":')
    begun = time.monotonic()
    done = subprocess.run([text, *WORDS], check=False, stdin=reader, capture_output=True)
    took = time.monotonic() - begun
    os.close(reader)
    os.close(writer)
    os.remove(text)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert done.stderr.endswith(b"[HOOK-TIMEOUT]\n")
    assert took < 10
    assert made(bundle) == set()


def state(**known: object) -> bytes:
    return json.dumps(known).encode()


def test_a_root_is_found_in_process_too(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/rootfs/x": "", "/config.json": '{"root":{"path":"rootfs"}}'})
    assert cdi.container_root(state(bundle=str(tmp_path))) == f"{tmp_path}/rootfs"
    assert cdi.container_root(state(bundle="/", root=str(tmp_path))) == str(tmp_path)


def test_no_root_is_an_error_in_process_too() -> None:
    with pytest.raises(ToolkitError, match="expected a folder's name at bundle"):
        cdi.container_root(b"{}")
