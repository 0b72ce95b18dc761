# SPDX-License-Identifier: Apache-2.0
"""The command line of a systemd unit, from its file, its drop-ins and its variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trees

from gpubind_ctl.engine import host as hosts
from gpubind_ctl.engine import unit

if TYPE_CHECKING:
    from pathlib import Path

STOCK = "[Service]\nType=notify\nExecStart=/usr/bin/dockerd -H fd:// --containerd=/run/c.sock\n"


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([STOCK], "/usr/bin/dockerd -H fd:// --containerd=/run/c.sock"),
        ([STOCK, "[Service]\nExecStart=\nExecStart=/x/dockerd -D"], "/x/dockerd -D"),
        ([STOCK, "[Service]\nExecStart="], ""),
        (["ExecStart=-/x \\\n  --a \\\n  --b"], "/x --a --b"),
        (["ExecStart=@/x y"], "/x y"),
        (["Environment='A=1 2' B=3\nExecStart=/x $A ${A} $B$B $NO"], "/x|1|2|1 2|33"),
        (["ExecStart=/x 'a b' \"c d\""], "/x|a b|c d"),
        (["ExecStart=/x 'unfinished"], "/x 'unfinished"),
        (["ExecStart=/bin/sh -c 'exec /x --config /a'"], "exec /x --config /a"),
        (["ExecStart=/x -c /a"], "/x -c /a"),
        ([""], ""),
    ],
)
def test_the_words_of_a_unit(texts: list[str], words: str) -> None:
    found = unit.parse(texts)
    expected = tuple(words.split("|" if "|" in words else None))
    assert unit.command(found, found.variables) == expected


def test_variables_come_from_files_too(tmp_path: Path) -> None:
    trees.build(
        tmp_path,
        {
            "/lib/docker.service": f"{STOCK.rstrip()} $OPTS\nEnvironmentFile=-{tmp_path}/default\n",
            "/lib/docker.service.d/10.conf": "[Service]\nEnvironmentFile=-/nowhere\n",
            "/lib/docker.service.d/README": "[Service]\nExecStart=\n",
            "/default": '# options\nOPTS="--config-file=/a/b.json --debug"\n',
        },
    )
    units = (f"{tmp_path}/etc", f"{tmp_path}/lib")
    words = hosts.ThisHost({}, units=units).unit("docker.service")
    assert words[-2:] == ("--config-file=/a/b.json", "--debug")


def test_the_operator_s_unit_and_drop_ins_win(tmp_path: Path) -> None:
    trees.build(
        tmp_path,
        {
            "/lib/docker.service": STOCK,
            "/lib/docker.service.d/10.conf": "[Service]\nExecStart=\nExecStart=/wrong\n",
            "/etc/docker.service.d/10.conf": "[Service]\nExecStart=\nExecStart=/right\n",
        },
    )
    units = (f"{tmp_path}/etc", f"{tmp_path}/lib")
    assert hosts.ThisHost({}, units=units).unit("docker.service") == ("/right",)
    assert hosts.ThisHost({}, units=units).unit("other.service") == ()


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        ("dockerd --config-file=/a", "/a"),
        ("dockerd --config-file /a", "/a"),
        ("dockerd --config-file /a --config-file=/b", "/b"),
        ("dockerd --config-file", ""),
        ("dockerd --config-files=/a", None),
    ],
)
def test_the_value_of_a_flag(argv: str, value: str | None) -> None:
    assert unit.flag(argv.split(), "--config-file") == value


def test_a_user_s_units_are_not_the_system_s(tmp_path: Path) -> None:
    own = "[Service]\nExecStart=/srv/u/bin/dockerd-rootless.sh --config-file /srv/u/d.json\n"
    trees.build(tmp_path, {"/.config/systemd/user/docker.service": own})
    host = hosts.ThisHost({"HOME": str(tmp_path)}, uid=1000)
    words = host.unit("docker.service")
    assert words == ("/srv/u/bin/dockerd-rootless.sh", "--config-file", "/srv/u/d.json")
    assert hosts.ThisHost({"HOME": str(tmp_path)}, uid=0).units == hosts.UNITS
    assert not set(host.units) & set(hosts.UNITS)
