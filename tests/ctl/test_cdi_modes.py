# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi generate` for other devices than GPUs, and what containers get of these specs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trees
from command_line import gpubind
from containers import container
from simulated_nodes import node

from gpubind import injection, request
from gpubind.oci import spec as oci
from gpubind_ctl import settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

CONFIG = """
[nvidia-container-runtime]
mode = "cdi"
[nvidia-container-runtime.modes.cdi]
spec-dirs = ["{cdi}"]
[features]
ignore-imex-channel-requests = false
"""


def written(tmp_path: Path, profile: str, *modes: str) -> Path:
    """Lay out a node, write its specs and compile them; give the node's root."""
    root = node(profile, tmp_path)
    for mode in modes:
        outcome = gpubind(
            *("cdi", "generate", "--driver-root", root, "--mode", mode),
            *("--output", tmp_path / f"cdi/{mode}.yaml", "--state-dir", tmp_path / "state"),
        )
        assert outcome.status == 0, outcome.err
    places = ("--spec-dir", tmp_path / "cdi", "--state-dir", tmp_path / "state")
    outcome = gpubind("cdi", "compile", *places)
    assert (outcome.status, outcome.err) == (0, "")
    return root


def injected(tmp_path: Path, *env: str, **fields: Any) -> dict[str, Any]:
    """Give the config.json of a container with this environment."""
    (tmp_path / "config.toml").write_text(CONFIG.format(cdi=tmp_path / "cdi"))
    known, _ = settings.read(str(tmp_path / "config.toml"))
    trees.build(tmp_path, {"/b/rootfs": trees.FOLDER})
    file = f"{tmp_path}/b/config.json"
    trees.build(
        tmp_path, {"/b/config.json": json.dumps(container(*env, root={"path": "rootfs"}, **fields))}
    )
    spec = oci.load(file)
    wanted = request.of(spec, known, file)
    notes = injection.into(file, spec, wanted, known, f"{tmp_path}/state")
    assert notes == []
    given: dict[str, Any] = oci.load(file)  # type: ignore[assignment]
    return given


def nodes(config: dict[str, Any]) -> set[str]:
    return {one["path"] for one in config["linux"]["devices"]}


def test_a_container_gets_the_kinds_its_variables_ask_for(tmp_path: Path) -> None:
    written(tmp_path, "dgx-h100", "nvml", "gds", "mofed", "gdrcopy", "nvswitch", "management")
    gpu = "NVIDIA_VISIBLE_DEVICES=0"
    plain = injected(tmp_path, gpu)
    more = {
        "NVIDIA_GDS": {f"/dev/nvidia-fs{n}" for n in range(16)},
        "NVIDIA_MOFED": {f"/dev/infiniband/uverbs{n}" for n in range(12)}
        | {"/dev/infiniband/rdma_cm"},
        "NVIDIA_GDRCOPY": {"/dev/gdrdrv"},
        "NVIDIA_NVSWITCH": {f"/dev/nvidia-nvswitch{n}" for n in (0, 1, 2, 3, "ctl")},
    }
    for variable, wanted in more.items():
        given = injected(tmp_path, gpu, f"{variable}=enabled")
        assert nodes(given) - nodes(plain) == wanted
    places = {
        mount["destination"] for mount in injected(tmp_path, gpu, "NVIDIA_GDS=enabled")["mounts"]
    }
    assert {"/run/udev", "/etc/cufile.json"} <= places
    assert not {"/run/udev", "/etc/cufile.json"} & {one["destination"] for one in plain["mounts"]}


def test_a_privileged_container_gets_the_nodes_for_mig_it_asks_for(tmp_path: Path) -> None:
    written(tmp_path, "dgx-a100-mig", "nvml", "mig-config", "mig-monitor")
    gpu = "NVIDIA_VISIBLE_DEVICES=3"
    plain = nodes(injected(tmp_path, gpu, privileged=True))
    for name, minor in (("CONFIG", 1), ("MONITOR", 2)):
        given = injected(tmp_path, gpu, f"NVIDIA_MIG_{name}_DEVICES=all", privileged=True)
        assert nodes(given) - plain == {f"/dev/nvidia-caps/nvidia-cap{minor}"}


