# SPDX-License-Identifier: Apache-2.0
"""`gpubind node-labels` as it is started: whole golden files, options, and the file it keeps.

To change the golden files on purpose, run this file once with GPUBIND_WRITE_GOLDEN=1 and read the
difference before you commit it.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from command_line import PROGRAM, gpubind
from simulated_nodes import node

from gpubind_ctl.simulate import profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "golden", "labels")
CASES = (
    *((name, "none") for name in profile.names()),
    *(("dgx-a100-mig", strategy) for strategy in ("single", "mixed")),
)
SLICED = "version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 4}]}}\n"


def printed(*words: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the labels that the command prints with these words."""
    told = gpubind("node-labels", "--output=-", "--no-timestamp", *words, env=env)
    assert told.status == 0, told.err
    return dict(line.split("=", 1) for line in told.out.splitlines())


@pytest.mark.parametrize(("name", "strategy"), CASES)
def test_a_machines_labels_are_the_golden_ones(tmp_path: Path, name: str, strategy: str) -> None:
    (tmp_path / "machine").write_text("  Proliant (R) DL380 \u00e9 Gen10\n")
    told = gpubind(
        *("node-labels", "--output=-", "--no-timestamp", f"--driver-root={node(name, tmp_path)}"),
        *(f"--mig-strategy={strategy}", f"--machine-type-file={tmp_path}/machine"),
    )
    assert told.status == 0, told.err
    file = os.path.join(GOLDEN, f"{name}.txt" if strategy == "none" else f"{name}-{strategy}.txt")
    if os.environ.get("GPUBIND_WRITE_GOLDEN"):
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(told.out)
    with open(file, encoding="utf-8") as stream:
        assert told.out == stream.read()


def test_every_golden_file_is_compared() -> None:
    names = {f"{name}.txt" if way == "none" else f"{name}-{way}.txt" for name, way in CASES}
    assert set(os.listdir(GOLDEN)) == names


def test_a_file_is_whole_readable_for_all_and_has_the_time_of_the_start(
    t4: Path, tmp_path: Path
) -> None:
    before = int(time.time())
    file = tmp_path / "features.d/gfd"
    told = gpubind("node-labels", f"--output-file={file}", "--oneshot", "--driver-root", t4)
    assert (told.status, told.out) == (0, "")
    assert stat.filemode(file.stat().st_mode) == "-rw-r--r--"
    assert os.listdir(file.parent) == ["gfd"]
    lines = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert before <= int(lines["nvidia.com/gfd.timestamp"]) <= time.time()


def test_sharing_comes_from_the_plugins_file(t4: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(SLICED)
    found = printed("--driver-root", t4, f"--config-file={tmp_path}/config.yaml")
    assert {name: found[f"nvidia.com/gpu.{name}"] for name in ("product", "replicas", "count")} == {
        "product": "Tesla-T4-SHARED",
        "replicas": "4",
        "count": "1",
    }
    assert found["nvidia.com/gpu.sharing-strategy"] == "time-slicing"


@pytest.mark.parametrize(
    ("words", "env", "strategy"),
    [
        ((), {}, "mixed"),
        ((), {"GFD_MIG_STRATEGY": "single"}, "single"),
        ((), {"MIG_STRATEGY": "single"}, "single"),
        (("--mig-strategy=none",), {"MIG_STRATEGY": "single"}, None),
    ],
)
def test_options_win_over_variables_and_these_over_the_file(
    a100: Path, tmp_path: Path, words: tuple[str], env: dict[str, str], strategy: str | None
) -> None:
    (tmp_path / "config.yaml").write_text("flags: {migStrategy: mixed}\n")
    config = {"CONFIG_FILE": f"{tmp_path}/config.yaml", "DRIVER_ROOT_CTR_PATH": f"{a100}"}
    found = printed(*words, env=config | env)
    assert found.get("nvidia.com/mig.strategy") == strategy


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--mig-strategy=double"], 2, "unknown MIG strategy: double; choose one of none, single"),
        (["--device-discovery-strategy=vfio"], 2, "unknown device discovery strategy: vfio"),
        (["--sleep-interval=60"], 2, 'the sleep interval is "60"'),
        (["--sleep-interval=0s"], 2, 'the sleep interval is "0s"'),
        (["--sleep-interval=s"], 2, 'the sleep interval is "s"'),
        (["--sleep-interval=1e3s"], 2, "sleep interval"),
        (["--use-node-feature-api"], 2, "NodeFeature objects are not written"),
        (["--oneshot=perhaps"], 2, "'perhaps' is not a valid boolean"),
        (["--driver-root={tmp}/nowhere"], 1, "/nowhere: No such file or directory"),
        (["--driver-root={tmp}"], 1, "no NVIDIA driver in"),
        (["--config-file={tmp}/none.yaml"], 1, "none.yaml: No such file"),
        (["--config-file={tmp}/bad.yaml"], 1, "bad.yaml"),
    ],
)
def test_what_can_not_be_is_refused_and_no_file_is_written(
    tmp_path: Path, words: list[str], status: int, message: str
) -> None:
    (tmp_path / "bad.yaml").write_text("version: v2\n")
    words = [word.replace("{tmp}", str(tmp_path)) for word in words]
    told = gpubind("node-labels", f"--output={tmp_path}/labels", "--oneshot", *words)
    assert (told.status, told.err.count("\n")) == (status, 1), told.err
    assert message in told.err
    assert not (tmp_path / "labels").exists()


