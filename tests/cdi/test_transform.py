# SPDX-License-Identifier: Apache-2.0
"""The form of a generated spec: nothing twice, nothing needless, in an order of its own."""

from __future__ import annotations

import random
from typing import Any

import cdidocs
from gpubind_cdi.model import ContainerEdits, IntelRdt, Spec
from gpubind_cdi.transform import dedupe, merge, simplify, sort, tidy
from hypothesis import given, settings
from hypothesis import strategies as st

HOOK = {"hookName": "createContainer", "path": "/usr/bin/x", "args": ["x"]}
NAMES = st.lists(st.text("0129:agpuGPU-ml", min_size=1, max_size=6), max_size=8)


def node(path: str, **fields: Any) -> dict[str, Any]:
    return {"path": path, **fields}


def mount(path: str, **fields: Any) -> dict[str, Any]:
    return {"hostPath": path, "containerPath": path, **fields}


def edits(**fields: Any) -> ContainerEdits:
    return ContainerEdits.parse(fields)


def test_nothing_stands_twice_and_the_first_keeps_its_place() -> None:
    held: dict[str, Any] = {
        "env": ["B=1", "A=1", "B=1", "B=2"],
        "deviceNodes": [node("/dev/a"), node("/dev/a"), node("/dev/a", major=1)],
        "netDevices": [{"name": "a"}, {"name": "a"}],
        "hooks": [HOOK, HOOK],
        "mounts": [mount("/a"), mount("/b"), mount("/a")],
        "intelRdt": {"closID": "x"},
        "additionalGids": [44, 44],
    }
    spec = Spec.parse(cdidocs.spec(cdidocs.device(**held), containerEdits=held))
    once: dict[str, Any] = {
        "env": ["B=1", "A=1", "B=2"],
        "deviceNodes": [node("/dev/a"), node("/dev/a", major=1)],
        "netDevices": [{"name": "a"}],
        "hooks": [HOOK],
        "mounts": [mount("/a"), mount("/b")],
        "intelRdt": {"closID": "x"},
        "additionalGids": [44],
    }
    wanted = Spec.parse(cdidocs.spec(cdidocs.device(**once), containerEdits=once))
    assert dedupe.run(spec) == wanted


def test_a_device_holds_only_what_is_its_own() -> None:
    common: dict[str, Any] = {
        "env": ["A=1"],
        "mounts": [mount("/a")],
        "hooks": [HOOK],
        "intelRdt": {},
    }
    spec = Spec.parse(
        cdidocs.spec(
            cdidocs.device("0", deviceNodes=[node("/dev/0")], **common),
            cdidocs.device("1", env=["A=2"], intelRdt={"closID": "x"}),
            containerEdits=common,
        )
    )
    assert simplify.run(spec) == Spec.parse(
        cdidocs.spec(
            cdidocs.device("0", deviceNodes=[node("/dev/0")]),
            cdidocs.device("1", env=["A=2"], intelRdt={"closID": "x"}),
            containerEdits=common,
        )
    )


def test_a_device_is_never_left_empty() -> None:
    spec = Spec.parse(cdidocs.spec(cdidocs.device(env=["A=1"]), containerEdits={"env": ["A=1"]}))
    assert simplify.run(spec) == spec


def test_devices_are_sorted_by_number_then_uuid_then_all() -> None:
    order = ["0", "1", "1:0", "1:2", "1:10", "2", "10", "gpu2", "gpu10", "mig1:0"]
    order += ["GPU-a", "GPU-b", "MIG-a", "all"]
    mixed = random.Random(1).sample(order, len(order))
    spec = Spec.parse(cdidocs.spec(*map(cdidocs.device, mixed)))
    assert [device.name for device in sort.run(spec).devices] == order


def test_a_name_of_many_digits_is_sorted_too() -> None:
    names = ["1" * 5000, "9", "09"]
    assert sorted(names, key=sort.device_key) == ["09", "9", "1" * 5000]


@settings(max_examples=100, deadline=None)
@given(NAMES)
def test_any_names_have_one_order(names: list[str]) -> None:
    once = sorted(names, key=sort.device_key)
    turned = once[::-1]
    assert sorted(turned, key=sort.device_key) == once


def test_nodes_and_mounts_are_sorted_by_depth_hooks_and_variables_are_not() -> None:
    hooks = [{**HOOK, "path": "/z"}, {**HOOK, "path": "/a"}]
    given_ = edits(
        env=["Z=1", "A=1"],
        deviceNodes=[node("/dev/dri/card0"), node("/dev/b"), node("/dev/a")],
        mounts=[mount("/usr/lib/x"), mount("/z"), mount("//usr//a/"), mount("/a")],
        hooks=hooks,
    )
    assert sort.ordered(given_) == edits(
        env=["Z=1", "A=1"],
        deviceNodes=[node("/dev/a"), node("/dev/b"), node("/dev/dri/card0")],
        mounts=[mount("/a"), mount("/z"), mount("//usr//a/"), mount("/usr/lib/x")],
        hooks=hooks,
    )


def test_edits_are_joined_once_each_in_their_order() -> None:
    joined = merge.run(
        [
            edits(env=["A=1"], additionalGids=[44], intelRdt={"closID": "x"}),
            edits(env=["B=1", "A=1"], additionalGids=[44, 105], intelRdt={"closID": "y"}),
            edits(mounts=[mount("/a")]),
        ]
    )
    assert joined == edits(
        env=["A=1", "B=1"],
        additionalGids=[44, 105],
        mounts=[mount("/a")],
        intelRdt={"closID": "y"},
    )
    assert joined.intel_rdt == IntelRdt(clos_id="y")
    assert merge.run([]) == ContainerEdits()


def test_a_tidy_spec_is_left_as_it_is_and_does_not_depend_on_the_order_of_finding() -> None:
    devices = [
        cdidocs.device("1", env=["A=1"], deviceNodes=[node("/dev/b"), node("/dev/a")]),
        cdidocs.device("0", deviceNodes=[node("/dev/a"), node("/dev/a")]),
    ]
    common = {"env": ["A=1"]}
    tidied = tidy.run(Spec.parse(cdidocs.spec(*devices, containerEdits=common)))
    assert tidied == Spec.parse(
        cdidocs.spec(
            cdidocs.device("0", deviceNodes=[node("/dev/a")]),
            cdidocs.device("1", deviceNodes=[node("/dev/a"), node("/dev/b")]),
            containerEdits=common,
        )
    )
    assert tidy.run(tidied) == tidied
    turned = Spec.parse(cdidocs.spec(*reversed(devices), containerEdits=common))
    assert tidy.run(turned) == tidied
