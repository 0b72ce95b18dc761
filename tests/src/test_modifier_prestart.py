# SPDX-License-Identifier: Apache-2.0
"""Where the shim injects, a prestart hook that would inject again is taken out of the spec."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gpubind import modifier

OTHER = {"path": "/opt/other", "args": ["other"], "env": ["A=b"]}
STARTED = [{"path": "/usr/bin/gpubind-runtime-hook"}]


def spec(prestart: Any) -> Any:
    return {"hooks": {"prestart": prestart, "poststop": STARTED}, "root": {"path": "rootfs"}}


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/nvidia-container-runtime-hook",
        "/usr/bin/nvidia-container-toolkit",
        "/opt/x/bin/gpubind-runtime-hook",
    ],
)
def test_a_hook_that_injects_is_removed_and_others_stay(path: str) -> None:
    given = modifier.without_prestart(spec([OTHER, {"path": path, "args": ["x", "prestart"]}]))
    assert given == spec([OTHER])


def test_the_last_one_takes_the_stage_with_it() -> None:
    given = modifier.without_prestart(spec([{"path": "/x/nvidia-container-runtime-hook"}]))
    assert given == {"hooks": {"poststop": STARTED}, "root": {"path": "rootfs"}}


@pytest.mark.parametrize(
    "hook", [OTHER, {"path": "/x/nvidia-container-runtime-hook.d/run"}, {"path": None}, {}]
)
def test_what_is_no_such_hook_stays(hook: Any) -> None:
    wanted = spec([hook])
    assert modifier.without_prestart(wanted) is wanted


def test_the_spec_that_is_given_stays_as_it_is() -> None:
    wanted = spec([OTHER, {"path": "/x/gpubind-runtime-hook"}])
    before = copy.deepcopy(wanted)
    modifier.without_prestart(wanted)
    assert wanted == before


@pytest.mark.parametrize("hooks", [None, {}, {"prestart": None}])
def test_no_hooks_are_fine(hooks: Any) -> None:
    assert modifier.without_prestart({"hooks": hooks}) == {"hooks": hooks}
