# SPDX-License-Identifier: Apache-2.0
"""Broken and odd daemon.json, by the rows of the list of hostile inputs: refused, or kept whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trees
from engine_runs import OURS, configure, leftovers, runtime

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Outcome

TEXT_ERRORS = [
    ("3 truncated", '{"debug": tru', "1:11: expected a value, found 'tru'"),
    ("3 cut in a text", '{\n  "debug": "x', "2:14: the text ends, expected the end of a text"),
    ("3 cut behind a comma", '{\n  "debug": true,\n', "3:1: the text ends, expected a key"),
    ("4 a list", "[]\n", "1:1: expected an object"),
    ("4 a text", '"x"', "1:1: expected an object"),
    ("4 a number", "1", "1:1: expected an object"),
    ("5 null", "null", "1:1: expected an object"),
    ("6 text behind it", '{"debug": true} x', "1:17: expected nothing more after the object"),
    ("6 a second document", "{}\n{}\n", "2:1: expected nothing more after the object"),
    ("7 a comment", '{\n  // no\n  "debug": true\n}', "2:3: JSON has no comments"),
    ("7 a shell comment", '{\n  "debug": true # no\n}', "2:17: JSON has no comments"),
    ("7 a comment before it", "# no\n{}", "1:1: JSON has no comments"),
    ("7 a comma too many", '{"dns": ["1.1.1.1",]}', "1:20: expected a value, found ']': JSON has"),
    ("7 a comma at the end", '{\n  "debug": true,\n}', "3:1: expected a key in double quotes"),
    ("8 a key twice", '{"a": 1,\n "a": 2}', '2:2: the key "a" is there twice, first in line 1'),
    (
        "8 a key twice, inside",
        '{"log-opts": {\n"m": "1",\n"m": "2"}}',
        '3:1: the key "m" is there twice, first in line 2',
    ),
    (
        "8 a runtime twice",
        '{"runtimes": {"nvidia": {},\n\n"nvidia": {}}}',
        '3:1: the key "nvidia" is there twice, first in line 1',
    ),
    ("10 half a pair", '{"a": "\\ud800"}', "1:7: half of a surrogate pair"),
    ("10 a raw control letter", '{"a": "\x01"}', "1:8: JSON has no such control character"),
    ("10 an unknown escape", '{"a": "\\x"}', "1:8: JSON has no such escape"),
    ("12 NaN", '{"mtu": NaN}', "1:9: expected a value, found 'NaN'"),
    ("12 infinity", '{"mtu": -Infinity}', "1:9: expected a value, found '-Infinity'"),
    ("12 a leading zero", '{"mtu": 01450}', "1:9: expected a value, found '01450'"),
    ("12 a plus", '{"mtu": +1}', "1:9: expected a value, found '+1'"),
    ("14 deep", '{"a": ' + "[" * 20_000, "1:107: nested too deeply"),
    ("14 deeper", '{"a":' * 100_000, "1:506: nested too deeply"),
    ("16 runtimes a list", '{"runtimes": []}', "1:14: runtimes must be an object"),
    ("16 runtimes null", '{"runtimes": null}', "1:14: runtimes must be an object"),
    ("16 runtimes a text", '{"runtimes": "x"}', "1:14: runtimes must be an object"),
    (
        "16 a runtime a text",
        '{"runtimes": {"crun": "/usr/bin/crun"}}',
        "1:23: runtimes.crun must be an object",
    ),
    (
        "16 a path a number",
        '{"runtimes": {"nvidia":\n{"path": 1}}}',
        "2:10: runtimes.nvidia.path must be a text",
    ),
    ("17 features a text", '{"features": "cdi"}', "1:14: features must be an object"),
    ("17 features a list", '{"features": []}', "1:14: features must be an object"),
    ("17 cdi a text", '{"features": {"cdi": "on"}}', "1:22: features.cdi must be true or false"),
    ("18 the default a number", '{"default-runtime": 1}', "1:21: default-runtime must be a text"),
]


def refused(outcome: Outcome, path: str) -> str:
    """Give the message for a file, which is one line, and its line with the caret below."""
    line, *excerpt = outcome.err.splitlines()
    assert (outcome.status, outcome.out, line.startswith(f"gpubind: {path}:")) == (1, "", True), (
        line
    )
    assert len(excerpt) == 2
    assert excerpt[1].strip() == "^"
    assert "Traceback" not in outcome.err
    return line.removeprefix(f"gpubind: {path}:")


@pytest.mark.parametrize(
    ("text", "message"), [row[1:] for row in TEXT_ERRORS], ids=[row[0] for row in TEXT_ERRORS]
)
def test_row3_to_row18_a_broken_file_is_named_with_line_column_and_caret(
    tmp_path: Path, text: str, message: str
) -> None:
    trees.build(tmp_path, {"/daemon.json": text})
    before = trees.seen(tmp_path)["daemon.json"]
    outcome = configure(tmp_path, "--set-as-default", "--cdi.enabled")
    assert refused(outcome, f"{tmp_path}/daemon.json").startswith(message)
    assert trees.seen(tmp_path)["daemon.json"] == before


def test_row3_the_caret_stands_below_the_fault(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": '{\n\t"debug": true,\n\t"mtu": 14 50\n}\n'})
    assert configure(tmp_path).err.splitlines()[1:] == [
        '     "mtu": 14 50',
        "               ^",
    ]


@pytest.mark.parametrize("data", [b'{"a": "\xff"}', b'{"a": "\xc3('], ids=["lone", "cut"])
def test_row10_bytes_that_are_no_text_are_named_with_their_place(
    tmp_path: Path, data: bytes
) -> None:
    trees.build(tmp_path, {"/daemon.json": data})
    outcome = configure(tmp_path)
    assert refused(outcome, f"{tmp_path}/daemon.json").startswith("1:8: byte 7 is no UTF-8")


def test_row1_a_file_that_is_not_there_is_made_with_its_folder(tmp_path: Path) -> None:
    place = tmp_path / "etc/docker"
    planned = configure(place, "--dry-run")
    assert (planned.status, place.exists()) == (0, False)
    assert "+++ " + f"{place}/daemon.json" in planned.out
    assert configure(place).status == 0
    assert oct((place / "daemon.json").stat().st_mode & 0o7777) == "0o644"
    assert oct(place.stat().st_mode & 0o7777) == "0o755"
    assert (place / "daemon.json").read_text() == (
        '{\n    "runtimes": {\n        "nvidia": {\n            "args": [],\n'
        '            "path": "/usr/bin/gpubind-runtime"\n        }\n    }\n}\n'
    )


@pytest.mark.parametrize("text", ["", "\n", " \t\r\n\r\n"])
def test_row2_an_empty_file_is_an_empty_object(tmp_path: Path, text: str) -> None:
    trees.build(tmp_path, {"/daemon.json": text})
    assert configure(tmp_path).status == 0
    written = (tmp_path / "daemon.json").read_bytes().decode()
    assert [*json.loads(written)] == ["runtimes"]
    assert runtime("unconfigure", tmp_path).status == 0
    assert (tmp_path / "daemon.json").read_bytes().decode() == text


def test_row19_what_a_user_gave_our_runtime_stays(tmp_path: Path) -> None:
    text = (
        '{"runtimes":{"nvidia":{"path":"nvidia-container-runtime","runtimeArgs":["-x"],"z":1.0}}}'
    )
    trees.build(tmp_path, {"/daemon.json": text})
    assert configure(tmp_path).status == 0
    wanted = text.replace("nvidia-container-runtime", "/usr/bin/gpubind-runtime")
    assert (tmp_path / "daemon.json").read_text() == wanted


def test_row18_the_default_of_the_user_stays_unless_asked(tmp_path: Path) -> None:
    text = '{"default-runtime": "crun", "runtimes": {"crun": {"path": "/usr/bin/crun"}}}'
    trees.build(tmp_path, {"/daemon.json": text})
    assert configure(tmp_path).status == 0
    assert json.loads((tmp_path / "daemon.json").read_text())["default-runtime"] == "crun"
    asked = configure(tmp_path, "--set-as-default")
    assert "warning: the default runtime was crun; unconfigure gives it back" in asked.err
    assert json.loads((tmp_path / "daemon.json").read_text())["default-runtime"] == "nvidia"
    assert configure(tmp_path, "--no-set-as-default").status == 0
    assert json.loads((tmp_path / "daemon.json").read_text())["default-runtime"] == "crun"


def test_row20_other_keys_are_none_of_our_business(tmp_path: Path) -> None:
    text = '{"exec-opts": ["native.cgroupdriver=systemd"], "hosts": ["fd://"], "unknown": {"a": 1}}'
    trees.build(tmp_path, {"/daemon.json": text})
    assert configure(tmp_path).status == 0
    assert (tmp_path / "daemon.json").read_text().startswith(text[:-1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nvidia-runtime-name=a/b"], "'a/b' is no runtime name"),
        (["--nvidia-runtime-name=a b"], "'a b' is no runtime name"),
        (["--nvidia-runtime-name="], "'' is no runtime name"),
        (['--nvidia-runtime-name="]\n[x'], "is no runtime name"),
        (["--nvidia-runtime-name=ä"], "is no runtime name"),
        (["--nvidia-runtime-name=runc"], "docker has a runtime runc of its own"),
        (["--nvidia-runtime-path=a\nb"], "is no path"),
        (["--nvidia-runtime-path=rel/x"], "is not an absolute path"),
        (["--config=/" + "x" * 5000], "is no path"),
        (["--config=/a\nb"], "is no path"),
        (["--runtime=../x"], "unrecognized runtime '../x'"),
        (["--runtime=foo"], "unrecognized runtime 'foo'"),
        (["--drop-in-config=/x.json"], "runtime docker does not support drop-in configs"),
        (["--config-mode=sideways"], "Invalid value for '--config-mode'"),
        (["--config-source=sideways"], "Invalid value for '--config-source'"),
        (["--nvidia-runtime-path="], "the NVIDIA runtime path '' is not an absolute path"),
        (["--set-as-default", "--no-set-as-default"], "contradict each other"),
        (["--set-as-default=maybe"], "'maybe' is not a valid boolean"),
    ],
)
def test_row35_words_that_fit_no_file_are_bad_usage(
    tmp_path: Path, words: list[str], message: str
) -> None:
    trees.build(tmp_path, {"/daemon.json": "{}"})
    outcome = configure(tmp_path, *words)
    assert (outcome.status, len(outcome.err.splitlines())) == (2, 1), outcome.err
    assert message in outcome.err
    assert (tmp_path / "daemon.json").read_text() == "{}"


def test_row36_a_file_dockerd_would_not_start_with_is_not_written(tmp_path: Path) -> None:
    text = '{"default-runtime": "gone"}'
    trees.build(tmp_path, {"/daemon.json": text})
    outcome = configure(tmp_path)
    assert (outcome.status, "'gone', which is no runtime of the file" in outcome.err) == (1, True)
    assert (tmp_path / "daemon.json").read_text() == text
    assert leftovers(tmp_path) == []


def test_row37_what_others_wrote_since_stays(tmp_path: Path) -> None:
    text = '{\n  "default-runtime": "crun",\n  "runtimes": {"crun": {"path": "/bin/crun"}}\n}\n'
    trees.build(tmp_path, {"/daemon.json": text})
    assert configure(tmp_path, "--set-as-default").status == 0
    file = tmp_path / "daemon.json"
    file.write_text(file.read_text().replace("{\n", '{\n  "mtu": 1450,\n', 1))
    outcome = runtime("unconfigure", tmp_path)
    assert outcome.status == 0
    assert "has changed since; only our keys are removed" in outcome.err
    assert file.read_text() == text.replace("{\n", '{\n  "mtu": 1450,\n', 1)


def test_nothing_is_left_to_do_the_second_time(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/daemon.json": '{\n  "debug": true\n}\n'})
    assert configure(tmp_path).status == 0
    before = trees.seen(tmp_path)
    again = configure(tmp_path)
    assert (again.status, "is as wanted; nothing is changed" in again.err) == (0, True)
    assert "recommended" not in again.err
    assert {k: v for k, v in trees.seen(tmp_path).items() if k != "state/lock"} == {
        k: v for k, v in before.items() if k != "state/lock"
    }
    assert (tmp_path / "daemon.json").read_bytes() == OURS
