# SPDX-License-Identifier: Apache-2.0
"""The rules of CDI: every broken rule has a file, and is named with its place and value."""

from __future__ import annotations

import os
from typing import Any

import cdidocs
import pytest
from gpubind_cdi import annotations as annotation_rules
from gpubind_cdi import document, names, schema, validate
from gpubind_cdi.model import Spec

from gpubind.errors import DocumentError

# What only a comparison of fields can see; all else the JSON schema says too.
BEYOND_THE_SCHEMA = {
    "r02-half-a-surrogate-pair.json",
    "r06-kind-ends-with-a-newline.json",
    "r08-device-twice.yaml",
    "r10-edits-of-empty-lists.yaml",
    "r15-interface-of-the-host-twice.json",
    "r15-name-twice.yaml",
}


def fault(folder: str, name: str) -> str:
    try:
        validate.check(Spec.parse(document.load(cdidocs.read(folder, name), name)))
    except DocumentError as error:
        return f"{error.message} at {error.path}" if error.path else error.message
    return ""


@pytest.mark.parametrize("name", cdidocs.bad())
def test_a_bad_file_is_refused_with_place_and_value(name: str) -> None:
    assert fault("bad", name) == cdidocs.bad()[name]


def test_every_bad_file_is_in_the_table() -> None:
    files = set(os.listdir(os.path.join(cdidocs.FOLDER, "bad"))) - {"expected.tsv"}
    assert files == set(cdidocs.bad())


def test_every_rule_has_a_bad_file() -> None:
    rules = {name[:3] for name in cdidocs.bad()}
    assert rules == {"r02", *(f"r{number:02}" for number in range(4, 18))}


@pytest.mark.parametrize("name", cdidocs.good())
def test_a_good_file_is_taken_and_comes_back_the_same(name: str) -> None:
    loaded = document.load(cdidocs.read("good", name), name)
    spec = Spec.parse(loaded)
    validate.check(spec)
    assert schema.problems(loaded) == []
    for form in ("yaml", "json"):
        again = document.load(document.dump(spec.document(), form), f"x.{form}")
        assert Spec.parse(again) == spec
        assert document.dump(Spec.parse(again).document(), form) == document.dump(
            spec.document(), form
        )


def test_names_stay_as_they_are_written() -> None:
    name = "names-that-look-like-numbers.yaml"
    spec = Spec.parse(document.load(cdidocs.read("good", name), name))
    found = [device.name for device in spec.devices]
    assert found == ["0", "1:0", "on", "1.10", "0x10", "1e3", "2024-01-01", "null"]


def test_numbers_are_read_in_all_spellings() -> None:
    name = "numbers-in-all-spellings.yaml"
    first, second = (
        Spec.parse(document.load(cdidocs.read("good", name), name))
        .devices[0]
        .container_edits.device_nodes
    )
    assert first.document() == {**second.document(), "path": "/dev/a"}


def loads(name: str) -> bool:
    try:
        document.load(cdidocs.read("bad", name), name)
    except DocumentError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name in cdidocs.bad() if loads(name)])
def test_the_schema_agrees_where_it_can(name: str) -> None:
    beyond = name in BEYOND_THE_SCHEMA or name.startswith("r05")
    found = schema.problems(document.load(cdidocs.read("bad", name), name))
    assert (found == []) == beyond


def test_a_fault_of_the_schema_has_its_place() -> None:
    found = schema.problems(cdidocs.spec(cdidocs.device(hooks=[{"path": "/x", "hookName": "y"}])))
    assert [error.path for error in found] == ["devices[0].containerEdits.hooks[0].hookName"]


def test_all_problems_are_told_in_the_order_of_the_document() -> None:
    spec = Spec.parse(
        {
            "cdiVersion": "2.0.0",
            "kind": "x",
            "devices": [{"name": "-"}],
            "containerEdits": {"env": ["A"]},
        }
    )
    assert [problem.path for problem in validate.problems(spec)] == [
        "cdiVersion",
        "kind",
        "devices[0].name",
        "devices[0].containerEdits",
        "containerEdits.env[0]",
    ]
    with pytest.raises(DocumentError, match="unknown version"):
        validate.check(spec)


