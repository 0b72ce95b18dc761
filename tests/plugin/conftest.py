# SPDX-License-Identifier: Apache-2.0
"""A kubelet and a short folder for its sockets: a socket's path may have 107 bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from plugin import kubelet as kubelets

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def short() -> Iterator[Path]:
    """Give a folder whose name is short."""
    with tempfile.TemporaryDirectory(prefix="gpubind-") as folder:
        yield Path(folder)


@pytest.fixture
def kubelet(short: Path) -> Iterator[kubelets.Kubelet]:
    """Give a kubelet that runs, with a folder of its own."""
    with kubelets.running(short / "dp") as one:
        yield one
