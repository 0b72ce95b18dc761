# SPDX-License-Identifier: Apache-2.0
"""Flags, variables and file: which of them wins, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import checkout
import click
import hypothesis
import pytest
from hypothesis import strategies

from gpubind.errors import ToolkitError
from gpubind_plugin import options
from gpubind_plugin.config import Config

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@options.flags
def command(print_config: bool, **given: Any) -> Any:  # noqa: FBT001 - click's signature
    return print_config, given


def loaded(*words: str, **environ: str) -> options.Loaded:
    with command.make_context("plugin", list(words)) as context:
        _, given = command.invoke(context)
    return options.load(given, environ)


def config(*words: str, **environ: str) -> Config:
    return loaded(*words, **environ).config


def refused(*words: str, **environ: str) -> str:
    with pytest.raises(ToolkitError) as caught:
        loaded(*words, **environ)
    return str(caught.value)


def written(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text)
    return str(path)


def test_without_a_word_all_is_as_in_the_field() -> None:
    assert config() == Config()


# Attribute of the configuration; flags; variables; key; a value in words; what it is.
TABLE = [
    ("mig_strategy", "mig-strategy", "MIG_STRATEGY", "flags.migStrategy", "mixed", "mixed"),
    *(
        (name, name.replace("_", "-"), name.upper(), key, "true", True)
        for name, key in (
            ("gdrcopy_enabled", "flags.gdrcopyEnabled"),
            ("gds_enabled", "flags.gdsEnabled"),
            ("mofed_enabled", "flags.mofedEnabled"),
            ("pass_device_specs", "flags.plugin.passDeviceSpecs"),
        )
    ),
    (
        *("fail_on_init_error", "fail-on-init-error", "FAIL_ON_INIT_ERROR"),
        *("flags.failOnInitError", "false", False),
    ),
    (
        *("driver_root", "driver-root nvidia-driver-root", "NVIDIA_DRIVER_ROOT"),
        *("flags.nvidiaDriverRoot", "/a", "/a"),
    ),
    (
        *("dev_root", "dev-root nvidia-dev-root", "NVIDIA_DEV_ROOT"),
        *("flags.nvidiaDevRoot", "/a", "/a"),
    ),
    (
        *("device_list_strategy", "device-list-strategy", "DEVICE_LIST_STRATEGY"),
        *("flags.plugin.deviceListStrategy", "envvar,cdi-cri", ("envvar", "cdi-cri")),
    ),
    (
        *("device_id_strategy", "device-id-strategy", "DEVICE_ID_STRATEGY"),
        *("flags.plugin.deviceIDStrategy", "index", "index"),
    ),
    (
        *("cdi_annotation_prefix", "cdi-annotation-prefix", "CDI_ANNOTATION_PREFIX"),
        *("flags.plugin.cdiAnnotationPrefix", "nvidia.cdi.k8s.io/", "nvidia.cdi.k8s.io/"),
    ),
    (
        *("hook_path", "nvidia-cdi-hook-path nvidia-ctk-path"),
        *("NVIDIA_CDI_HOOK_PATH NVIDIA_CTK_PATH", "flags.plugin.nvidiaCTKPath", "/h", "/h"),
    ),
    (
        *("container_driver_root", "driver-root-ctr-path container-driver-root"),
        "DRIVER_ROOT_CTR_PATH CONTAINER_DRIVER_ROOT",
        *("flags.plugin.containerDriverRoot", "/c", "/c"),
    ),
    ("mps_root", "mps-root", "MPS_ROOT", "flags.mpsRoot", "/run/mps", "/run/mps"),
    (
        *("shared_devices_allocation_policy", "shared-devices-allocation-policy"),
        "SHARED_DEVICES_ALLOCATION_POLICY",
        *("flags.plugin.sharedDevicesAllocationPolicy", "packed", "packed"),
    ),
    (
        *("device_discovery_strategy", "device-discovery-strategy", "DEVICE_DISCOVERY_STRATEGY"),
        *("flags.deviceDiscoveryStrategy", "tegra", "tegra"),
    ),
    (
        *("kubelet_socket", "kubelet-socket", "KUBELET_SOCKET", ""),
        *("/tmp/kubelet.sock", "/tmp/kubelet.sock"),
    ),
    ("cdi_spec_dir", "cdi-spec-dir", "CDI_SPEC_DIR", "", "/tmp/cdi", "/tmp/cdi"),
    (
        *("cdi_feature_flags", "cdi-feature-flags", "CDI_FEATURE_FLAGS", ""),
        *("disable-nvsandboxutils", ("disable-nvsandboxutils",)),
    ),
    ("cdi_disable_hooks", "cdi-disable-hooks", "CDI_DISABLE_HOOKS", "", "all", ("all",)),
]
NAMES = [row[0] for row in TABLE]


@pytest.mark.parametrize("row", TABLE, ids=NAMES)
def test_each_option_is_said_by_flag_variable_or_file(row: Any, tmp_path: Path) -> None:
    attribute, flags, variables, key, words, value = row
    for flag in flags.split():
        assert getattr(config(f"--{flag}={words}"), attribute) == value
    for variable in variables.split():
        assert getattr(config(**{variable: words}), attribute) == value
    if key:
        path = written(tmp_path, nested(key, words))
        found = loaded(f"--config-file={path}")
        assert getattr(found.config, attribute) == value
        assert found.warnings == ()


def nested(key: str, words: str) -> str:
    """Give a file that says one thing."""
    steps = key.split(".")
    lines = ("    " * depth + f"{step}:" for depth, step in enumerate(steps))
    return "\n".join(lines) + f" {words}\n"


def test_channels_are_numbers_and_required_is_a_truth(tmp_path: Path) -> None:
    path = written(tmp_path, "imex: {channelIDs: [0], required: true}")
    for found in (
        config("--imex-channel-ids=0", "--imex-required"),
        config(IMEX_CHANNEL_IDS="0", IMEX_REQUIRED="true"),
        config(CONFIG_FILE=path),
    ):
        assert (found.imex.channel_ids, found.imex.required) == ((0,), True)


def test_a_flag_wins_over_a_variable_and_that_over_the_file(tmp_path: Path) -> None:
    text = "flags: {migStrategy: single, gdsEnabled: true, plugin: {deviceIDStrategy: index}}"
    path = written(tmp_path, text)
    words = ("--config-file", path, "--gds-enabled=false")
    found = loaded(*words, MIG_STRATEGY="mixed", GDS_ENABLED="true").config
    assert (found.gds_enabled, found.mig_strategy) == (False, "mixed")
    assert found.device_id_strategy == "index"


def test_an_option_that_is_false_in_a_flag_is_said_too(tmp_path: Path) -> None:
    path = written(tmp_path, "flags: {failOnInitError: false}")
    assert config(f"--config-file={path}").fail_on_init_error is False
    assert config(f"--config-file={path}", "--fail-on-init-error").fail_on_init_error is True


def test_a_list_is_said_with_commas_or_several_times() -> None:
    words = ("--device-list-strategy", "envvar, cdi-cri", "--device-list-strategy=volume-mounts")
    assert config(*words).device_list_strategy == ("envvar", "cdi-cri", "volume-mounts")


def test_an_empty_variable_says_nothing_but_of_the_kubelet() -> None:
    found = config(MIG_STRATEGY="", KUBELET_SOCKET="", FAIL_ON_INIT_ERROR="")
    assert (found.mig_strategy, found.kubelet_socket) == ("none", "")
    assert found.fail_on_init_error is True
    assert config("--kubelet-socket=").kubelet_socket == ""
    assert config("--driver-root=").driver_root == "/"


@pytest.mark.parametrize(
    ("word", "line"),
    [
        (
            "--device-list-strategy=envvar,x",
            "--device-list-strategy: invalid --device-list-strategy option: x",
        ),
        ("--device-id-strategy=x", "--device-id-strategy: invalid --device-id-strategy option: x"),
        (
            "--shared-devices-allocation-policy=x",
            "--shared-devices-allocation-policy: invalid --shared-devices-allocation-policy "
            "option: x",
        ),
        (
            "--device-discovery-strategy=x",
            "--device-discovery-strategy: invalid --device-discovery-strategy option x",
        ),
        ("--mig-strategy=x", "--mig-strategy: unknown MIG strategy: x"),
        ("--imex-channel-ids=0,1", "--imex-channel-ids: invalid IMEX channel IDs: [0 1]"),
        ("--imex-channel-ids=x", '--imex-channel-ids: "x" is no number'),
        ("--gds-enabled=maybe", '--gds-enabled: "maybe" is neither true nor false'),
        ("--driver-root=here", "--driver-root: here is no absolute path"),
        ("--cdi-annotation-prefix=x", "--cdi-annotation-prefix: 'x' can't begin an annotation's"),
        ("--cdi-annotation-prefix=a.io/sevenal", "--cdi-annotation-prefix: 'a.io/sevenal' can't"),
        ("--device-list-strategy=,", "--device-list-strategy: invalid --device-list-strategy"),
    ],
)
def test_what_an_option_can_t_be_is_refused(word: str, line: str) -> None:
    said = refused(word)
    assert said.startswith(line)
    assert said.endswith("[K8S-OPTION]")


def test_a_refusal_names_the_variable_or_the_line_that_said_it(tmp_path: Path) -> None:
    assert refused(MIG_STRATEGY="x").startswith("MIG_STRATEGY: unknown MIG strategy: x")
    path = written(tmp_path, "version: v1\nflags:\n  migStrategy: x\n")
    said = refused(CONFIG_FILE=path)
    assert said.startswith(f"{path}:3 flags.migStrategy: unknown MIG strategy: x")


MPS = "sharing: {mps: {resources: [{name: gpu, replicas: 2}]}}"


def test_mps_wants_its_root_and_no_strategy_mixed(tmp_path: Path) -> None:
    path = written(tmp_path, MPS)
    assert "using MPS requires --mps-root to be specified" in refused(CONFIG_FILE=path)
    said = refused("--mig-strategy=mixed", "--mps-root=/m", CONFIG_FILE=path)
    assert "using --mig-strategy=mixed is not supported with MPS" in said
    assert config("--mps-root=/m", CONFIG_FILE=path).sharing.strategy == "mps"


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        loaded(f"--config-file={tmp_path}/none.yaml")


SAID = """
flags: {migStrategy: single, mpsRoot: /m, plugin: {deviceListStrategy: [cdi-cri, envvar]}}
imex: {channelIDs: [0]}
resources:
  gpus: [{pattern: "*A100*", name: a100}, {memory: ">=10Gi,<20G", pci: "0000:*", name: small}]
  mig: [{pattern: 1g.*, name: slice}]
  exclude: [{uuid: GPU-1}]
