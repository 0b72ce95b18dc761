# SPDX-License-Identifier: Apache-2.0
"""Specs and sidecars are written whole, durable and readable for all, or not at all."""

from __future__ import annotations

import json
import os
import stat
import threading
from typing import TYPE_CHECKING

import driver_roots
import pytest
from gpubind_cdi import document, files, sidecar
from gpubind_cdi.generate import Generated
from gpubind_cdi.model import ContainerEdits, Device, DeviceNode, Spec

from gpubind.errors import PartialError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def generated(name: str = "0") -> Generated:
    node = DeviceNode(path="/dev/nvidia0", type="c", major=195)
    device = Device(name=name, container_edits=ContainerEdits(device_nodes=(node,)))
    spec = Spec(cdi_version="0.5.0", kind="nvidia.com/gpu", devices=(device,))
    facts = {"generator": "gpubind", "driver": {}, "gpus": [], "items": {}, "links": []}
    return Generated(
        spec=spec, sidecar={**facts, "libraries": [], "folders": [], "inputs": [], "operations": []}
    )


def save(folder: Path, output: str, form: str = "", name: str = "0") -> files.Saved:
    return files.save(generated(name), f"{folder}/{output}", form=form, state=f"{folder}/state")


@pytest.mark.parametrize(
    ("output", "form", "want"),
    [
        ("a.yaml", "", ("a.yaml", "yaml")),
        ("a.json", "", ("a.json", "json")),
        ("a.json", "json", ("a.json", "json")),
        ("a", "", ("a.yaml", "yaml")),
        ("a", "json", ("a.json", "json")),
        ("a.txt", "", ("a.txt.yaml", "yaml")),
        ("a.yml", "", ("a.yml.yaml", "yaml")),
        ("d.yaml/a", "", ("d.yaml/a.yaml", "yaml")),
    ],
)
def test_the_name_gets_an_ending_that_engines_read(
    output: str, form: str, want: tuple[str, str]
) -> None:
    assert files.place(output, form) == want


@pytest.mark.parametrize(("output", "form"), [("a.json", "yaml"), ("a.yaml", "json"), ("a", "xml")])
def test_a_format_that_does_not_fit_is_bad_usage(output: str, form: str) -> None:
    with pytest.raises(UsageError, match="format"):
        files.place(output, form)


@pytest.mark.parametrize("output", ["deep/er/nvidia.yaml", "nvidia.json"])
def test_spec_and_sidecar_are_written_and_belong_together(tmp_path: Path, output: str) -> None:
    saved = save(tmp_path, output)
    with open(saved.spec, "rb") as file:
        data = file.read()
    assert Spec.parse(document.load(data, saved.spec)) == generated().spec
    with open(saved.sidecar, "rb") as file:
        known = sidecar.Sidecar.parse(file.read(), saved.sidecar)
    assert known.fits(saved.spec, sidecar.digest(data))
    assert saved.sidecar in sidecar.paths_of(f"{tmp_path}/state/sidecars", saved.spec)


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_the_files_are_0644_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    os.makedirs(tmp_path / "state/sidecars")
    old = os.umask(mask)
    try:
        saved = save(tmp_path, "nvidia.yaml")
    finally:
        os.umask(old)
    for path in (saved.spec, saved.sidecar):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o644


def test_nothing_but_the_files_is_left(tmp_path: Path) -> None:
    for _ in range(2):
        save(tmp_path, "nvidia.yaml")
    assert sorted(os.listdir(tmp_path)) == ["nvidia.yaml", "state"]


def test_an_existing_file_is_replaced_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "nvidia.yaml").write_text("old")
    os.link(tmp_path / "nvidia.yaml", tmp_path / "kept")
    save(tmp_path, "nvidia.yaml")
    assert (tmp_path / "kept").read_text() == "old"
    assert (tmp_path / "nvidia.yaml").read_text().startswith("---\n")


