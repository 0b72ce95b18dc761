# SPDX-License-Identifier: Apache-2.0
"""config.toml: where it is, what it may hold, and its twin."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import checkout
import pytest
import trees

from gpubind import config, configfile, paths
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path

RUNTIME = "nvidia-container-runtime"


def loaded(tmp_path: Path, text: str | bytes) -> config.Config:
    trees.build(tmp_path, {"/etc/config.toml": text})
    return config.load(f"{tmp_path}/etc", f"{tmp_path}/state", peer="")


def test_without_a_file_there_are_the_defaults(tmp_path: Path) -> None:
    found = config.load(str(tmp_path), str(tmp_path), peer="")
    assert (found.values, found.file) == ({}, f"{tmp_path}/config.toml")
    assert found.texts(config.RUNTIMES) == ["runc", "crun"]
    assert found.flag(config.ENVIRONMENT_ALLOWED)
    assert found.text(config.MODE) == "auto"


def test_sections_and_dotted_keys_are_the_same(tmp_path: Path) -> None:
    text = f'disable-require = true\n[{RUNTIME}]\nmode = "cdi"\nmodes.cdi.default-kind = "a.b/c"\n'
    assert loaded(tmp_path, text).values == {
        config.DISABLE_REQUIRE: True,
        config.MODE: "cdi",
        config.DEFAULT_KIND: "a.b/c",
    }


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "\ufeffdisable-require = false\n", "[features]\r\n", "[other]\nx = 1\n"],
)
def test_row34_what_sets_nothing_or_something_else_is_fine(tmp_path: Path, text: str) -> None:
    assert not loaded(tmp_path, text).flag(config.DISABLE_REQUIRE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('disable-require = "true"', "expected true or false, found 'true' at disable-require"),
        ("disable-require = 1", "expected true or false, found 1 at disable-require"),
        ("swarm-resource = true", "expected text, found true at swarm-resource"),
        ("swarm-resource = ['a']", "expected text, found ['a'] at swarm-resource"),
        (f"[{RUNTIME}]\nruntimes = 'runc'", "expected a list of texts, found 'runc' at"),
        (f"[{RUNTIME}]\nruntimes = [1]", "expected a list of texts, found [1] at"),
        (
            f"[{RUNTIME}]\nmode = 'foo'",
            "expected one of auto, cdi, csv, jit-cdi, legacy, found 'foo' at "
            "nvidia-container-runtime.mode",
        ),
        (f"[{RUNTIME}]\nmode = ''", "expected one of auto, cdi, csv, jit-cdi, legacy, found ''"),
        (f"[{RUNTIME}]\nlog-level = 'loud'", "expected one of trace, debug, info, warning,"),
        (f"[{RUNTIME}.modes.legacy]\ncuda-compat-mode = 'x'", "expected one of disabled, hook,"),
        (
            "[gpubind.policy]\nenvironment = 'never'",
            "expected one of allow, deny, privileged, found 'never' at gpubind.policy.environment",
        ),
        (f"{RUNTIME} = 3", "expected a section, found a value at nvidia-container-runtime"),
        ("features = 'x'", "expected a section, found a value at features"),
        (f"[{RUNTIME}.mode]\nx = 1", "expected text, found a section at"),
        ("disable-require = 2020-01-01", "expected true or false, found datetime.date"),
        (f"swarm-resource = {list('x' * 100)}", "expected text, found ['x', 'x'"),
        (
            "[nvidia-container-cli]\nldconfig = '/sbin/ldconfig'",
            "'/sbin/ldconfig' would be a program of the container: it must start with @, or "
            "features.allow-ldconfig-from-container must be true at nvidia-container-cli.ldconfig",
        ),
    ],
)
def test_row34_a_wrong_value_is_an_error_naming_file_key_and_what_fits(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ToolkitError) as caught:
        loaded(tmp_path, text)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/etc/config.toml: {message}"), said
    assert said.endswith(" [CONFIG-VALUE]")
    assert len(said) < 400


@pytest.mark.parametrize(
    "text",
    [
        "ldconfig = ''",
        "ldconfig = '@/sbin/ldconfig.real'",
        "ldconfig = '/x'\n[features]\nallow-ldconfig-from-container = true",
    ],
)
def test_ldconfig_is_the_hosts_or_allowed(tmp_path: Path, text: str) -> None:
    loaded(tmp_path, f"[nvidia-container-cli]\n{text}\n")


@pytest.mark.parametrize("data", ["a = ", "a = 1\na = 2", b"\xff", "a = " + "[" * 3000, "\0"])
def test_what_is_no_toml_is_an_error_naming_the_file(tmp_path: Path, data: str | bytes) -> None:
    with pytest.raises(ToolkitError, match=r"config.toml: .* \[CONFIG-TOML\]$"):
        loaded(tmp_path, data)


@pytest.mark.parametrize("made", [trees.FOLDER, trees.FIFO, trees.sparse(2 << 20)])
def test_what_is_no_file_is_an_error_at_once(tmp_path: Path, made: trees.Special) -> None:
    trees.build(tmp_path, {"/config.toml": made})
    with pytest.raises(ToolkitError, match=r"config.toml: .* \[CONFIG-READ\]$"):
        config.load(str(tmp_path), str(tmp_path), peer="")


@pytest.mark.parametrize("key", config.DEFAULTS)
def test_every_default_fits_its_own_key(key: str) -> None:
    configfile.check({key: config.DEFAULTS[key]}, "config.toml")
    wrong: Any = 7
    with pytest.raises(ToolkitError, match=r"CONFIG-VALUE"):
        configfile.check({key: wrong}, "config.toml")


@pytest.mark.parametrize("key", configfile.CHOICES)
def test_a_key_with_choices_takes_these_and_no_others(key: str) -> None:
    assert config.DEFAULTS[key] in configfile.CHOICES[key]
    for choice in configfile.CHOICES[key]:
        configfile.check({key: choice}, "config.toml")
        with pytest.raises(ToolkitError, match=r"expected one of"):
            configfile.check({key: f"{choice}x"}, "config.toml")


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["ours", "peer"], "ours"),
        (["peer"], "peer"),
        ([], "ours"),
    ],
)
def test_the_peers_file_counts_where_ours_is_absent(
    tmp_path: Path, there: list[str], taken: str
) -> None:
    trees.build(tmp_path, {f"/{name}/config.toml": "" for name in there})
    found = config.locate(f"{tmp_path}/ours", peer=f"{tmp_path}/peer/config.toml")
    assert found == f"{tmp_path}/{taken}/config.toml"


def test_the_environment_names_a_file_that_must_be_there(tmp_path: Path) -> None:
    trees.build(tmp_path, {"/mine.toml": "disable-require = true\n", "/etc/config.toml": ""})
    named = {"NVIDIA_CTK_CONFIG_FILE_PATH": f"{tmp_path}/mine.toml"}
    found = config.load(f"{tmp_path}/etc", str(tmp_path), named)
    assert found.flag(config.DISABLE_REQUIRE)
    assert config.locate(f"{tmp_path}/etc", None) == f"{tmp_path}/etc/config.toml"
    with pytest.raises(ToolkitError, match=r"^/absent.toml: .* \[CONFIG-READ\]$"):
        config.locate(environ={"NVIDIA_CTK_CONFIG_FILE_PATH": "/absent.toml"})


def test_row34_a_users_folder_counts_for_the_user_and_never_for_root(tmp_path: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    users = [f"{tmp_path}/gpubind/config.toml", f"{tmp_path}/nvidia-container-runtime/config.toml"]
    program = (
        "import os, sys; from gpubind import config, userns; os.setuid(65534); "
        "print(*config.places('/e', {'XDG_CONFIG_HOME': sys.argv[1]}, ''))"
    )
    if os.geteuid() == 0:
        assert config.places("/e", home, "") == ["/e/config.toml"]
        words = [sys.executable, "-c", program, str(tmp_path)]
        told = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        assert told == [*users, "/e/config.toml"]
    else:
        assert config.places("/e", home, "") == [*users, "/e/config.toml"]
    assert config.places("/e", {"XDG_CONFIG_HOME": "relative"}, "") == ["/e/config.toml"]


def test_a_value_of_another_type_is_an_error_wherever_it_came_from() -> None:
    known = config.Config({config.MODE: 7, config.RUNTIMES: "x", config.DISABLE_REQUIRE: "x"}, "f")
    for read, key in (
        (known.text, config.MODE),
        (known.texts, config.RUNTIMES),
        (known.flag, config.DISABLE_REQUIRE),
    ):
        with pytest.raises(ToolkitError, match=rf"^f: expected .* at {key} \[CONFIG-VALUE\]$"):
            read(key)


def test_an_installation_under_a_prefix_reads_no_file_of_the_peer(tmp_path: Path) -> None:
    program = os.path.join(checkout.ROOT, "packaging/install.py")
    words = [sys.executable, program, "--prefix", str(tmp_path), "--no-tools"]
    subprocess.run(words, check=True, capture_output=True)
    held = (tmp_path / "lib/gpubind/gpubind/paths.py").read_text()
    assert 'PEER_CONFIG = ""\n' in held
    assert f'ETC = "{tmp_path}/etc/gpubind"' in held
    assert paths.PEER_CONFIG == "/etc/nvidia-container-runtime/config.toml"


def test_the_template_has_every_key_and_sets_only_defaults() -> None:
    with open(
        os.path.join(checkout.ROOT, "src/gpubind_ctl/default.toml"), encoding="utf-8"
    ) as file:
        text = file.read()
    sets = configfile.flat(tomllib.loads(text))
    assert sets == {key: config.DEFAULTS[key] for key in sets}
    shown = "\n".join(
        line[1:] if line[:1] == "#" != line[1:2] and " = " in line else line
        for line in text.splitlines()
        if not line.startswith("# ")
    )
    known = configfile.flat(tomllib.loads(shown))
    hidden = {key for key in config.DEFAULTS if key.startswith("features.")} | {
        "nvidia-container-cli.no-pivot",
        f"{RUNTIME}.modes.csv.compat-container-root",
        f"{RUNTIME}.modes.jit-cdi.nvcdi-disable-hooks",
        f"{RUNTIME}.modes.jit-cdi.nvcdi-feature-flags",
    }
    assert known.keys() | hidden == config.DEFAULTS.keys()
    configfile.check(known, "default.toml")


def test_only_two_switches_are_on_by_default() -> None:
    switched_on = {key for key, value in config.DEFAULTS.items() if value is True}
    assert switched_on == {config.ENVIRONMENT_ALLOWED, "nvidia-container-cli.load-kmods"}
    assert config.DEFAULTS[config.DEBUG] == "/dev/null"


def test_the_page_describes_every_key() -> None:
    page = checkout.text(checkout.ROOT, "docs/config.md")
    rests = {key: key.removeprefix(f"{RUNTIME}.") for key in config.DEFAULTS}
    named = {
        key: rest if rest.startswith("modes.") else rest.rpartition(".")[2]
        for key, rest in rests.items()
    }
    assert [key for key, name in named.items() if f"`{name}" not in page] == []