@pytest.mark.parametrize(
    ("edits", "warning"),
    [
        (
            {"hooks": [{"hookName": "poststop", "path": "bin/x", "env": ["A=1"]}]},
            'hook path "bin/x" is relative: CDI demands an absolute one at hooks[0].path',
        ),
        (
            {"hooks": [{"hookName": "poststop", "path": "/x"}]},
            "the hook has no env: it would run with the container's own environment"
            " at hooks[0].env",
        ),
        (
            {"hooks": [{"hookName": "prestart", "path": "/x", "env": ["A=1"]}]},
            "prestart hooks are deprecated: use createRuntime or createContainer"
            " at hooks[0].hookName",
        ),
        (
            {"hooks": [{"hookName": "poststop", "path": "/x", "env": ["A=1"], "timeout": 0}]},
            "timeout 0 must be greater than 0 at hooks[0].timeout",
        ),
        (
            {"mounts": [{"hostPath": "/a", "containerPath": "/b/../../etc"}]},
            "path \"/b/../../etc\" holds '..' at mounts[0].containerPath",
        ),
        (
            {"mounts": [{"hostPath": "a", "containerPath": "/b"}]},
            'path "a" is relative at mounts[0].hostPath',
        ),
    ],
)
def test_what_is_allowed_but_unwise_is_a_warning(edits: dict[str, Any], warning: str) -> None:
    spec = Spec.parse(cdidocs.spec(cdidocs.device(**edits)))
    validate.check(spec, writing=True)
    told = [f"{found.message} at {found.path}" for found in validate.warnings(spec)]
    assert told == [warning.replace(" at ", " at devices[0].containerEdits.")]


def test_a_missing_name_is_not_also_a_repeated_one() -> None:
    spec = Spec.parse(cdidocs.spec(cdidocs.device(netDevices=[{}, {}]), cdiVersion="1.1.0"))
    assert {problem.message for problem in validate.problems(spec)} == {"missing name"}


@pytest.mark.parametrize("variable", ["A=1\nLD_PRELOAD=/x", "A=\0"])
def test_a_variable_with_newline_or_nul_is_read_and_never_written(variable: str) -> None:
    shown = repr(variable)[1:-1]
    hook = {"hookName": "poststop", "path": "/x", "env": ["B=1", variable]}
    for edits, place in (({"env": [variable]}, "env[0]"), ({"hooks": [hook]}, "hooks[0].env[1]")):
        spec = Spec.parse(cdidocs.spec(containerEdits=edits))
        validate.check(spec)
        with pytest.raises(DocumentError) as caught:
            validate.check(spec, writing=True)
        assert str(caught.value) == (
            f'variable "{shown}" holds a NUL or a newline at containerEdits.{place} [DOC-INVALID]'
        )


def test_annotations_hold_at_most_256_kib() -> None:
    full = {"a": "x" * (annotation_rules.MAX_TOTAL - 1)}
    assert list(annotation_rules.problems(full)) == []
    over = [str(fault) for fault in annotation_rules.problems({**full, "b": ""})]
    assert over == ["annotations hold 262145 bytes, at most 262144 are allowed [DOC-INVALID]"]


@pytest.mark.parametrize(
    "key", ["a", "A.b_c-1", "x" * 63, "a.b-c.d/E", f"{'a.' * 126}a/n", "NVIDIA.com/Gpu"]
)
def test_annotation_keys_are_qualified_names(key: str) -> None:
    assert annotation_rules.key_fault(key.lower()) == ""


def test_a_prefix_has_at_most_253_characters() -> None:
    assert annotation_rules.key_fault(f"{'a.' * 127}a/n") != ""


@pytest.mark.parametrize("name", ["a", "0", "1:0", "GPU-8f.x_y", "a-"])
def test_device_names_start_and_end_with_letters_or_digits(name: str) -> None:
    assert (names.device_fault(name) == "") == (name != "a-")
