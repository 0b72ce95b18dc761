# SPDX-License-Identifier: Apache-2.0
"""A bundle's config.json: read, checked, written back whole."""

from __future__ import annotations

import os
import resource
import signal
import stat
from typing import TYPE_CHECKING, Any

import pytest
import trees

from gpubind.errors import DocumentError, ToolkitError
from gpubind.oci import spec

if TYPE_CHECKING:
    from pathlib import Path

FILE = "/b/config.json"


def bundle(tmp_path: Path, content: str | bytes | trees.Special) -> str:
    return trees.build(tmp_path, {"/config.json": content}) + "/config.json"


def test_what_nobody_knows_rides_along(tmp_path: Path) -> None:
    text = b'{"ociVersion":"9.9","new":{"x":[1,2.5,null]},"process":{"newer":"\xc3\xa9"}}\n'
    file = bundle(tmp_path, text)
    spec.save(file, spec.load(file))
    with open(file, "rb") as stream:
        assert stream.read() == text


def test_the_largest_allowed_is_read(tmp_path: Path) -> None:
    file = bundle(tmp_path, b'{"a":"' + b"x" * (spec.LIMIT - 8) + b'"}')
    assert os.stat(file).st_size == spec.LIMIT
    assert list(spec.load(file)) == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (trees.FOLDER, "not a regular file [SPEC-READ]"),
        (trees.FIFO, "not a regular file [SPEC-READ]"),
        ("-> /etc/passwd", "is a link, which no engine makes there [SPEC-READ]"),
        ("-> config.json", "is a link, which no engine makes there [SPEC-READ]"),
        (trees.sparse(200 << 30), "larger than 16777216 bytes [SPEC-READ]"),
        (trees.sparse(spec.LIMIT + 1), "larger than 16777216 bytes [SPEC-READ]"),
        (b"", "the file is empty [DOC-INVALID]"),
        (b'{"a":1', "broken JSON: Expecting ',' delimiter: line 1 column 7 (char 6) [DOC-INVALID]"),
        (b"null", "expected an object, found NoneType [DOC-INVALID]"),
        (b"[]", "expected an object, found list [DOC-INVALID]"),
        (b'"x"', "expected an object, found str [DOC-INVALID]"),
        (b'{"a":1,"a":2}', "duplicate key 'a' [DOC-INVALID]"),
        (b"{}{}", "text after the end of the document, line 1 [DOC-INVALID]"),
    ],
)
def test_a_config_that_cannot_be_used_is_told(
    tmp_path: Path, content: bytes | str | trees.Special, message: str
) -> None:
    file = bundle(tmp_path, content)
    with pytest.raises(ToolkitError) as caught:
        spec.load(file)
    assert str(caught.value) == f"{file}: {message}"


def test_a_missing_config_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolkitError, match=r"config.json: No such file or directory \[SPEC-READ\]"):
        spec.load(f"{tmp_path}/config.json")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to give files away")
def test_mode_and_owner_stay(tmp_path: Path) -> None:
    file = bundle(tmp_path, b"{}")
    os.chmod(file, 0o640)
    os.chown(file, 12, 34)
    spec.save(file, {"ociVersion": "1"})
    found = os.stat(file)
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 12, 34)


def test_a_failed_write_leaves_the_original(tmp_path: Path) -> None:
    file = bundle(tmp_path, b"{}")
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        try:
            spec.save(file, {"ociVersion": "x" * 100})
        except ToolkitError as error:
            right = str(error) == f"{file}: can't be written: File too large [SPEC-WRITE]"
            os._exit(7 if right else 8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert os.listdir(tmp_path) == ["config.json"]
    with open(file, "rb") as stream:
        assert stream.read() == b"{}"


def test_what_is_no_json_is_not_written(tmp_path: Path) -> None:
    file = bundle(tmp_path, b"{}")
    with pytest.raises(DocumentError, match="not to be written as JSON"):
        spec.save(file, {"annotations": {"a": "\ud800"}})
    assert os.stat(file).st_size == 2


def test_a_bundle_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolkitError, match=r"No such file or directory \[SPEC-WRITE\]"):
        spec.save(f"{tmp_path}/absent/config.json", {})


@pytest.mark.parametrize("path", ["rootfs", "./rootfs/", "a/rootfs", "link"])
def test_a_relative_root_counts_from_the_bundle(tmp_path: Path, path: str) -> None:
    trees.build(tmp_path, {"/rootfs/x": "", "/a/rootfs/x": "", "/link": "-> rootfs"})
    found = spec.root_of({"root": {"path": path}}, f"{tmp_path}/config.json")
    assert found == os.path.normpath(tmp_path / path)


def test_an_absolute_root_is_taken_as_it_is(tmp_path: Path) -> None:
    assert spec.root_of({"root": {"path": str(tmp_path)}}, FILE) == str(tmp_path)


