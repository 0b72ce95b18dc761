# SPDX-License-Identifier: Apache-2.0
"""The plugin on the distribution's own Python packages, which are older than those of .venv."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import checkout
import pytest
import simulated_nodes
from plugin.processes import options, started

if TYPE_CHECKING:
    from pathlib import Path

    from plugin.kubelet import Kubelet

PYTHON = "/usr/bin/python3"
NEEDS = "click, google.protobuf, grpc, jsonschema, prometheus_client, yaml"
GPU = "nvidia.com/gpu"


@functools.cache
def there() -> bool:
    """Whether the distribution's Python has what the plugin needs."""
    words = (PYTHON, "-c", f"import {NEEDS}")
    env = {"PATH": os.defpath}
    return subprocess.run(words, check=False, capture_output=True, env=env).returncode == 0


def test_it_serves_with_the_packages_of_the_distribution(kubelet: Kubelet, tmp_path: Path) -> None:
    if not there():
        pytest.skip(f"{PYTHON} lacks one of {NEEDS}")
    rooms = os.pathsep.join(os.path.join(checkout.ROOT, room) for room in checkout.CODE)
    node = simulated_nodes.node("dgx-h100", tmp_path)
    program = (PYTHON, "-m", "gpubind_plugin")
    words = (*options(node, kubelet), "--metrics-address=0")
    with started(*words, program=program, PYTHONPATH=rooms) as plugin:
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 8)
        assert kubelet.allocate(GPU, 2).envs["NVIDIA_VISIBLE_DEVICES"].count("GPU-") == 2
        kubelet.restart()
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 8)
        assert plugin.end(signal.SIGTERM) == 0