def test_a_reader_never_sees_half_a_file_nor_one_it_may_not_read(tmp_path: Path) -> None:
    texts = [files.text(generated(name)) for name in ("0", "GPU-" + "a" * 50_000)]
    path = str(tmp_path / "nvidia.yaml")
    files.put(path, texts[0])
    stop = threading.Event()

    def write(text: bytes) -> None:
        while not stop.is_set():
            files.put(path, text)

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    try:
        for _ in range(1000):
            with open(path, "rb") as file:
                assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o644
                assert file.read() in texts
    finally:
        stop.set()
        for writer in writers:
            writer.join()


@pytest.mark.parametrize("temporary_seen", [".yaml", ".json"])
def test_no_engine_reads_the_file_under_way(tmp_path: Path, temporary_seen: str) -> None:
    seen: set[str] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.update(os.listdir(tmp_path))

    looker = threading.Thread(target=look)
    looker.start()
    for _ in range(100):
        files.put(str(tmp_path / "nvidia.yaml"), b"x" * 100_000)
    stop.set()
    looker.join()
    assert {name for name in seen if name.endswith(temporary_seen)} <= {"nvidia.yaml"}


@pytest.mark.parametrize(
    ("tree", "output", "message"),
    [
        ({"/nvidia.yaml": None}, "nvidia.yaml", "Is a directory"),
        ({"/cdi": None}, "cdi", "Is a directory"),
        ({"/cdi": None}, "cdi/", "Is a directory"),
        ({"/cdi": "a file"}, "cdi/nvidia.yaml", "Not a directory"),
        ({"/nvidia.yaml": driver_roots.FIFO}, "nvidia.yaml", "is not a regular file"),
        ({"/nvidia": driver_roots.FIFO}, "nvidia", "is not a regular file"),
    ],
)
def test_a_name_that_is_taken_by_something_else_is_refused(
    tmp_path: Path, tree: driver_roots.Tree, output: str, message: str
) -> None:
    driver_roots.grow(tmp_path, tree)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises((OSError, UsageError), match=message):
        save(tmp_path, output)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_full_device_is_an_error_and_stays_a_device() -> None:
    with pytest.raises(UsageError, match="/dev/full is not a regular file"):
        files.save(generated(), "/dev/full")


def test_a_file_too_large_to_write_leaves_the_old_one(tmp_path: Path) -> None:
    import resource
    import signal

    save(tmp_path, "nvidia.yaml")
    before = (tmp_path / "nvidia.yaml").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            save(tmp_path, "nvidia.yaml", name="1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert caught.value.filename == str(tmp_path / "nvidia.yaml")
    assert (tmp_path / "nvidia.yaml").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["nvidia.yaml", "state"]


def test_a_sidecar_that_cannot_be_written_is_a_partial_result(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(PartialError, match=r"nvidia.yaml is written, its sidecar .* is not"):
        save(tmp_path, "nvidia.yaml")
    assert (tmp_path / "nvidia.yaml").exists()


def test_the_sidecar_is_one_json_object(tmp_path: Path) -> None:
    saved = save(tmp_path, "nvidia.yaml")
    with open(saved.sidecar, encoding="utf-8") as file:
        facts = json.load(file)
    assert (facts["format"], facts["spec"]) == (1, saved.spec)


def test_a_spec_that_would_not_change_keeps_its_time(tmp_path: Path) -> None:
    first = save(tmp_path, "nvidia.yaml")
    before = os.stat(first.spec)
    again = save(tmp_path, "nvidia.yaml")
    assert (first.changed, again.changed) == (True, False)
    assert os.stat(again.spec) == before


@pytest.mark.parametrize("what", ["content", "mode", "link"])
def test_a_spec_that_is_not_as_it_would_be_written_is_replaced(tmp_path: Path, what: str) -> None:
    path = tmp_path / "nvidia.yaml"
    save(tmp_path, "nvidia.yaml")
    whole = path.read_bytes()
    if what == "content":
        os.truncate(path, 3)
    elif what == "mode":
        path.chmod(0o666)
    else:
        path.rename(f"{path}.moved")
        path.symlink_to(f"{path}.moved")
    assert save(tmp_path, "nvidia.yaml").changed
    assert (stat.filemode(path.lstat().st_mode), path.read_bytes()) == ("-rw-r--r--", whole)
