# SPDX-License-Identifier: Apache-2.0
"""CDI's documents as values: strict on the way in, in CDI's order on the way out."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import cdidocs
import pytest
from gpubind_cdi.fields import Plain, whole_number
from gpubind_cdi.model import (
    NO_EDITS,
    ContainerEdits,
    Device,
    DeviceNode,
    Hook,
    IntelRdt,
    Mount,
    NetDevice,
    Part,
    Spec,
)

from gpubind.errors import DocumentError


def test_a_document_becomes_a_value() -> None:
    document = cdidocs.spec(cdidocs.device("0", env=["A=1"], additionalGids=[44]))
    assert Spec.parse(document) == Spec(
        cdi_version="0.5.0",
        kind="nvidia.com/gpu",
        devices=(
            Device(name="0", container_edits=ContainerEdits(env=("A=1",), additional_gids=(44,))),
        ),
    )


def test_a_value_becomes_the_document_in_the_order_of_cdi() -> None:
    spec = Spec(
        container_edits=ContainerEdits(
            additional_gids=(0,),
            intel_rdt=IntelRdt(),
            mounts=(Mount(container_path="/b", host_path="/a"),),
            hooks=(Hook(timeout=0, path="/x", hook_name="poststop"),),
            net_devices=(NetDevice(name="a", host_interface_name="b"),),
            device_nodes=(DeviceNode(gid=0, uid=0, file_mode=0, path="/dev/a"),),
            env=("A=",),
        ),
        devices=(),
        kind="a/b",
        cdi_version="1.1.0",
    )
    edits = {
        "env": ["A="],
        "deviceNodes": [{"path": "/dev/a", "fileMode": 0, "uid": 0, "gid": 0}],
        "netDevices": [{"hostInterfaceName": "b", "name": "a"}],
        "hooks": [{"hookName": "poststop", "path": "/x", "timeout": 0}],
        "mounts": [{"hostPath": "/a", "containerPath": "/b"}],
        "intelRdt": {},
        "additionalGids": [0],
    }
    document = {"cdiVersion": "1.1.0", "kind": "a/b", "containerEdits": edits}
    assert repr(spec.document()) == repr(document)


def test_what_is_absent_stays_absent_and_null_is_absent() -> None:
    assert ContainerEdits.parse({"env": None, "intelRdt": None}).document() == {}
    assert not NO_EDITS
    assert ContainerEdits(intel_rdt=IntelRdt())


def test_values_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Mount().host_path = "/x"  # type: ignore[misc] # that it can't is the claim
    assert len({Mount(), Mount(), Mount(type="bind")}) == 2
    one, other = Device(annotations={"a": "b"}), Device(annotations={"c": "d"})
    assert one != other
    assert hash(Spec(annotations={"a": "b"}, devices=(one,))) == hash(Spec(devices=(other,)))


def test_the_kind_splits_at_the_first_slash() -> None:
    spec = Spec(kind="nvidia.com/gpu/x")
    assert (spec.vendor, spec.device_class) == ("nvidia.com", "gpu/x")


@pytest.mark.parametrize(
    ("part", "document", "message"),
    [
        (Mount, {"hostPath": 3}, "expected text, found int at hostPath"),
        (Mount, {"hostPath": True}, "expected text, found bool at hostPath"),
        (Mount, {"options": "ro"}, 'expected a list, found text "ro" at options'),
        (Mount, {"options": [{}]}, "expected text, found an object at options[0]"),
        (Mount, [], "expected an object, found a list"),
        (Mount, None, "expected an object, found nothing"),
        (Mount, {3: "x"}, "expected text as a key, found int"),
        (Mount, {"HostPath": "/x"}, 'unknown field "HostPath"'),
        (Mount, {"x" * 99: "/x"}, f'unknown field "{"x" * 77}..."'),
        (DeviceNode, {"major": True}, "expected a whole number, found bool at major"),
        (DeviceNode, {"major": 1.0}, "expected a whole number, found float at major"),
        (
            DeviceNode,
            {"fileMode": 1 << 32},
            "expected a number from 0 to 4294967295, found 4294967296 at fileMode",
        ),
        (
            IntelRdt,
            {"enableMonitoring": 1},
            "expected true or false, found int at enableMonitoring",
        ),
        (
            DeviceNode,
            {"uid": 10**4000},
            f"expected a number from 0 to 4294967295, found 1{'0' * 76}... at uid",
        ),
        (Device, {"annotations": {"a": 1}}, "expected text, found int at annotations.a"),
        (
            Spec,
            {"devices": [{}, {"containerEdits": {"mounts": [{}, {"hostPath": 3}]}}]},
            "expected text, found int at devices[1].containerEdits.mounts[1].hostPath",
        ),
    ],
)
def test_an_error_knows_its_place(part: type[Part], document: Any, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        part.parse(document)
    assert str(caught.value) == f"{message} [DOC-INVALID]"


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("0", 0),
        ("432", 432),
        ("0660", 432),
        ("0o660", 432),
        ("0x1B0", 432),
        ("0b11", 3),
        ("-1", -1),
        ("+1", 1),
        ("1_000", 1000),
        ("0_7", 7),
        ("", None),
        ("089", None),
        ("--1", None),
        ("1__0", None),
        ("1.0", None),
        ("1e3", None),
        ("1:0", None),
        ("x", None),
        ("_1", None),
        ("²", None),
        ("9" * 5000, None),
    ],
)
def test_an_unquoted_number_is_read_as_cdi_reads_it(word: str, number: int | None) -> None:
    assert whole_number(word) == number


def test_an_unquoted_scalar_is_what_its_field_is() -> None:
    document = {"path": Plain("0"), "major": Plain("0660")}
    assert DeviceNode.parse(document) == DeviceNode(path="0", major=432)
    assert type(DeviceNode.parse(document).path) is str
    assert IntelRdt.parse({"enableMonitoring": Plain("True")}).enable_monitoring
    assert not IntelRdt.parse({"enableMonitoring": Plain("off")}).enable_monitoring