def test_the_pipes_of_mps_are_there_only_if_they_are_asked_for(tmp_path: Path) -> None:
    root = node("t4", tmp_path)
    (root / "tmp/nvidia-mps").mkdir(parents=True)
    words = ("cdi", "generate", "--driver-root", root, "--format", "json")
    assert "/tmp/nvidia-mps" not in gpubind(*words).out
    outcome = gpubind(*words, "--mps-pipe", "/tmp/nvidia-mps")
    edits = json.loads(outcome.out)["containerEdits"]
    (mount,) = [one for one in edits["mounts"] if one["containerPath"] == "/tmp/nvidia-mps"]
    assert (outcome.status, mount["hostPath"]) == (0, f"{root}/tmp/nvidia-mps")
    assert "CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps" in edits["env"]
    gone = gpubind(*words, "--mps-pipe", "/gone")
    assert (gone.status, "missing: /gone" in gone.err) == (3, True)
    bad = gpubind(*words, "--mps-pipe", "relative")
    assert (bad.status, bad.err.count("\n"), "[USE-PATH]" in bad.err) == (2, 1, True)


def test_a_container_gets_the_channels_it_asks_for(tmp_path: Path) -> None:
    written(tmp_path, "gb200-nvl4", "nvml", "imex")
    folder = "/dev/nvidia-caps-imex-channels"
    for asked, wanted in (("1", {1}), ("0,1", {0, 1}), ("all", {0, 1})):
        env = ("NVIDIA_VISIBLE_DEVICES=0", f"NVIDIA_IMEX_CHANNELS={asked}")
        given = injected(tmp_path, *env, privileged=asked == "all")
        found = {path for path in nodes(given) if path.startswith(folder)}
        assert found == {f"{folder}/channel{number}" for number in wanted}


def test_management_is_asked_for_by_its_own_name(tmp_path: Path) -> None:
    written(tmp_path, "dgx-h100", "nvml", "management")
    given = injected(tmp_path, "NVIDIA_VISIBLE_DEVICES=management.nvidia.com/gpu=all")
    assert {"/dev/nvidia7", "/dev/nvidia-caps/nvidia-cap1", "/dev/nvidiactl"} <= nodes(given)
    assert not any("nvswitch" in path or "nvidia-fs" in path for path in nodes(given))


@pytest.mark.parametrize("mode", ["gds", "mofed", "gdrcopy", "nvswitch", "imex"])
def test_a_node_without_such_devices_leaves_the_earlier_spec(
    t4: Path, tmp_path: Path, mode: str
) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("earlier")
    outcome = gpubind("cdi", "generate", "--driver-root", t4, "--mode", mode, "--output", file)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert outcome.err.startswith(f"gpubind: nothing to describe for mode {mode}: no character")
    assert outcome.err.endswith(" [GEN-NO-NODES]\n")
    assert file.read_text() == "earlier"
    assert sorted(tmp_path.iterdir()) == [file]


def test_auto_and_its_reason_are_said_by_info(t4: Path) -> None:
    outcome = gpubind("info", "--driver-root", t4)
    assert "\nmode          nvml: nothing speaks for another mode\n" in outcome.out


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_coherent_gpus_have_a_spec_of_their_own(tmp_path: Path, ending: str) -> None:
    root = node("gb200-nvl4", tmp_path)
    file = root / "gpubind-node.json"
    facts = json.loads(file.read_bytes())
    facts["gpus"][3]["coherent"] = False
    file.write_text(json.dumps(facts))
    outcome = gpubind(
        *("cdi", "generate", "--driver-root", root, "--device-name-strategy", "index"),
        *("--feature-flag", "enable-coherent-annotations"),
        *("--output", tmp_path / f"x.{ending}", "--state-dir", tmp_path / "state"),
    )
    assert (outcome.status, outcome.err.count("\n")) == (0, 3)
    places = ("--spec-dir", tmp_path, "--state-dir", tmp_path / "state")
    listed = gpubind("cdi", "list", *places).out
    kinds = {"": "0123", ".coherent": "012", ".noncoherent": "3"}
    for kind, indices in kinds.items():
        assert (tmp_path / f"x{kind}.{ending}").is_file()
        for index in (*"0123", "all"):
            assert (f"nvidia.com/gpu{kind}={index}" in listed) == (index in (*indices, "all"))


def test_there_is_no_spec_of_a_kind_of_gpu_that_is_not_there(t4: Path, tmp_path: Path) -> None:
    words = ("--feature-flag", "enable-coherent-annotations", "--state-dir", tmp_path / "state")
    output = ("--output", tmp_path / "x.yaml")
    assert gpubind("cdi", "generate", "--driver-root", t4, *words, *output).status == 0
    names = sorted(one.name for one in tmp_path.iterdir())
    assert names == ["state", "x.noncoherent.yaml", "x.yaml"]
    text = gpubind("cdi", "generate", "--driver-root", t4, *words).out
    assert [line for line in text.splitlines() if line.startswith(("---", "kind"))] == [
        *("---", "kind: nvidia.com/gpu"),
        *("---", "kind: nvidia.com/gpu.noncoherent"),
    ]
