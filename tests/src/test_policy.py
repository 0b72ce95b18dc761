# SPDX-License-Identifier: Apache-2.0
"""Who may ask: the policy of each source, and what a denied request leaves."""

from __future__ import annotations

from typing import Any

import pytest
from containers import asked, container, marker

KEY = "cdi.k8s.io/plugin_1"
MOUNTS = {"accept_nvidia_visible_devices_as_volume_mounts": True}
NO_ENV = {"accept_nvidia_visible_devices_envvar_when_unprivileged": False}
ALL = "NVIDIA_VISIBLE_DEVICES=all"


def mounts(*names: str, **fields: Any) -> Any:
    return container(mounts=[marker(name) for name in names], **fields)


def test_all_of_several_sources_count_in_the_fields_order() -> None:
    held = {KEY: "a.b/c=0"}
    document = mounts("1", annotations=held)
    document["process"]["env"] = ["GPU_A=2", ALL]
    settings = {**MOUNTS, "swarm_resource": "GPU_A"}
    policies = ["annotations", "volume-mounts", "swarm-resource", "environment"]
    seen = []
    for number in range(5):
        denied = {f"gpubind__policy__{name}": "deny" for name in policies[:number]}
        found = asked(document, **settings, **denied)
        seen.append((found.source, found.devices, len(found.notes)))
    assert seen == [
        ("annotations", ("a.b/c=0",), 0),
        ("volume-mounts", ("1",), 1),
        ("swarm-resource", ("2",), 2),
        ("environment", ("all",), 3),
        ("", (), 4),
    ]


@pytest.mark.parametrize(
    ("settings", "privileged", "denied"),
    [
        ({}, False, ""),
        (NO_ENV, True, ""),
        (NO_ENV, False, "accept-nvidia-visible-devices-envvar-when-unprivileged = false in"),
        ({"gpubind__policy__environment": "allow", **NO_ENV}, False, ""),
        ({"gpubind__policy__environment": "deny"}, True, "gpubind.policy.environment = 'deny'"),
        ({"gpubind__policy__environment": "privileged"}, True, ""),
        (
            {"gpubind__policy__environment": "privileged"},
            False,
            "gpubind.policy.environment = 'privileged' in /etc/gpubind/config.toml, and the",
        ),
    ],
)
def test_row69_a_denied_request_leaves_exactly_one_line(
    settings: dict[str, Any], *, privileged: bool, denied: str
) -> None:
    bad = ["NVIDIA_DRIVER_CAPABILITIES=bogus", "NVIDIA_REQUIRE_CUDA=(((("] if denied else []
    found = asked(container(ALL, *bad, privileged=privileged), **settings)
    assert found.devices == (() if denied else ("all",))
    assert len(found.notes) == bool(denied)
    for note in found.notes:
        assert note.startswith(f"denied: {ALL} (")
        assert denied in note
        assert note.endswith("[REQ-DENIED]")


@pytest.mark.parametrize(
    ("document", "settings", "note"),
    [
        (
            mounts("0"),
            {},
            "denied: mount /var/run/nvidia-container-devices/0=0 (accept-nvidia-visible-devices-as-"
            "volume-mounts = false in /etc/gpubind/config.toml) [REQ-DENIED]",
        ),
        (
            container("GPU_A=0"),
            {**NO_ENV, "swarm_resource": "GPU_A"},
            "denied: GPU_A=0 (accept-nvidia-visible-devices-envvar-when-unprivileged = false in "
            "/etc/gpubind/config.toml, and the container is not privileged) [REQ-DENIED]",
        ),
        (container("GPU_A=0", privileged=True), {**NO_ENV, "swarm_resource": "GPU_A"}, ""),
        (container("GPU_A=0"), {"swarm_resource": "GPU_A"}, ""),
        (
            container(annotations={KEY: "a.b/c=0"}),
            {"gpubind__policy__annotations": "deny"},
            f"denied: annotation {KEY}=a.b/c=0 (gpubind.policy.annotations = 'deny' in "
            "/etc/gpubind/config.toml) [REQ-DENIED]",
        ),
    ],
)
def test_the_line_names_request_key_and_file(
    document: Any, settings: dict[str, Any], note: str
) -> None:
    found = asked(document, **settings)
    assert (found.devices == (), found.notes) == (note != "", [note] if note else [])


@pytest.mark.parametrize("value", ["../x", "0;rm", "\n", "x" * 100_000, "0," * 20_000])
def test_what_is_denied_is_never_an_error(value: str) -> None:
    found = asked(container(f"NVIDIA_VISIBLE_DEVICES={value}"), gpubind__policy__environment="deny")
    assert found.devices == ()
    assert all(len(note) < 300 for note in found.notes)


@pytest.mark.parametrize("value", ["void", "", " , ", "/var/run/nvidia-container-devices"])
def test_who_asks_for_nothing_is_not_denied(value: str) -> None:
    found = asked(container(f"NVIDIA_VISIBLE_DEVICES={value}"), gpubind__policy__environment="deny")
    assert (found.devices, found.notes) == ((), [])


def test_mounts_are_denied_by_default_and_their_folder_as_a_variable_asks_for_nothing() -> None:
    document = mounts("0")
    document["process"]["env"] = ["NVIDIA_VISIBLE_DEVICES=/var/run/nvidia-container-devices"]
    found = asked(document)
    assert found.devices == ()
    (note,) = found.notes
    assert note.startswith("denied: mount /var/run/nvidia-container-devices/0=0 (accept-nvidia-")
    assert asked(document, **MOUNTS).devices == ("0",)


@pytest.mark.parametrize(
    ("process", "privileged"),
    [
        ({"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}, True),
        ({"capabilities": ["CAP_SYS_ADMIN"]}, True),
        ({"capabilities": {"effective": ["CAP_SYS_ADMIN"]}}, False),
        ({"capabilities": {"bounding": []}}, False),
        ({"capabilities": {"bounding": "CAP_SYS_ADMIN"}}, False),
        ({"capabilities": None}, False),
        ({"user": {"uid": 0}}, False),
        ({}, False),
    ],
)
def test_privileged_is_who_may_have_cap_sys_admin(
    process: dict[str, Any], *, privileged: bool
) -> None:
    document = {"process": {"env": [ALL], **process}}
    found = asked(document, gpubind__policy__environment="privileged")
    assert (found.devices == ("all",)) is privileged
