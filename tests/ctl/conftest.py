# SPDX-License-Identifier: Apache-2.0
"""Simulated nodes for the command's tests, laid out once; no test may change them."""

from __future__ import annotations

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
