# SPDX-License-Identifier: Apache-2.0
"""`gpubind config`: what it shows, what it changes, and what it leaves alone."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import trees
from command_line import Outcome, gpubind

from gpubind.errors import ToolkitError
from gpubind_ctl import toml

if TYPE_CHECKING:
    from pathlib import Path

OWN = """\
# my host
[nvidia-container-runtime]   # the runtime
runtimes = [
    "runc",  # first
]
  mode = "auto" # as it comes

[other]
x = 1
"""


def config(tmp_path: Path, text: str | bytes | None, *words: str) -> Outcome:
    if text is not None:
        trees.build(tmp_path, {"/config.toml": text})
    return gpubind("config", "--config", tmp_path / "config.toml", *words)


def test_a_file_is_shown_as_it_is_and_unknown_keys_are_named(tmp_path: Path) -> None:
    outcome = config(tmp_path, OWN + "[nvidia-container-cli]\nno-cgroup = true\n")
    file = f"{tmp_path}/config.toml"
    assert (outcome.status, outcome.out) == (0, OWN + "[nvidia-container-cli]\nno-cgroup = true\n")
    assert outcome.err.splitlines() == [
        f"gpubind: warning: {file}: there is no key other.x; it is kept and has no effect",
        f"gpubind: warning: {file}: there is no key nvidia-container-cli.no-cgroup, is "
        "nvidia-container-cli.no-cgroups meant?; it is kept and has no effect",
    ]


def test_a_change_keeps_comments_order_and_everything_else(tmp_path: Path) -> None:
    words = ("--set", "nvidia-container-runtime.mode=cdi", "--in-place")
    outcome = config(tmp_path, OWN, *words)
    assert (outcome.status, outcome.out) == (0, "")
    assert (tmp_path / "config.toml").read_text() == OWN.replace('"auto"', '"cdi"')


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("swarm-resource=A,B", 'swarm-resource = "A,B"'),
        ("swarm-resource=a=b", 'swarm-resource = "a=b"'),
        ("swarm-resource=true", 'swarm-resource = "true"'),
        ("swarm-resource=", 'swarm-resource = ""'),
        ('swarm-resource="\\\n', 'swarm-resource = "\\"\\\\\\n"'),
        ("disable-require", "disable-require = true"),
        ("disable-require=T", "disable-require = true"),
        ("disable-require=0", "disable-require = false"),
        ("nvidia-container-runtime.runtimes=a:b,c", 'runtimes = ["a", "b,c"]'),
        ("nvidia-container-runtime.runtimes=", "runtimes = []"),
        ("nvidia-container-cli.no-cgroups", "no-cgroups = true"),
        ("features.ignore-imex-channel-requests=true", "ignore-imex-channel-requests = true"),
        ("gpubind.policy.environment=deny", 'environment = "deny"'),
    ],
)
@pytest.mark.parametrize("text", [None, "", OWN])
def test_a_key_is_set_to_just_that(tmp_path: Path, text: str | None, word: str, line: str) -> None:
    before = config(tmp_path, text).out
    after = config(tmp_path, text, "--set", word).out
    assert line in after.splitlines()
    old, new = tomllib.loads(before), tomllib.loads(after)
    place = new
    *sections, key = word.partition("=")[0].split(".")
    for section in sections:
        old, place = old.setdefault(section, {}), place[section]
    old[key] = place[key]
    place.update(old)
    assert old == place
    comments = [one for one in before.splitlines() if "# " in one and f"{key} =" not in one]
    assert [one for one in comments if one not in after] == (
        ['    "runc",  # first'] if key == "runtimes" and text == OWN else []
    )


def test_a_commented_default_is_used_where_there_is_one(tmp_path: Path) -> None:
    default = gpubind("config", "default").out
    words = ("--set", "nvidia-container-cli.no-cgroups=true", "--set", "swarm-resource=X")
    changed = config(tmp_path, None, *words).out
    assert changed == default.replace("#no-cgroups = false", "no-cgroups = true").replace(
        '#swarm-resource = "DOCKER_RESOURCE_GPU"', 'swarm-resource = "X"'
    )


def test_the_same_change_twice_writes_once(tmp_path: Path) -> None:
    words = ("--set", "nvidia-container-cli.no-cgroups", "--in-place")
    config(tmp_path, OWN, *words)
    before = trees.seen(tmp_path)
    assert gpubind("config", "-c", tmp_path / "config.toml", *words).status == 0
    assert trees.seen(tmp_path) == before


@pytest.mark.parametrize("name", ["default", "create-default", "generate-default"])
def test_the_default_is_valid_and_can_be_written(tmp_path: Path, name: str) -> None:
    shown = gpubind("config", name)
    assert (shown.status, shown.err) == (0, "")
    file = tmp_path / "new/folder/config.toml"
    assert gpubind("config", name, "--output", file).out == ""
    assert file.read_text() == shown.out
    assert file.stat().st_mode & 0o777 == 0o644
    again = gpubind("config", "--config", file)
    assert (again.status, again.out, again.err) == (0, shown.out, "")


def test_without_a_file_the_default_is_made(tmp_path: Path) -> None:
    outcome = config(tmp_path, None, "--in-place")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    assert (tmp_path / "config.toml").read_text() == gpubind("config", "default").out
    assert os.listdir(tmp_path) == ["config.toml"]


def test_a_feature_set_to_nil_is_removed(tmp_path: Path) -> None:
    kept = "[features]\n# why\nallow-unknown-oci-spec-fields = true\n"
    text = f"{kept}ignore-imex-channel-requests = true\n"
    word = "features.ignore-imex-channel-requests=nil"
    outcome = config(tmp_path, text, "--set", word, "--set", word)
    assert outcome.out == kept


@pytest.mark.parametrize(
    "word",
    [
        *("foo=1", "foo", "=1", "nvidia-container-runtime=1", "nvidia-container-runtime.modes=x"),
        *("disable-require=maybe", "disable-require=", "swarm-resource", "disable-require=nil"),
    ],
)
def test_a_wrong_setting_is_bad_usage_and_changes_nothing(tmp_path: Path, word: str) -> None:
    outcome = config(tmp_path, OWN, "--set", word, "--in-place")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"gpubind: --set {word}: ")
    assert outcome.err.endswith(" [CONFIG-KEY]\n")
    assert (tmp_path / "config.toml").read_text() == OWN


def test_row34_an_unknown_key_is_an_error_with_its_nearest(tmp_path: Path) -> None:
    outcome = config(tmp_path, OWN, "--set", "nvidia-container-runtime.mod=cdi")
    assert "there is no key 'nvidia-container-runtime.mod', is nvidia-" in outcome.err


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("disable-require = 'x'", "CONFIG-VALUE"),
        ("[nvidia-container-runtime]\nmode = 'x'", "CONFIG-VALUE"),
        ("a = ", "CONFIG-TOML"),
        (b"\xff", "CONFIG-TOML"),
    ],
)
def test_row34_a_bad_file_is_an_error_and_stays_as_it_was(
    tmp_path: Path, text: str | bytes, identifier: str
) -> None:
    outcome = config(tmp_path, text, "--set", "swarm-resource=x", "--in-place")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith(f"gpubind: {tmp_path}/config.toml: ")
    assert f"[{identifier}]" in outcome.err
    data = text if isinstance(text, bytes) else text.encode()
    assert (tmp_path / "config.toml").read_bytes() == data


def test_a_wrong_value_can_be_mended(tmp_path: Path) -> None:
    text = "[nvidia-container-runtime]\nmode = 'x' # typed badly\n"
    outcome = config(tmp_path, text, "--set", "nvidia-container-runtime.mode=auto", "-i")
    assert outcome.status == 0
    assert (tmp_path / "config.toml").read_text() == text.replace("'x'", '"auto"')


def test_mode_mark_and_link_of_a_file_stay(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/real.toml": "\ufeff" + OWN.replace("\n", "\r\n")})
    trees.build(tmp_path, {"/config.toml": "-> real.toml"})
    os.chmod(tmp_path / "real.toml", 0o600)
    words = ("--set", "nvidia-container-runtime.mode=cdi", "--in-place")
    assert config(tmp_path, None, *words).status == 0
    assert os.readlink(tmp_path / "config.toml") == "real.toml"
    assert (tmp_path / "real.toml").stat().st_mode & 0o777 == 0o600
    want = "\ufeff" + OWN.replace('"auto"', '"cdi"').replace("\n", "\r\n")
    assert (tmp_path / "real.toml").read_bytes() == want.encode()
    assert sorted(os.listdir(tmp_path)) == ["config.toml", "real.toml"]


@pytest.mark.parametrize(
    "target", ["folder", "/dev/null", "/dev/full", "/proc/x/y", "config.toml/x"]
)
def test_what_cannot_be_written_is_an_error_naming_it(tmp_path: Path, target: str) -> None:
    trees.build(tmp_path, {"/folder": trees.FOLDER})
    outcome = config(tmp_path, OWN, "--output", os.path.join(tmp_path, target))
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.count("\n") == 1
    assert target.removesuffix("/y") in outcome.err
    assert sorted(os.listdir(tmp_path)) == ["config.toml", "folder"]


def test_in_place_and_output_contradict_each_other(tmp_path: Path) -> None:
    outcome = config(tmp_path, OWN, "--in-place", "--output", f"{tmp_path}/x")
    assert (outcome.status, outcome.out) == (2, "")
    assert "[USE-OUTPUT]" in outcome.err


@pytest.mark.parametrize(
    "text",
    [
        "a = {b = 1, c = 2}\n",
        "[a]\nb = 1\n[a.c]\nd = 2\n",
        "a.b = 1\na.c = 2\n",
        "[[a]]\nb = 1\n",
        "a = 1\n",
        'x = """\n[a]\n#b = 1\n"""\n[a]\n#b = 2\n',
        "",
        "# end without newline",
        "[a] # comment",
        '["a"]\n"b" = 1\n',
        "[z]\ny = 1\n",
        "[a.b.c]\nd = 1\n",
    ],
)
@pytest.mark.parametrize("path", [["a", "b"], ["b"], ["a", "b", "c"]])
def test_an_edit_means_just_what_was_asked_for_or_is_refused(text: str, path: list[str]) -> None:
    want = tomllib.loads(text)
    place: Any = want
    for step in path[:-1]:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place
    if not isinstance(place, dict):
        with pytest.raises(ToolkitError, match=r"^f: .* can't be set without.*\[CONFIG-EDIT\]$"):
            toml.changed(text, path, "new", "f")
        return
    place[path[-1]] = "new"
    assert tomllib.loads(toml.changed(text, path, "new", "f")) == want
