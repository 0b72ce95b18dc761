# SPDX-License-Identifier: Apache-2.0
"""What an Xid means is a table with sources, which an operator's file overrides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gpubind_cdi import xids
from gpubind_cdi.xids import Action

from gpubind.errors import DocumentError

if TYPE_CHECKING:
    from pathlib import Path

# The least and the most that may become of a GPU for each of the catalog's immediate actions.
ALLOWED = {
    "IGNORE": (Action.IGNORE, Action.SUSPECT),
    "RESTART_APP": (Action.RESTART_APP,),
    "RESET_GPU": (Action.RESET,),
    "RESTART_BM": (Action.DRAIN,),
    "RESTART_VM": (Action.DRAIN,),
    "CHECK_MECHANICALS": (Action.UNHEALTHY,),
    "UPDATE_SWFW": (Action.SUSPECT,),
    "CHECK_UVM": (Action.SUSPECT,),
    "XID_154": (Action.SUSPECT,),
}


def policy(folder: Path, text: str) -> xids.Policy:
    file = folder / "policy.yaml"
    file.write_text(text)
    return xids.load(str(file))


def test_every_action_follows_from_what_the_catalog_says() -> None:
    odd = {
        number: (xid.immediate, xid.action.value)
        for number, xid in xids.table().items()
        if xid.action not in ALLOWED.get(xid.immediate, tuple(Action))
    }
    assert odd == {}


def test_what_the_catalog_leaves_open_is_decided_and_says_so() -> None:
    open_ones = {xid.immediate for xid in xids.table().values()} - set(ALLOWED)
    flows = {"WORKFLOW_XID_45", "WORKFLOW_XID_48", "WORKFLOW_NVLINK_ERR", "WORKFLOW_NVLINK5_ERR"}
    assert open_ones == flows | {""}
    assert all(xid.todo for xid in xids.table().values() if xid.immediate not in ALLOWED)


def test_every_xid_has_a_source_that_is_known() -> None:
    bare = [number for number, xid in xids.table().items() if not xid.sources]
    unknown = {one for xid in xids.table().values() for one in xid.sources} - set(xids.SOURCES)
    assert (bare, unknown) == ([], set())


@pytest.mark.parametrize(
    ("number", "action"),
    [(94, "restart-app"), (109, "reset"), (79, "drain"), (63, "ignore"), (13, "restart-app")],
)
def test_what_others_decide_otherwise_follows_the_catalog(number: int, action: str) -> None:
    assert xids.Policy().xid(number).action == action


def test_an_unknown_xid_has_the_action_for_unknown_ones(tmp_path: Path) -> None:
    assert xids.Policy().xid(9998).action is Action.UNHEALTHY
    assert policy(tmp_path, "unknown: suspect").xid(9998).action is Action.SUSPECT
    assert policy(tmp_path, "unknown: suspect").xid(79).action is Action.DRAIN


def test_an_operators_file_comes_before_the_table(tmp_path: Path) -> None:
    told = policy(tmp_path, "xids: {94: reset, 79: ignore}\nrecover: {enabled: false}\n")
    assert (told.xid(94).action, told.xid(94).sources) == (Action.RESET, ("policy",))
    assert (told.xid(79).action, told.xid(79).advice) == (Action.IGNORE, "nothing is to be done")
    assert told.recovery == xids.Recovery(enabled=False)


@pytest.mark.parametrize("text", ["{}", "xids: {}\nrecover: {}\n", "# nothing\nunknown:\n"])
def test_a_file_that_says_nothing_changes_nothing(tmp_path: Path, text: str) -> None:
    assert policy(tmp_path, text) == xids.Policy()


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("xids: {94: relax}", "xids.94", 'found "relax"'),
        ("xids: {0: ignore}", "xids", 'from 1 to 9999, found "0"'),
        ("xids: {many: ignore}", "xids", 'found "many"'),
        ("unknown: [ignore]", "unknown", "expected text, found a list"),
        ("recover: {probes: 0}", "recover.probes", "a number from 1 to 1000, found 0"),
        ("xid: {94: ignore}", "", 'unknown field "xid"'),
        ("", "", "the file is empty"),
        ("- 94", "", "expected an object, found a list"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    with pytest.raises(DocumentError, match=message) as caught:
        policy(tmp_path, text)
    assert (caught.value.path, caught.value.identifier) == (place, "XID-POLICY")
    assert caught.value.file == str(tmp_path / "policy.yaml")
