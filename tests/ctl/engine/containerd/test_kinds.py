# SPDX-License-Identifier: Apache-2.0
"""Values of a kind that containerd does not take: refused with their line, never a traceback."""

from __future__ import annotations

from dataclasses import replace

import pytest
from containerd_hosts import FakeHost

from gpubind.errors import ToolkitError
from gpubind_ctl.engine.containerd import Containerd
from gpubind_ctl.engine.engine import Wants

MAIN = "/etc/containerd/config.toml"
ENGINE = Containerd()
WANTS = Wants(path="/opt/bin/gpubind-runtime")
V2, V3 = 'plugins."io.containerd.grpc.v1.cri"', "plugins.'io.containerd.cri.v1.runtime'"


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("", "enable_cdi = 'yes'", "enable_cdi must be true or false"),
        ("", "cdi_spec_dirs = 3", "cdi_spec_dirs must be a list of texts"),
        ("", "cdi_spec_dirs = [[1]]", "cdi_spec_dirs must be a list of texts"),
        ("", "containerd = 3", "containerd must be a table"),
        (".containerd", "default_runtime_name = []", "default_runtime_name must be a text"),
        (".containerd", "default_runtime = 3", "default_runtime must be a table"),
        (".containerd", "runtimes = []", "runtimes must be a table"),
        (".containerd.runtimes", "runc = 3", "runtimes.runc must be a table"),
        (".containerd.runtimes.runc", "runtime_type = 3", "runtime_type must be a text"),
        (".containerd.runtimes.runc", "options = 3", "options must be a table"),
        (".containerd.runtimes.runc.options", "BinaryName = 3", "BinaryName must be a text"),
        (".containerd.runtimes.nvidia", "container_annotations = 3", "must be a list of texts"),
        (".containerd.runtimes.nvidia", "pod_annotations = [3]", "must be a list of texts"),
        (".containerd.default_runtime", "options = 4", "default_runtime.options must be a table"),
    ],
)
@pytest.mark.parametrize(("number", "plugin", "release"), [(2, V2, "1.7.27"), (3, V3, "2.1.3")])
def test_row32_a_value_of_another_kind_is_refused_with_its_line(
    number: int, plugin: str, release: str, table: str, line: str, message: str
) -> None:
    host = FakeHost({MAIN: f"version = {number}\n[{plugin}{table}]\n{line}\n"}, release)
    wants = replace(WANTS, default=True, cdi=True)
    for ask in (
        lambda: host.configure(ENGINE, wants),
        lambda: ENGINE.read(ENGINE.find(wants, host)),
    ):
        with pytest.raises(ToolkitError, match=message) as error:
            ask()
        assert str(error.value).startswith(f"{MAIN}:3:1: ")


def test_a_plugin_that_is_no_table_is_refused() -> None:
    host = FakeHost({MAIN: f"version = 2\n[[{V2}]]\n"}, "1.7.27")
    with pytest.raises(ToolkitError, match=rf"^{MAIN}: .* must be a table"):
        host.configure(ENGINE, WANTS)
