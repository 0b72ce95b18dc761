# SPDX-License-Identifier: Apache-2.0
"""A refresh writes what changed, leaves what holds, keeps what is good, withdraws what is gone."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from command_line import gpubind
from gpubind_cdi import document
from refresh_hosts import Host
from simulated_nodes import node

from gpubind_ctl.refresh import made, once, owned, presence
from gpubind_ctl.simulate import profile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def states(host: Host, *changes: Callable[[], object]) -> list[str]:
    """Give the state after a first refresh and after one for each change."""
    found = [host.refresh().state]
    for change in changes:
        change()
        found.append(host.refresh().state)
    return found


def test_a_spec_that_holds_is_neither_written_nor_made_again(host: Host) -> None:
    assert host.refresh().state == once.WRITTEN
    before = host.times()
    inventory = host.root / "gpubind-node.json"
    os.rename(inventory, f"{inventory}.hidden")
    os.rename(f"{inventory}.hidden", inventory)  # another change time, and so looked at again
    assert (host.refresh().state, host.times()) == (once.CURRENT, before)
    assert (host.refresh(force=True).state, host.times()) == (once.CURRENT, before)


def test_a_spec_that_holds_has_no_driver_asked(host: Host) -> None:
    host.refresh()
    sidecar = next((host.place / "state/sidecars").iterdir())
    before = sidecar.stat().st_mtime_ns
    host.refresh()
    assert sidecar.stat().st_mtime_ns == before
    host.refresh(force=True)
    assert sidecar.stat().st_mtime_ns > before


def test_the_sidecar_says_which_driver_and_generator_and_what_was_looked_at(host: Host) -> None:
    host.refresh()
    sidecar = next((host.place / "state/sidecars").iterdir())
    facts = document.load(sidecar.read_bytes(), "sidecar.json")
    made = facts["made"]
    assert facts["driver"]["version"] == "535.183.01"
    assert made["by"] == facts["generator"]
    assert made["asked"]["driver_root"] == str(host.root)
    assert str(host.root / "dev/nvidia0") in made["signs"]["nodes"]
    assert str(host.root / "proc/driver/nvidia/version") in made["signs"]["texts"]


CHANGES: dict[str, Callable[[Host], object]] = {
    "library": lambda host: os.utime(host.root / "usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01"),
    "new library": lambda host: (host.root / "usr/lib/x86_64-linux-gnu/new.so").touch(),
    "node": lambda host: os.chmod(host.root / "dev/nvidia0", 0o600),
    "card": lambda host: os.rename(host.root / "dev/dri/card0", host.root / "dev/dri/card7"),
    "GPU": lambda host: (host.root / "proc/driver/nvidia/gpus/0000:99:00.0").mkdir(),
    "capability": lambda host: (host.root / "dev/nvidia-caps/nvidia-cap77").touch(),
    "node of another kind": lambda host: (host.root / "dev/nvidia-fs0").touch(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_spec_was_made_of_makes_it_stale(host: Host, name: str) -> None:
    host.refresh()
    known = owned.look(host.job).made
    assert known is not None
    assert made.holds(host.job, known)
    CHANGES[name](host)
    assert not made.holds(host.job, known)


def test_other_options_write_another_spec(host: Host) -> None:
    host.refresh()
    other = host.wanted(device_name_strategies=("type-index",))
    assert host.refresh(other).state == once.WRITTEN
    assert "gpu0" in host.text()
    assert host.refresh(other).state == once.CURRENT


def test_an_upgraded_driver_is_described_anew(host: Host) -> None:
    host.refresh()
    assert ".535.183.01" in host.text()
    shutil.rmtree(host.root)
    node("dgx-h100", host.place)
    os.rename(host.place / "dgx-h100", host.root)
    outcome = host.refresh()
    assert (outcome.state, ".535.183.01" in host.text()) == (once.WRITTEN, False)
    assert "libcuda.so.550.54.15" in host.text()


def test_a_mig_device_made_or_removed_is_followed(tmp_path: Path) -> None:
    host = Host(tmp_path, "dgx-a100-mig")
    host.refresh()
    facts = host.inventory()
    gpu = next(one for one in facts["gpus"] if len(one["mig"]["instances"]) == 7)
    gone = gpu["mig"]["instances"].pop()
    host.take(facts)
    shutil.rmtree(
        host.root / f"proc/driver/nvidia/capabilities/gpu{gpu['minor']}/mig/gi{gone['gi']}"
    )
    assert gone["uuid"] in host.text()
    assert (host.refresh().state, gone["uuid"] in host.text()) == (once.WRITTEN, False)


def test_a_lost_gpu_leaves_the_others_and_is_looked_for_again(tmp_path: Path) -> None:
    host = Host(tmp_path, "dgx-h100")
    whole = host.inventory()
    host.lost(3)
    outcome = host.refresh()
    assert (outcome.state, outcome.status) == (once.WRITTEN, 3)
    assert outcome.notes == ("missing: GPU 3: could not be read: GPU is lost",)
    again = host.refresh()
    assert (again.state, again.status, again.notes) == (once.CURRENT, 3, outcome.notes)
    host.take(whole)
    assert (host.refresh().state, host.refresh().status) == (once.WRITTEN, 0)


SICK: dict[str, Callable[[Host], None]] = {
    "NVML gives nonsense": Host.sicken,
    "a module of another version": lambda host: host.upgrade("550.90.07"),
    "all GPUs lost": lambda host: host.lost(0),
}


@pytest.mark.parametrize("name", SICK)
def test_a_sick_driver_leaves_the_last_good_spec_and_says_why(host: Host, name: str) -> None:
    host.refresh()
    before = (host.times(), host.text())
    SICK[name](host)
    outcome = host.refresh()
    assert (outcome.state, outcome.status) == (once.KEPT, 1)
    assert outcome.message.startswith(f"{host.output} is kept as it was: ")
    assert outcome.identifier in outcome.message
    assert (host.times(), host.text()) == before


def test_a_module_of_another_version_is_named_with_both(host: Host) -> None:
    host.refresh()
    host.upgrade("550.90.07")
    said = host.refresh().message
    assert ("550.90.07" in said, "535.183.01" in said, "DRV-MISMATCH" in said) == (True,) * 3


GONE: dict[str, tuple[Callable[[Host], None], str]] = {
    "module": (Host.unload, "the kernel module nvidia is not loaded"),
    "libraries": (Host.uninstall, "no library of the driver is in {root}"),
    "GPUs": (Host.unplug, "there is no GPU in {root}/proc/driver/nvidia/gpus"),
    "root": (lambda host: shutil.rmtree(host.root), "{root} is no folder"),
}


@pytest.mark.parametrize("name", GONE)
def test_a_driver_that_is_gone_has_its_spec_withdrawn(host: Host, name: str) -> None:
    host.refresh()
    act, reason = GONE[name]
    act(host)
    outcome = host.refresh()
    why = reason.format(root=host.root)
    assert (outcome.state, outcome.status) == (once.WITHDRAWN, 0)
    assert outcome.message == f"{host.output} is withdrawn: {why}"
    assert [*host.output.parent.iterdir(), *(host.place / "state/sidecars").iterdir()] == []
    assert host.refresh().state == once.NONE


def test_a_driver_that_comes_back_is_described_again(host: Host) -> None:
    kept = host.place / "kept"
    assert states(
        host,
        lambda: os.rename(host.root / "proc/driver", kept),
        lambda: os.rename(kept, host.root / "proc/driver"),
    ) == [once.WRITTEN, once.WITHDRAWN, once.WRITTEN]


def test_a_host_without_gpu_is_quiet_and_good(host: Host) -> None:
    host.unload()
    shutil.rmtree(host.root / "sys/bus/pci")
    assert host.refresh() == once.Outcome(state=once.NONE)


@pytest.mark.parametrize("bound", ["vfio-pci", "nvidia", ""])
def test_a_gpu_that_another_driver_has_is_not_waited_for(host: Host, bound: str) -> None:
    folder = next((host.root / "sys/bus/pci/devices").iterdir()).resolve()
    if bound:
        (folder / "driver").symlink_to(f"../../../bus/pci/drivers/{bound}")
    assert presence.hardware(host.job) is (bound != "vfio-pci")


def test_what_a_spec_lacks_is_an_error_where_that_is_wanted(tmp_path: Path) -> None:
    host = Host(tmp_path, "dgx-h100")
    host.refresh()
    before = host.text()
    host.lost(3)
    outcome = host.refresh(host.wanted(strict=True))
    assert (outcome.state, outcome.identifier, host.text()) == (once.KEPT, "GEN-INCOMPLETE", before)


def test_the_command_has_the_options_of_generate(host: Host) -> None:
    state = f"--state-dir={host.place}/state"
    words = ("cdi", "refresh", f"--driver-root={host.root}", f"--output={host.output}", state)
    done = gpubind(*words, "--device-name-strategy", "uuid", "--no-all-device")
    assert (done.status, done.out) == (0, "")
    assert done.err == f"gpubind: {host.output}: CDI 0.5.0, 1 devices of nvidia.com/gpu\n"
    assert gpubind(*words, "--device-name-strategy=uuid", "--no-all-device").err == ""


def test_a_spec_of_generate_with_the_same_options_is_ours_and_holds(host: Host) -> None:
    words = (f"--driver-root={host.root}", f"--output={host.output}")
    state = f"--state-dir={host.place}/state"
    assert gpubind("cdi", "generate", *words, state).status == 0
    (sidecar,) = (host.place / "state/sidecars").iterdir()
    before = (host.times(), sidecar.stat().st_mtime_ns)
    assert gpubind("cdi", "refresh", *words, state).err == ""
    assert (host.times(), sidecar.stat().st_mtime_ns) == before  # nor was the driver asked


@pytest.mark.parametrize("output", ["-", ""])
def test_standard_output_is_no_file_to_keep_true(host: Host, output: str) -> None:
    done = gpubind("cdi", "refresh", f"--driver-root={host.root}", f"--output={output}")
    assert (done.status, "USE-OUTPUT" in done.err) == (2, True)


def test_the_record_keeps_why_and_since_when(host: Host) -> None:
    words = (f"--driver-root={host.root}", f"--output={host.output}")
    state = f"--state-dir={host.place}/state"
    told = []
    for sick in (False, False, True):
        if sick:
            host.sicken()
        gpubind("cdi", "refresh", *words, state)
        file = next((host.place / "state/refresh").iterdir())
        told.append(json.loads(file.read_text()))
    assert told[0] == told[1]
    assert [one["state"] for one in told] == ["written", "written", "kept"]
    assert "DOC-INVALID" in told[2]["why"]
    assert told[2]["since"] > told[0]["since"]


@pytest.mark.parametrize("name", profile.names())
def test_every_kind_of_node_is_kept_true_and_withdrawn(tmp_path: Path, name: str) -> None:
    host = Host(tmp_path, name)
    first = host.refresh()
    assert (first.state, host.text() != "") == (once.WRITTEN, True), first.message
    if first.status == 0:
        looks = host.looks
        assert (host.refresh().state, host.looks) == (once.CURRENT, looks)
    shutil.rmtree(host.root)
    assert (host.refresh().state, host.text()) == (once.WITHDRAWN, "")


OTHERS = {"gds": "nvidia-fs0", "gdrcopy": "gdrdrv", "nvswitch": "nvidia-nvswitch0"}


@pytest.mark.parametrize("mode", OTHERS)
def test_a_mode_of_other_devices_goes_with_its_nodes(tmp_path: Path, mode: str) -> None:
    host = Host(tmp_path)
    job = host.wanted(mode=mode)
    assert host.refresh(job) == once.Outcome(
        state=once.NONE,
        message=f"{host.output} is not written: "
        f"there is no {host.root}/dev/{OTHERS[mode].rstrip('0')}*",
    )
    os.mknod(host.root / "dev" / OTHERS[mode], 0o20666)
    assert host.refresh(job).state == once.WRITTEN
    host.unload()
    assert host.refresh(job).state == once.CURRENT
    (host.root / "dev" / OTHERS[mode]).unlink()
    assert host.refresh(job).state == once.WITHDRAWN
