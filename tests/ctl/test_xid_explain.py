# SPDX-License-Identifier: Apache-2.0
"""`gpubind xid explain`: what an Xid means and what becomes of the GPU."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command_line import gpubind

if TYPE_CHECKING:
    from pathlib import Path


def test_an_xid_is_explained() -> None:
    outcome = gpubind("xid", "explain", "79")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == (
        "Xid 79, ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS\n"
        "  meaning:  the GPU does not answer on the PCI bus any more\n"
        "  action:   drain\n"
        "  the GPU:  becomes unhealthy until it was reset\n"
        "  to do:    let the node's programs end, then reboot it\n"
        "  catalog:  RESTART_BM\n"
        "  source:   https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html\n"
        "  source:   https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html\n"
    )


def test_several_are_explained_as_json() -> None:
    found = json.loads(gpubind("xid", "explain", "--json", "94", "9999").out)["xids"]
    assert [(one["xid"], one["action"]) for one in found] == [
        (94, "restart-app"),
        (9999, "unhealthy"),
    ]
    assert found[0]["gpu"] == "nothing: only the program is hurt"
    assert found[1]["sources"] == [{"source": "ours", "is": "a decision of gpubind"}]


def test_a_policy_file_is_taken_into_account(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"xids": {"94": "unhealthy"}}')
    outcome = gpubind("xid", "explain", "94", "--policy-file", file)
    assert "action:   unhealthy\n" in outcome.out
    assert "source:   the policy file\n" in outcome.out


@pytest.mark.parametrize("word", ["0", "-1", "many", "10000", "7.9", "²"])
def test_what_is_no_xid_is_bad_usage(word: str) -> None:
    outcome = gpubind("xid", "explain", "--", word)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.endswith("give the number that dmesg shows [USE-XID]\n")


def test_a_policy_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("xids: {94: relax}")
    outcome = gpubind("xid", "explain", "94", "--policy-file", file)
    assert outcome.status == 1
    assert outcome.err.startswith(f"gpubind: {file}: expected one of ignore, restart-app,")
    assert outcome.err.endswith(' found "relax" at xids.94 [XID-POLICY]\n')
