# SPDX-License-Identifier: Apache-2.0
"""When the node is looked at again, what is kept of GPUs that fail, and why a look failed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import simulated_nodes
from gpubind_cdi.gpu import Fault
from plugin.plugins import advance, configured, scripted

from gpubind.errors import ToolkitError
from gpubind_plugin import seeing, standing

if TYPE_CHECKING:
    from pathlib import Path

    from gpubind_plugin.seeing import Seen

GPU = "nvidia.com/gpu"
VERSION = "550.163.01"


def test_the_mark_of_a_node_that_stays_as_it_is_stays_too(tmp_path: Path) -> None:
    config = configured(simulated_nodes.node("dgx-a100-mig", tmp_path), None)
    first = seeing.mark(config)
    seeing.see(config, folder=str(tmp_path / "cdi"))
    assert seeing.mark(config) == first


@pytest.mark.parametrize(
    "act",
    [
        {"unplug": 1},
        {"partition": 0, "mig": [{"profile": "2g.20gb", "gi": 3}]},
        {"libraries": VERSION},
        {"driver": VERSION},
        {"gone": "module"},
        {"gone": "driver"},
    ],
)
def test_the_mark_is_another_after(tmp_path: Path, act: dict[str, object]) -> None:
    node = scripted(tmp_path, "dgx-a100-mig", {"after": 1000, **act})
    config = configured(node, None)
    before = seeing.mark(config)
    advance(node)
    assert seeing.mark(config) != before


def test_a_folder_that_is_not_there_has_a_mark_and_another_when_it_is(tmp_path: Path) -> None:
    config = configured(tmp_path / "t4", None)
    before = seeing.mark(config)
    assert before == seeing.mark(config)
    simulated_nodes.node("t4", tmp_path)
    assert seeing.mark(config) != before


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    """Give what a look at 8 GPUs gave."""
    config = configured(simulated_nodes.node("dgx-h100", tmp_path), None)
    return seeing.see(config, folder=str(tmp_path / "cdi"))


def without(seen: Seen, *, faults: int, place: int = 3) -> Seen:
    """Give the same look had it not seen the GPU at `place`."""
    found = seen.facts.inventory
    left = tuple(gpu for gpu in found.gpus if gpu.index != place)
    failed = tuple(Fault(index=place, message="GPU is lost") for _ in range(faults))
    kept = tuple(one for one in seen.offer.resources[GPU] if one.index != f"{place}")
    return replace(
        seen,
        facts=replace(seen.facts, inventory=replace(found, gpus=left, faults=failed)),
        offer=replace(seen.offer, resources={GPU: kept}),
    )


def test_a_gpu_that_fails_is_kept_in_its_place_with_the_reason(seen: Seen) -> None:
    before = seen.offer.resources
    offered, lost = seeing.kept(before, without(seen, faults=1))
    assert offered == before
    assert lost == {before[GPU][3].id: "GPU is lost"}


def test_a_gpu_that_is_gone_is_not_kept(seen: Seen) -> None:
    now = without(seen, faults=0)
    assert seeing.kept(seen.offer.resources, now) == (now.offer.resources, {})


def test_a_gpu_the_kernel_does_not_list_any_more_is_not_kept_though_another_fails(
    seen: Seen,
) -> None:
    devices = seen.offer.resources[GPU]
    now = replace(without(seen, faults=1), present=seen.present - {devices[3].pci})
    assert seeing.kept(seen.offer.resources, now) == (now.offer.resources, {})


def test_a_gpu_nobody_knew_before_it_failed_is_not_offered(seen: Seen) -> None:
    now = without(seen, faults=1)
    assert seeing.kept({}, now) == (now.offer.resources, {})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ToolkitError("x", identifier="DRV-NOT-FOUND"), standing.NO_DRIVER),
        (ToolkitError("x", identifier="DRV-NOT-LOADED"), standing.NO_DRIVER),
        (ToolkitError("x", identifier="DRV-MISMATCH"), standing.DRIVER),
        (ToolkitError("x", identifier="DRV-TIMEOUT"), standing.DRIVER),
        (ToolkitError("x", identifier="K8S-MIG"), standing.MIG),
        (ToolkitError("x", identifier="K8S-SPECS"), standing.SPECS),
        (PermissionError(13, "Permission denied", "/driver-root"), standing.DRIVER),
    ],
)
def test_each_failure_has_its_reason(tmp_path: Path, error: Exception, reason: str) -> None:
    assert seeing.trouble(error, f"{tmp_path}/version")[0] == reason


def test_a_loaded_module_without_libraries_is_another_reason_than_no_driver(tmp_path: Path) -> None:
    kernel = tmp_path / "version"
    kernel.touch()
    found = ToolkitError("no NVIDIA driver", identifier="DRV-NOT-FOUND")
    reason, message = seeing.trouble(found, str(kernel))
    assert reason == standing.NO_LIBRARY
    assert "is the host's driver mounted here" in message