@pytest.mark.parametrize(
    "root", [None, {}, [], "rootfs", {"path": ""}, {"path": 3}, {"path": None}]
)
def test_a_root_must_be_named(root: Any) -> None:
    with pytest.raises(DocumentError) as caught:
        spec.root_of({"root": root}, FILE)
    assert str(caught.value) == f"{FILE}: expected a folder's name at root.path [DOC-INVALID]"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/", "is the host's own root"),
        ("//", "is the host's own root"),
        ("/etc/..", "is the host's own root"),
        ("/proc/self/root", "is the host's own root"),
        (".", "is the bundle itself"),
        ("a/./..", "leads out of the bundle"),
        ("..", "leads out of the bundle"),
        ("../x", "leads out of the bundle"),
        ("a\0b", "expected a folder's name"),
        ("/\ud800", "expected a folder's name"),
    ],
)
def test_a_root_that_must_not_be_touched_is_refused(path: str, message: str) -> None:
    with pytest.raises(DocumentError, match=f"{message} at root.path"):
        spec.root_of({"root": {"path": path}}, FILE)


def test_a_root_that_is_not_there_is_told(tmp_path: Path) -> None:
    file = f"{tmp_path}/config.json"
    with pytest.raises(ToolkitError) as caught:
        spec.root_of({"root": {"path": "rootfs"}}, file)
    assert str(caught.value) == (
        f"{file}: root.path {tmp_path}/rootfs: No such file or directory [SPEC-ROOT]"
    )


@pytest.mark.parametrize(
    ("document", "env"),
    [
        ({}, []),
        ({"process": None}, []),
        ({"process": {}}, []),
        ({"process": {"env": None}}, []),
        ({"process": {"env": ["A=b", "no sign", ""]}}, ["A=b", "no sign", ""]),
    ],
)
def test_the_environment_is_read(document: Any, env: list[str]) -> None:
    assert spec.environment(document, FILE) == env


@pytest.mark.parametrize(
    ("process", "message"),
    [
        ([], "expected an object at process"),
        ("x", "expected an object at process"),
        ({"env": {}}, "expected a list at process.env"),
        ({"env": "A=b"}, "expected a list at process.env"),
        ({"env": ["A=b", 3]}, "expected text at process.env[1]"),
        ({"env": [None]}, "expected text at process.env[0]"),
    ],
)
def test_an_environment_of_another_shape_is_told(process: Any, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        spec.environment({"process": process}, FILE)
    assert str(caught.value) == f"{FILE}: {message} [DOC-INVALID]"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"process": None, "mounts": None, "hooks": None, "linux": None},
        {"process": {"user": {"uid": 0, "gid": 0, "additionalGids": [1]}}},
        {"mounts": [{"destination": "/x", "new": 1}], "hooks": {"prestart": [], "newer": 3}},
        {"linux": {"devices": [{"path": "/dev/x"}], "resources": {"devices": [{}]}}},
        {"linux": {"devices": [], "resources": None, "netDevices": {}}},
    ],
)
def test_a_spec_of_the_right_shape_passes(document: Any) -> None:
    spec.check(document, FILE)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"process": []}, "expected an object at process"),
        ({"process": {"user": "root"}}, "expected an object at process.user"),
        ({"process": {"user": {"uid": "0"}}}, "expected a number at process.user.uid"),
        ({"process": {"user": {"gid": True}}}, "expected a number at process.user.gid"),
        ({"process": {"user": {"uid": 1.5}}}, "expected a number at process.user.uid"),
        (
            {"process": {"user": {"additionalGids": 5}}},
            "expected a list of numbers at process.user.additionalGids",
        ),
        ({"mounts": {}}, "expected a list of objects at mounts"),
        ({"mounts": ["/x"]}, "expected a list of objects at mounts"),
        ({"mounts": [{}]}, "expected text at mounts[0].destination"),
        ({"hooks": []}, "expected an object at hooks"),
        ({"hooks": {"poststop": {}}}, "expected a list of objects at hooks.poststop"),
        ({"linux": 3}, "expected an object at linux"),
        ({"linux": {"devices": {}}}, "expected a list of objects at linux.devices"),
        ({"linux": {"devices": [{"path": []}]}}, "expected text at linux.devices[0].path"),
        ({"linux": {"resources": []}}, "expected an object at linux.resources"),
        (
            {"linux": {"resources": {"devices": [1]}}},
            "expected a list of objects at linux.resources.devices",
        ),
        ({"linux": {"netDevices": []}}, "expected an object at linux.netDevices"),
    ],
)
def test_a_spec_of_another_shape_is_told_with_the_place(document: Any, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        spec.check(document, FILE)
    assert str(caught.value) == f"{FILE}: {message} [DOC-INVALID]"
