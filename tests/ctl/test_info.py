# SPDX-License-Identifier: Apache-2.0
"""`gpubind info`: the driver and the GPUs of a root."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import simulated_nodes
from command_line import gpubind

if TYPE_CHECKING:
    from pathlib import Path


def test_everything_is_in_the_json_form(a100: Path) -> None:
    outcome = gpubind("info", "--json", "--driver-root", a100)
    facts = json.loads(outcome.out)
    assert (outcome.status, outcome.err) == (0, "")
    assert facts["driver"] == {
        "version": "550.54.15",
        "cuda": "12.4",
        "kernel": "550.54.15",
        "root": str(a100),
        "folders": ["/usr/lib/x86_64-linux-gnu"],
    }
    assert (facts["simulated"], facts["mode"], facts["faults"]) == ("dgx-a100-mig", "nvml", [])
    assert {"compute", "utility", "video", "graphics"} <= set(facts["capabilities"])
    assert [gpu["minor"] for gpu in facts["gpus"]] == [2, 3, 0, 1, 6, 7, 4, 5]
    assert facts["gpus"][1]["mig"][2]["profile"] == "1c.3g.40gb"


def test_the_text_has_a_line_for_each_gpu_and_mig_device(a100: Path) -> None:
    lines = gpubind("info", "--driver-root", a100).out.splitlines()
    assert lines[0] == "driver        550.54.15, CUDA 12.4, kernel module 550.54.15"
    assert lines[1] == f"root          {a100} (simulated node dgx-a100-mig)"
    assert sum(line.startswith("GPU ") for line in lines) == 8
    assert sum(line.startswith("  MIG ") for line in lines) == 11


def test_a_gpu_that_cannot_be_read_is_told_with_status_3(t4: Path, tmp_path: Path) -> None:
    (tmp_path / "usr").symlink_to(t4 / "usr")  # leads nowhere inside the root
    inventory = json.loads((t4 / "gpubind-node.json").read_bytes())
    inventory["faults"] = [{"index": 1, "message": "has fallen off the bus"}]
    inventory.pop("nodes", None)
    (tmp_path / "gpubind-node.json").write_text(json.dumps(inventory))
    empty = gpubind("info", "--driver-root", tmp_path)
    (tmp_path / "usr").unlink()
    folder = tmp_path / "usr/lib/x86_64-linux-gnu"
    folder.mkdir(parents=True)
    for name in ("libcuda.so.535.183.01", "libnvidia-ml.so.535.183.01"):
        (folder / name).write_bytes((t4 / "usr/lib/x86_64-linux-gnu" / name).read_bytes())
    outcome = gpubind("info", "--driver-root", tmp_path)
    assert (empty.status, empty.err.count("\n")) == (1, 1)
    assert (outcome.status, outcome.err) == (3, "gpubind: GPU 1: has fallen off the bus\n")
    assert "nodes         absent: /dev/nvidiactl, /dev/nvidia-uvm, " in outcome.out


def test_a_tegra_is_shown_by_what_its_lists_name(tmp_path: Path) -> None:
    root = simulated_nodes.node("orin", tmp_path)
    outcome = gpubind("info", "--driver-root", root)
    lines = outcome.out.splitlines()
    assert (outcome.status, outcome.err) == (0, "")
    assert lines[0] == "driver        540.4.0, CUDA 12.6, kernel module 540.4.0"
    assert lines[2] == "libraries     /usr/lib/aarch64-linux-gnu/nvidia"
    assert lines[4] == "mode          csv: the GPU Orin (nvgpu) is integrated"
    assert lines[6].startswith("GPU 0         Orin (nvgpu), GPU-8ce167db-")
    assert "on no PCI bus" in lines[6]


def test_a_wsl2_machine_is_shown_by_its_driver_store(tmp_path: Path) -> None:
    root = simulated_nodes.node("wsl2", tmp_path)
    facts = json.loads(gpubind("info", "--json", "--driver-root", root).out)
    assert facts["driver"]["folders"][0] == "/usr/lib/wsl/lib"
    assert (facts["mode"], facts["driver"]["version"]) == ("wsl", "560.94")
    if os.geteuid() == 0:
        assert facts["nodes"] == {"/dev/dxg": True}


def test_no_driver_is_one_line(tmp_path: Path) -> None:
    outcome = gpubind("info", "--driver-root", tmp_path)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert outcome.err.startswith(f"gpubind: no NVIDIA driver in {tmp_path}: ")


def test_engines_and_the_specs_they_find_are_shown(a100: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cdi"
    state = f"--state-dir={tmp_path}/state"
    output = f"--output={folder}/nvidia.yaml"
    assert gpubind("cdi", "generate", f"--driver-root={a100}", output, state).status == 0
    (folder / "broken.json").write_text("{")
    program = tmp_path / "bin/podman"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho podman version 4.3.1\n")
    program.chmod(0o755)
    words = ("info", f"--driver-root={a100}", f"--spec-dir={folder}", state)
    shown = gpubind(*words, env={"PATH": f"{tmp_path}/bin"}).out.splitlines()[-3:]
    assert shown[0] == "engine        podman 4.3.1, reads CDI up to 0.5.0"
    assert shown[1].startswith(f"spec          {folder}/broken.json: ")
    assert shown[2] == f"spec          {folder}/nvidia.yaml: 33 devices of nvidia.com/gpu"
    facts = json.loads(gpubind(*words, "--json", env={"PATH": f"{tmp_path}/bin"}).out)
    assert [one["name"] for one in facts["engines"]] == ["podman"]
    assert [one["kind"] for one in facts["specs"]] == ["", "nvidia.com/gpu"]
