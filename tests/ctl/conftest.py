# SPDX-License-Identifier: Apache-2.0
"""Simulated nodes for the command's tests, laid out once; no test may change them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from simulated_nodes import node

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def t4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return node("t4", tmp_path_factory.mktemp("nodes"))


@pytest.fixture(scope="session")
def a100(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return node("dgx-a100-mig", tmp_path_factory.mktemp("nodes"))


@pytest.fixture(scope="session")
def unshare() -> str:
    """Give the program that makes user namespaces, where this machine allows them."""
    program = "/usr/bin/unshare"
    words = [program, "--user", "--map-root-user", "--mount", "/bin/true"]
    tried = subprocess.run(words, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine allows no user namespaces: {tried.stderr.strip()}")
    return program
