# SPDX-License-Identifier: Apache-2.0
"""Paths of a spec moved from one root to another: by whole components, each on its own side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cdidocs
import pytest
from gpubind_cdi import document
from gpubind_cdi.model import Spec
from gpubind_cdi.transform import root
from hypothesis import given, settings
from hypothesis import strategies as st


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
        ("/../x", "/", "/host", "/../x"),
        ("/a/../x", "/", "/host", "/host/a/../x"),
        ("//driver/./lib", "/driver//", "//new", "/new/lib"),
        ("//other//x/", "/driver", "/new", "//other//x/"),
        ("/driver/lib", "//driver/.", "/new", "/new/lib"),
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


def test_a_hook_s_pair_moves_on_both_sides_and_a_neighbour_s_on_none() -> None:
    edits = {"hooks": [hook("createContainer", "/h", "/driver/a::/driver/b", "/driver2/a::x")]}
    spec = Spec.parse(cdidocs.spec(containerEdits=edits))
    (moved,) = root.run(spec, "/driver", "/new", "container").container_edits.hooks
    assert moved.args == ("/new/a::/new/b", "/driver2/a::x")


@pytest.mark.parametrize("side", ["host", "container"])
def test_a_node_that_does_not_move_stays_as_it_is_written(side: Any) -> None:
    node = {"path": "/dev/x", "hostPath": "/dev/x"}
    spec = Spec.parse(cdidocs.spec(cdidocs.device(deviceNodes=[node])))
    assert root.run(spec, "/driver", "/new", side) == spec


@pytest.mark.parametrize("side", ["host", "container"])
@pytest.mark.parametrize("version", ["0.3.0", "v0.3.0", "0.6.0", "v1.0.0"])
def test_there_and_back_are_the_same_bytes(side: Any, version: str) -> None:
    edits = {**EDITS, "deviceNodes": [{"path": "/driver/dev/a"}, {"path": "/dev/c"}]}
    spec = Spec.parse(cdidocs.spec(cdidocs.device(**edits), cdiVersion=version))
    there = root.run(spec, "/driver", "/run/nvidia/driver", side)
    back = root.run(there, "/run/nvidia/driver", "/driver", side)
    assert there != spec
    wanted = replace(
        spec, cdi_version=version.removeprefix("v") if version[1:] == "0.3.0" else version
    )
    assert document.dump(back.document(), "yaml") == document.dump(wanted.document(), "yaml")


STEPS = st.lists(st.sampled_from(["driver", "driver-2", "lib", "x.so", "a..b"]), max_size=4)
PATHS = STEPS.map(lambda steps: "/" + "/".join(steps))
WORDS = PATHS | st.builds("{}::{}".format, PATHS, PATHS) | st.builds("--folder={}".format, PATHS)
ROOTS = st.lists(st.sampled_from(["driver", "lib"]), min_size=1, max_size=2).map(
    lambda steps: "/" + "/".join(steps)
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(PATHS, PATHS), max_size=4),
    st.lists(WORDS, max_size=4),
    st.sampled_from(["createContainer", "createRuntime", "startContainer"]),
    ROOTS,
    st.sampled_from(["host", "container"]),
)
def test_any_spec_comes_back(
    pairs: list[tuple[str, str]], words: list[str], when: str, from_: str, side: Any
) -> None:
    edits = {
        "deviceNodes": [{"path": path} for path, _ in pairs],
        "mounts": [{"hostPath": host, "containerPath": inner} for host, inner in pairs],
        "hooks": [hook(when, "/driver/hook", *words)],
    }
    spec = Spec.parse(cdidocs.spec(containerEdits=edits, cdiVersion="0.6.0"))
    there = root.run(spec, from_, "/elsewhere/new", side)
    assert root.run(there, "/elsewhere/new", from_, side) == spec
