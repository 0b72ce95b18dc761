# SPDX-License-Identifier: Apache-2.0
"""Every shape of a low-level runtime's command line."""

from __future__ import annotations

import os
import shlex

import pytest

from gpubind.errors import UsageError
from gpubind.oci import args


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("create id", "create"),
        ("run id", "run"),
        ("state id", "state"),
        ("--root /run/x --log /log --log-format json --systemd-cgroup create id", "create"),
        ("--root=/run/x --log=/log create id", "create"),
        ("--log create state id", "state"),
        ("--root create delete id", "delete"),
        ("--cgroup-manager=systemd create id", "create"),
        ("--log-level debug create id", "create"),
        ("--debug create id", "create"),
        ("delete create", "delete"),
        ("kill create KILL", "kill"),
        ("exec create --bundle x", "exec"),
        ("delete --force create", "delete"),
        ("--unknown value create id", "create"),
        ("--unknown=value create id", "create"),
        ("-- create id", "create"),
        ("", ""),
        ("--version", ""),
        ("unheard-of", ""),
    ],
)
def test_the_command_is_told_from_values_and_names(line: str, command: str) -> None:
    assert args.parse(shlex.split(line)).command == command


@pytest.mark.parametrize("command", ["create", "run"])
def test_these_commands_make_a_container(command: str) -> None:
    assert args.parse([command, "id"]).makes_container


@pytest.mark.parametrize(
    "line",
    [
        *("start create", "state run", "delete id", "exec id create", "list", "restore id", ""),
        *("create --help", "run -h", "create -help", "--help create"),
    ],
)
def test_these_lines_make_none(line: str) -> None:
    assert not args.parse(shlex.split(line)).makes_container


@pytest.mark.parametrize(
    ("line", "bundle"),
    [
        ("create --bundle /b id", "/b"),
        ("create --bundle=/b id", "/b"),
        ("create -bundle /b id", "/b"),
        ("create -b /b id", "/b"),
        ("create -b=/b id", "/b"),
        ("create id --bundle /b", "/b"),
        ("run --detach --keep -b /b id", "/b"),
        ("create --bundle /a --bundle /b id", "/b"),
        ("create --pid-file /p --console-socket /s --bundle /b id", "/b"),
        ("create --preserve-fds 3 --bundle /b id", "/b"),
        *(
            (f"create --{option} --bundle --bundle /b id", "/b")
            for option in ("console-socket", "pid-file", "pidfd-socket", "preserve-fds", "config")
        ),
        ("create --no-pivot --no-new-keyring --bundle /b id", "/b"),
        ("create --bundle /b create", "/b"),
        ("create --bundle /b=c id", "/b=c"),
        ("create --bundle=/b=c id", "/b=c"),
        ("create --pid-file --bundle id", ""),
        ("create id -- --bundle /b", ""),
        ("--bundle /b create id", ""),
        ("create --bundle= id", ""),
        ("create id -", ""),
        ("create id", ""),
    ],
)
def test_the_bundle_is_read_as_runc_reads_it(line: str, bundle: str) -> None:
    assert args.parse(shlex.split(line)).bundle == bundle


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("create --bundle", "--bundle"),
        ("run -b", "-b"),
        ("create id --pid-file", "--pid-file"),
        ("--log", "--log"),
        ("--root", "--root"),
    ],
)
def test_an_option_without_its_value_is_bad_usage(line: str, option: str) -> None:
    with pytest.raises(UsageError, match=rf"option {option} needs a value \[ARG-VALUE\]") as caught:
        args.parse(shlex.split(line))
    assert caught.value.status == 2


@pytest.mark.parametrize(
    ("line", "log", "form"),
    [
        ("--log /l --log-format json create id", "/l", "json"),
        ("--log=/l create id", "/l", "text"),
        ("create --log /l id", "", "text"),
        ("create id", "", "text"),
    ],
)
def test_the_engines_log_is_a_global_option(line: str, log: str, form: str) -> None:
    read = args.parse(shlex.split(line))
    assert (read.log, read.log_format) == (log, form)


@pytest.mark.parametrize(
    ("line", "debug"),
    [("--debug create x", True), ("--debug=false create x", False), ("create x", False)],
)
def test_debug_is_read(line: str, debug: bool) -> None:  # noqa: FBT001 - a column of the table
    assert args.parse(shlex.split(line)).debug is debug


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("create --bundle /b id", "/b/config.json"),
        ("create --bundle /b/../c/ id", "/b/../c/config.json"),  # a link is followed before ..
        ("create --bundle b id", "{cwd}/b/config.json"),
        ("create id", "{cwd}/config.json"),
        ("create --config /x/y.json --bundle /b id", "/x/y.json"),
        ("create -f y.json --bundle /b id", "{cwd}/y.json"),
        ("create --config config.json --bundle /b id", "/b/config.json"),
    ],
)
def test_the_config_is_the_one_the_runtime_will_read(line: str, file: str) -> None:
    expected = file.replace("{cwd}", os.getcwd())
    assert args.config_of(args.parse(shlex.split(line))) == expected


def test_the_words_are_left_as_they_are() -> None:
    words = ["--log", "/l", "create", "--bundle", "/b", "id"]
    args.parse(words)
    assert words == ["--log", "/l", "create", "--bundle", "/b", "id"]
