# SPDX-License-Identifier: Apache-2.0
"""Simulated nodes for the command's tests, laid out once; no test may change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpubind_ctl.simulate import layout, profile

if TYPE_CHECKING:
    from pathlib import Path


def lay_out(name: str, factory: pytest.TempPathFactory) -> Path:
    root = factory.mktemp("nodes") / name
    layout.lay_out(profile.load(name), str(root))
    return root


@pytest.fixture(scope="session")
def t4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out("t4", tmp_path_factory)


@pytest.fixture(scope="session")
def a100(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out("dgx-a100-mig", tmp_path_factory)