sharing:
  timeSlicing:
    renameByDefault: true
    resources:
      - {name: a100, devices: [0, "0:1"], replicas: 2}
      - {name: a100, devices: 2, replicas: 3, rename: few}
      - {name: slice, replicas: 4}
"""


def test_what_is_printed_is_a_file_that_says_the_same(tmp_path: Path) -> None:
    first = config(CONFIG_FILE=written(tmp_path, SAID))
    shown = options.printed(first)
    second = loaded(CONFIG_FILE=written(tmp_path, shown))
    assert second.config == first
    assert second.warnings == ()


def test_the_printed_configuration_is_the_field_s_document() -> None:
    shown = json.loads(options.printed(Config()))
    assert shown["version"] == "v1"
    assert shown["flags"]["plugin"]["deviceListStrategy"] == ["envvar"]
    assert shown["resources"] == {"gpus": [{"pattern": "*", "name": "nvidia.com/gpu"}]}
    assert shown["sharing"] == {}
    assert options.printed(Config()).startswith('{\n  "version": "v1",\n  "flags": {\n')


@hypothesis.given(strategies.dictionaries(strategies.sampled_from(NAMES), strategies.text()))
def test_no_variable_makes_more_than_a_refusal(said: dict[str, str]) -> None:
    environ = {row[2].split()[0]: said[row[0]] for row in TABLE if row[0] in said}
    try:
        found = options.load({}, environ)
    except ToolkitError as error:
        assert error.identifier == "K8S-OPTION"  # noqa: PT017 - either is fine
    else:
        assert isinstance(found.config, Config)


def test_the_page_lists_each_option_with_all_its_names() -> None:
    page = checkout.text(checkout.ROOT, "docs/device-plugin.md")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `--")]
    shown = {row[0].strip("| "): row for row in rows if len(row) == 4}
    for row in options.ROWS:
        _, env, key, _ = shown.pop(", ".join(f"`{flag}`" for flag in row.flags))
        assert env == ", ".join(f"`{name}`" for name in row.env)
        assert key == (f"`{row.key}`" if row.key else "-")
    assert shown == {}
