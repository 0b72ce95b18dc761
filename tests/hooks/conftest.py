# SPDX-License-Identifier: Apache-2.0
"""What tests of hooks share: an installation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import installed
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> installed.Prefix:
    """Give one installation for all tests; `prefix` cleans it."""
    return installed.install(str(tmp_path_factory.mktemp("prefix")))


@pytest.fixture
def prefix(installation: installed.Prefix) -> Iterator[installed.Prefix]:
    """Give an installation with nothing but its launchers."""
    yield installation
    installation.clean()
