# SPDX-License-Identifier: Apache-2.0
"""Command lines made for the field's toolkit run unchanged: every row of docs/migrating.md."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import checkout
import pytest
from system import packaged
from system.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

PAGE = checkout.text(checkout.ROOT, "docs/migrating.md")
ROWS = re.findall(r"^\| `([^`]+)` \|", PAGE.partition("| command line |")[2], re.MULTILINE)
PREPARED = """
mkdir -p /etc/nvidia-container-runtime /etc/cdi /etc/docker /etc/containerd /etc/crio
cat >/etc/nvidia-container-runtime/config.toml <<TEXT
[nvidia-container-cli]
root = "/opt/node"
TEXT
gpubind simulate --profile t4 --root /opt/node
"""


@pytest.fixture(scope="module")
def host(scratch: str) -> Iterator[Place]:
    """A host that was set up for the field's toolkit, with our packages in its place."""
    with Place(root=packaged.root("bookworm")) as place:
        place.run("/usr/bin/dpkg", "-i", *packaged.built(f"{scratch}/migrating"), timeout=300)
        place.run("sh", "-ec", PREPARED)
        place.run("nvidia-ctk", "cdi", "generate", "--output=/etc/cdi/nvidia.yaml")
        yield place


@pytest.mark.parametrize("line", ROWS)
def test_a_command_line_of_the_field_works(host: Place, line: str) -> None:
    done = host.run(*shlex.split(line))
    assert "Traceback" not in done.stderr


def test_the_page_has_them_all() -> None:
    assert len(ROWS) > 25


def test_the_fields_settings_count(host: Place) -> None:
    assert "/opt/node/dev/nvidia0" in host.run("cat", "/etc/cdi/nvidia.yaml").stdout


def test_the_runtime_that_is_configured_has_the_fields_name(host: Place) -> None:
    host.run("nvidia-ctk", "runtime", "configure", "--runtime=docker")
    assert '"nvidia"' in host.run("cat", "/etc/docker/daemon.json").stdout


@pytest.mark.parametrize(
    "line", ["nvidia-ctk cdi generate --bogus", "nvidia-ctk bogus", "nvidia-ctk hook bogus --x"]
)
def test_what_the_field_refuses_is_refused(host: Place, line: str) -> None:
    if "hook" in line:
        assert "unsupported CDI hook" in host.run(*shlex.split(line), status=None).stderr
    else:
        assert host.run(*shlex.split(line), status=2).stderr.count("\n") == 1
