# SPDX-License-Identifier: Apache-2.0
"""The program: started as a process, told by signals, ended by one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import urllib.request
from typing import TYPE_CHECKING

import pytest
import simulated_nodes
from plugin.processes import LIMIT_S, PROGRAM, options, started

if TYPE_CHECKING:
    from pathlib import Path

    from plugin.kubelet import Kubelet

GPU = "nvidia.com/gpu"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*PROGRAM, *words),
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.defpath},
        timeout=LIMIT_S,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_it_cleanly(kubelet: Kubelet, tmp_path: Path, number: signal.Signals) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    with started(*options(node, kubelet)) as plugin:
        kubelet.until(lambda it: it.lists())
        assert plugin.end(number) == 0
    assert os.listdir(kubelet.folder) == ["kubelet.sock"]
    assert not plugin.said("Traceback")


def test_a_hung_up_program_reads_its_configuration_again(kubelet: Kubelet, tmp_path: Path) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\n")
    with started(*options(node, kubelet), f"--config-file={config}") as plugin:
        kubelet.until(lambda it: it.lists())
        config.write_text("version: v9\n")
        plugin.process.send_signal(signal.SIGHUP)
        plugin.until(lambda: plugin.said("the old configuration holds"))
        shared = "sharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 3}]}}\n"
        config.write_text(shared)
        plugin.process.send_signal(signal.SIGHUP)
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 3)
        assert plugin.end() == 0


def test_json_lines_have_time_level_and_message(kubelet: Kubelet, tmp_path: Path) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    with started(*options(node, kubelet), "--log-format=json") as plugin:
        plugin.until(lambda: plugin.said('"registered"'))
        assert plugin.end() == 0
    told = [json.loads(line) for line in plugin.lines]
    assert all({"time", "level", "message"} <= line.keys() for line in told)
    assert {"message": "registered", "resource": GPU, "devices": 1}.items() <= next(
        line for line in told if line["message"] == "registered"
    ).items()


def test_health_is_served_where_it_is_asked_for(kubelet: Kubelet, tmp_path: Path) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    with started(*options(node, kubelet), "--metrics-address=0") as plugin:
        kubelet.until(lambda it: it.lists())
        plugin.until(lambda: plugin.said("health are served"))
        line = next(line for line in plugin.lines if "health are served" in line)
        address = line.strip().rpartition("address=")[2]
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=60) as answer:
            assert answer.status == 200
        assert plugin.end() == 0


def test_nothing_listens_on_the_network_by_default(kubelet: Kubelet, tmp_path: Path) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    with started(*options(node, kubelet)) as plugin:
        kubelet.until(lambda it: it.lists())
        folder = f"/proc/{plugin.process.pid}"
        ours = set()
        for name in os.listdir(f"{folder}/fd"):
            with contextlib.suppress(FileNotFoundError):
                ours.add(os.readlink(f"{folder}/fd/{name}"))
        listening = set()
        for kind in ("tcp", "tcp6", "udp", "udp6"):
            with open(f"{folder}/net/{kind}", encoding="ascii") as file:
                listening |= {f"socket:[{line.split()[9]}]" for line in file.readlines()[1:]}
        assert not ours & listening
        assert plugin.end() == 0


def test_without_a_driver_it_ends_with_one_line(tmp_path: Path) -> None:
    told = run(
        f"--driver-root-ctr-path={tmp_path}", f"--driver-root={tmp_path}", "--kubelet-socket="
    )
    lines = [line for line in told.stderr.splitlines() if line.startswith("gpubind-device-plugin:")]
    assert told.returncode == 1, told.stderr
    assert len(lines) == 1
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("words", "identifier"),
    [
        (("--no-such",), "USE-COMMAND"),
        (("--log-format=xml",), "USE-COMMAND"),
        (("--mig-strategy=some",), "K8S-OPTION"),
        (("--metrics-address=x",), "K8S-OPTION"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(words: tuple[str, ...], identifier: str) -> None:
    told = run(*words)
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1].endswith(f"[{identifier}]")
    assert "Traceback" not in told.stderr


def test_the_configuration_is_printed_and_nothing_is_begun() -> None:
    told = run("--print-config", "--mig-strategy=mixed")
    assert told.returncode == 0
    assert told.stderr == ""
    assert json.loads(told.stdout)["flags"]["migStrategy"] == "mixed"
