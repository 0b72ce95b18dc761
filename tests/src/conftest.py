# SPDX-License-Identifier: Apache-2.0
"""What tests share: an installation; a root, a canary beside it, two ways to reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import installed
import pytest
import trees

from gpubind.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHAIN: trees.Tree = {f"/chain/{step}": f"-> {step + 1}" for step in range(41)} | {
    "/chain/41": "end"
}
TREE: trees.Tree = {
    "/secret": "inside",
    "/usr/lib/x": "library",
    "/lib": "-> usr/lib",
    "/absolute": "-> /usr/lib",
    "/up": "-> ../../../../usr/lib",
    "/out": "-> /proc/self/root/secret",
    "/loop": "-> loop2",
    "/loop2": "-> loop",
    "/dangling": "-> /nowhere/at/all",
    "/a/b/c/back": "-> ../../../secret",
    "/a/b/c/absolute": "-> /usr/lib",
    "/empty": trees.FOLDER,
    **CHAIN,
}


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


@pytest.fixture(params=[False, True], ids=["openat2", "walking"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    """Give a root full of links, reached in both ways; beside it lies what must not be read."""
    (tmp_path / "secret").write_text("outside")
    path = trees.build(tmp_path / "root", TREE)
    with Root(path, walking=request.param) as made:
        yield made
        assert made.walking is request.param, "openat2 was given up"
