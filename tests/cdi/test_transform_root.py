# SPDX-License-Identifier: Apache-2.0
"""Paths of a spec moved from one root to another: by whole components, each on its own side."""

from __future__ import annotations

from typing import Any

import cdidocs
import pytest
from gpubind_cdi.model import ContainerEdits, Spec
from gpubind_cdi.transform import root


def hook(name: str, path: str, *args: str) -> dict[str, Any]:
    return {"hookName": name, "path": path, "args": list(args), "env": ["X=/driver/x"]}


@pytest.mark.parametrize(
    ("path", "from_", "to", "moved"),
    [
        ("/driver/lib/x.so", "/driver", "/", "/lib/x.so"),
        ("/driver", "/driver", "/", "/"),
        ("/driver", "/driver/", "/new", "/new"),
        ("/driver/", "/driver", "/new", "/new"),
        ("/driver//lib", "/driver", "/new/", "/new/lib"),
        ("/driver-backup/x.so", "/driver", "/", "/driver-backup/x.so"),
        ("/drive", "/driver", "/", "/drive"),
        ("/driver/../etc/shadow", "/driver", "/new", "/driver/../etc/shadow"),
        ("/driver/a..b", "/driver", "/new", "/new/a..b"),
        ("/dev/x", "/", "/host", "/host/dev/x"),
        ("/dev/x", "", "/host", "/host/dev/x"),
        ("/", "/", "/host", "/host"),
        ("/dev/x", "/", "/", "/dev/x"),
        ("/dev/x", "/dev/x", "", "/"),
        ("driver/x", "/", "/host", "driver/x"),
        ("", "/", "/host", ""),
    ],
)
def test_a_path_moves_by_whole_components(path: str, from_: str, to: str, moved: str) -> None:
    assert root.moved(path, from_, to) == moved


EDITS: dict[str, Any] = {
    "env": ["PATH=/driver/bin"],
    "deviceNodes": [
        {"path": "/driver/dev/a"},
        {"path": "/dev/b", "hostPath": "/driver/dev/b"},
        {"path": "/dev/c"},
    ],
    "mounts": [{"hostPath": "/driver/lib/x", "containerPath": "/driver/lib/x"}],
    "hooks": [
        hook("createContainer", "/driver/bin/hook", "hook", "--link", "b.so::/driver/lib/a.so"),
        hook("createRuntime", "/driver/bin/hook", "hook", "--folder=/driver/lib", "--driver"),
        hook("startContainer", "/driver/bin/hook", "hook", "/driver/a::/driver/b"),
    ],
}


def test_host_paths_move_and_the_container_s_stay() -> None:
    spec = Spec.parse(cdidocs.spec(cdidocs.device(**EDITS), containerEdits=EDITS))
    moved: dict[str, Any] = {
        "env": ["PATH=/driver/bin"],
        "deviceNodes": [
            {"path": "/driver/dev/a", "hostPath": "/dev/a"},
            {"path": "/dev/b"},
            {"path": "/dev/c"},
        ],
        "mounts": [{"hostPath": "/lib/x", "containerPath": "/driver/lib/x"}],
        "hooks": [
            hook("createContainer", "/bin/hook", "hook", "--link", "b.so::/driver/lib/a.so"),
            hook("createRuntime", "/bin/hook", "hook", "--folder=/lib", "--driver"),
            hook("startContainer", "/driver/bin/hook", "hook", "/driver/a::/driver/b"),
        ],
    }
    wanted = Spec.parse(cdidocs.spec(cdidocs.device(**moved), containerEdits=moved))
    assert root.run(spec, "/driver", "/", "host") == wanted


def test_container_paths_move_and_a_node_keeps_its_place_on_the_host() -> None:
    spec = Spec.parse(cdidocs.spec(cdidocs.device(**EDITS), containerEdits=EDITS))
    moved: dict[str, Any] = {
        "env": ["PATH=/driver/bin"],
        "deviceNodes": [
            {"path": "/dev/a", "hostPath": "/driver/dev/a"},
            {"path": "/dev/b", "hostPath": "/driver/dev/b"},
            {"path": "/dev/c"},
        ],
        "mounts": [{"hostPath": "/driver/lib/x", "containerPath": "/lib/x"}],
        "hooks": [
            hook("createContainer", "/driver/bin/hook", "hook", "--link", "b.so::/lib/a.so"),
            hook("createRuntime", "/driver/bin/hook", "hook", "--folder=/driver/lib", "--driver"),
            hook("startContainer", "/bin/hook", "hook", "/a::/b"),
        ],
    }
    wanted = Spec.parse(cdidocs.spec(cdidocs.device(**moved), containerEdits=moved))
    assert root.run(spec, "/driver", "/", "container") == wanted


@pytest.mark.parametrize("relative_to", ["host", "container"])
def test_the_version_rises_for_a_new_host_path(relative_to: Any) -> None:
    spec = Spec.parse(
        cdidocs.spec(cdidocs.device(deviceNodes=[{"path": "/dev/a"}]), cdiVersion="0.3.0")
    )
    moved = root.run(spec, "/", "/host", relative_to)
    assert moved.cdi_version == "0.5.0"


def test_there_and_back_is_where_we_were() -> None:
    spec = Spec.parse(cdidocs.spec(containerEdits={**EDITS, "hooks": []}))
    there = root.run(spec, "/driver", "/run/nvidia/driver")
    assert there != spec
    assert root.run(there, "/run/nvidia/driver", "/driver") == spec
    assert isinstance(there.container_edits, ContainerEdits)