def test_a_node_without_driver_may_be_told_as_such(tmp_path: Path) -> None:
    words = ("--driver-root", tmp_path, "--fail-on-init-error=false")
    told = gpubind("node-labels", "--output=-", *words)
    assert [line.partition("=")[0] for line in told.out.splitlines()] == [
        "nvidia.com/gfd.timestamp"
    ]
    assert "no GPUs: no NVIDIA driver in" in told.err


def test_a_gpu_that_can_not_be_read_leaves_the_labels_of_the_others(tmp_path: Path) -> None:
    root = node("t4", tmp_path)
    facts = json.loads((root / "gpubind-node.json").read_text())
    facts["faults"] = [{"index": 1, "message": "GPU is lost"}]
    (root / "gpubind-node.json").write_text(json.dumps(facts))
    told = gpubind("node-labels", "--output=-", "--machine-type-file=", "--driver-root", root)
    assert (told.status, told.err) == (3, "gpubind: GPU 1: GPU is lost\n")
    assert "nvidia.com/gpu.count=1\n" in told.out


def test_who_may_not_see_whether_a_gpu_is_virtual_says_nothing_of_it(tmp_path: Path) -> None:
    root = node("vgpu-guest", tmp_path)
    (file,) = root.glob("sys/devices/*/*/config")
    file.write_bytes(file.read_bytes()[:64])  # all that a process without CAP_SYS_ADMIN reads
    told = gpubind("node-labels", "--output=-", "--machine-type-file=", "--driver-root", root)
    assert told.status == 0
    assert "vgpu" not in told.out
    assert "vgpu labels are left out" in told.err


@pytest.fixture
def served(t4: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give what starts the command for ever, the file being labels in tmp_path."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, root: Path = t4) -> subprocess.Popen[str]:
        service = subprocess.Popen(
            [
                *(*PROGRAM, "node-labels", f"--output={tmp_path}/labels"),
                *(f"--driver-root={root}", "--machine-type-file=", *words),
            ],
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(service)
        return service

    yield start
    for service in started:
        service.kill()
        service.wait()
        if service.stderr is not None:
            service.stderr.close()


def awaited(what: Callable[[], bool]) -> None:
    """Wait until something holds. Fails where it never does."""
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_file_that_others_remove_comes_back_and_goes_with_the_service(
    served: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    file = tmp_path / "labels"
    service = served("--sleep-interval=100ms")
    awaited(file.exists)
    file.unlink()
    awaited(file.exists)
    service.terminate()
    assert service.wait(30) == 0
    assert not file.exists()


def test_a_service_writes_and_says_the_same_only_once(
    served: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    file = tmp_path / "labels"
    service = served("--sleep-interval=100ms", f"--machine-type-file={tmp_path}/none")
    awaited(file.exists)
    first = file.stat()
    time.sleep(0.7)  # some looks, on however busy a machine: the others must change nothing
    assert file.stat() == first
    service.terminate()
    assert service.wait(30) == 0
    assert service.stderr is not None
    assert service.stderr.read().count("the machine's type is unknown") == 1


def test_a_config_file_that_changes_is_heard_of(
    served: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    file, config = tmp_path / "labels", tmp_path / "config.yaml"
    config.write_text("version: v1\n")
    service = served("--sleep-interval=infinite", f"--config-file={config}")
    awaited(file.exists)
    config.write_text(SLICED)
    service.send_signal(signal.SIGHUP)
    awaited(lambda: "nvidia.com/gpu.replicas=4\n" in file.read_text())
    config.write_text("version: v9\n")
    service.send_signal(signal.SIGHUP)
    assert service.stderr is not None
    assert 'unknown version: "v9"' in service.stderr.readline()
    assert "nvidia.com/gpu.replicas=4\n" in file.read_text()
    service.terminate()
    assert service.wait(30) == 0


def test_an_unchanged_file_is_not_touched_and_a_hangup_looks_anew(
    served: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    file, root = tmp_path / "labels", node("t4", tmp_path)
    service = served("--sleep-interval=infinite", root=root)
    awaited(file.exists)
    first = file.stat()
    service.send_signal(signal.SIGHUP)
    (root / "gpubind-node.json").rename(tmp_path / "kept")
    service.send_signal(signal.SIGHUP)
    assert service.stderr is not None
    said = service.stderr.readline()
    while "the labels stay as they are" not in said:
        said = service.stderr.readline()
    assert file.stat() == first
    (tmp_path / "kept").rename(root / "gpubind-node.json")
    text = (root / "gpubind-node.json").read_text()
    (root / "gpubind-node.json").write_text(text.replace("Tesla T4", "Tesla T5"))
    service.send_signal(signal.SIGHUP)
    awaited(lambda: "nvidia.com/gpu.product=Tesla-T5\n" in file.read_text())
    service.terminate()
    assert service.wait(30) == 0
