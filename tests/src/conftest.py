# SPDX-License-Identifier: Apache-2.0
"""What tests share: an installation; a root, a canary beside it, two ways to reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import installed
import pytest
import trees

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=[False, True], ids=["openat2", "walking"])
def walking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """Give the folder of a root; beside it lies a canary that must not change."""
    trees.build(tmp_path / "canary", {"/etc/ld.so.conf.d/x.conf": "/x", "/etc/ld.so.cache": "host"})
    trees.build(tmp_path / "root")
    before = trees.seen(tmp_path / "canary")
    yield tmp_path
    assert trees.seen(tmp_path / "canary") == before


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> installed.Prefix:
    """Give one installation for all tests; `prefix` cleans it."""
    return installed.install(str(tmp_path_factory.mktemp("prefix")))


@pytest.fixture
def prefix(installation: installed.Prefix) -> Iterator[installed.Prefix]:
    """Give an installation with nothing but its launchers."""
    yield installation
    installation.clean()
