# SPDX-License-Identifier: Apache-2.0
"""The configuration file: what of it has effect, and what is refused with its line."""

from __future__ import annotations

import json

import checkout
import hypothesis
import pytest
from hypothesis import strategies

from gpubind.errors import ToolkitError
from gpubind_plugin import configfile, options
from gpubind_plugin.config import Named, Resources, Selector, Shared, Shares

GIB = 1 << 30


def read(text: str | bytes) -> configfile.File:
    data = text.encode() if isinstance(text, str) else text
    return configfile.parse(data, "c.yaml", options.ROWS)


def refused(text: str | bytes) -> str:
    with pytest.raises(ToolkitError) as caught:
        read(text)
    assert caught.value.identifier == "K8S-CONFIG"
    return str(caught.value).removesuffix(" [K8S-CONFIG]")


def shared(entries: str) -> tuple[Shared, ...]:
    return read(sharing(entries)).sharing.time_slicing.resources


def sharing(entries: str) -> str:
    """Give a file that shares by time slicing, its entries from line 4 on."""
    lines = (f"    {line}" for line in entries.splitlines())
    return "\n".join(["sharing:", "  timeSlicing:", "    resources:", *lines, ""])


@pytest.mark.parametrize("text", ["", "  \n", "version: v1\n", "flags: {}\n", "flags:\n", "{}"])
def test_a_file_can_say_nothing(text: str) -> None:
    assert read(text) == configfile.File()


def test_json_is_read_as_yaml_is() -> None:
    document = {"flags": {"migStrategy": "single", "gdsEnabled": True}, "imex": {"channelIDs": [0]}}
    options_said = {"mig_strategy": "single", "gds_enabled": True, "imex_channel_ids": (0,)}
    assert read(json.dumps(document)).options == options_said


def test_a_list_may_be_a_text() -> None:
    for said in ("envvar", "[envvar]"):
        found = read(f"flags: {{plugin: {{deviceListStrategy: {said}}}}}").options
        assert found == {"device_list_strategy": ("envvar",)}


def test_feature_discovery_s_keys_are_none_of_ours_and_no_fault() -> None:
    text = "flags: {useNodeFeatureAPI: true, gfd: {oneshot: true, sleepInterval: 60s}}"
    assert read(text) == configfile.File()


def test_an_unknown_key_is_told_with_its_line() -> None:
    found = read("version: v1\nflag: {}\nflags:\n  migStrateg: x\n  plugin:\n    x: 1\n")
    assert found.warnings == (
        "c.yaml:2: unknown key flag is ignored",
        "c.yaml:4: unknown key flags.migStrateg is ignored",
        "c.yaml:6: unknown key flags.plugin.x is ignored",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: v2", "c.yaml:1: unknown version: v2 at version"),
        ("- a", "c.yaml:1: expected an object, found a list"),
        ("flags: 1", "c.yaml:1: expected an object, found int at flags"),
        (
            "flags:\n  gdsEnabled: maybe",
            'c.yaml:2: expected true or false, found text "maybe" at flags.gdsEnabled',
        ),
        ("a: 1\na: 2", 'c.yaml:2: the key "a" stands twice'),
        ("a: [", "c.yaml:2: not YAML"),
        ("a: &x 1", "c.yaml:1: anchors and aliases are refused"),
        (b"\xff", "c.yaml: the file is not UTF-8"),
        (
            "imex: {channelIDs: [a]}",
            'c.yaml:1: expected a whole number, found text "a" at imex.channelIDs[0]',
        ),
        ("sharing: {x: 1}", 'c.yaml:1: unknown field "x" at sharing'),
        ("x" * (1 << 20) + "x", "c.yaml: it is larger than 1 MiB"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_line(text: str | bytes, message: str) -> None:
    assert refused(text).startswith(message)


def test_entries_share_all_a_count_or_a_list_of_devices() -> None:
    gpu, mig = (
        "GPU-57773701-c879-5a34-863c-5daf18286f9e",
        "MIG-4b20b8b0-f2b5-5fc2-952c-5301f4022802",
    )
    entries = shared(
        "- {name: a, replicas: 2}\n"
        "- {name: nvidia.com/b, devices: all, replicas: 3, rename: c}\n"
        "- {name: d, devices: 2, replicas: 4}\n"
        f"- {{name: d, devices: [0, '1', 2:3, {gpu}, {mig}, MIG-{gpu}/1/0], replicas: 5}}"
    )
    assert entries == (
        Shared(name="nvidia.com/a", replicas=2),
        Shared(name="nvidia.com/b", replicas=3, rename="nvidia.com/c"),
        Shared(name="nvidia.com/d", replicas=4, count=2),
        Shared(
            name="nvidia.com/d", replicas=5, devices=("0", "1", "2:3", gpu, mig, f"MIG-{gpu}/1/0")
        ),
    )


def test_devices_may_be_numbers_of_json() -> None:
    entry = {"name": "a", "devices": [0, "1:0"], "replicas": 2}
    found = read(json.dumps({"sharing": {"mps": {"resources": [entry]}}}))
    assert found.sharing.mps.resources[0].devices == ("0", "1:0")


def test_only_mps_fails_large_requests_by_itself_and_both_can_be_told_otherwise() -> None:
    entry = "{name: a, replicas: 2}"
    way = f"resources: [{entry}]"
    both = read(f"sharing: {{timeSlicing: {{{way}}}, mps: {{{way}}}}}").sharing
    found = (both.time_slicing, both.mps)
    assert [one.fail_requests_greater_than_one for one in found] == [False, True]
    assert (both.strategy, both.shares) == ("mps", both.mps)
    told = "failRequestsGreaterThanOne: false"
    other = read(f"sharing: {{mps: {{{way}, {told}}}}}").sharing.mps
    assert other == Shares(resources=(Shared(name="nvidia.com/a", replicas=2),))


def test_replicas_are_renamed_by_default_where_that_is_said_and_no_other_name_is() -> None:
    text = (
        "sharing: {timeSlicing: {renameByDefault: true, resources: "
        "[{name: gpu, replicas: 2}, {name: b, replicas: 2, rename: c}]}}"
    )
    found = read(text).sharing.time_slicing.resources
    assert [one.offered for one in found] == ["nvidia.com/gpu.shared", "nvidia.com/c"]


LONG = "a" * 53


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("- {replicas: 2}", "c.yaml:4: no resource name specified"),
        ("- {name: a}", "c.yaml:4: no replicas specified"),
        ("- {name: a, replicas: 1}", "c.yaml:4: number of replicas must be >= 2"),
        ("- {name: a, replicas: -3}", "c.yaml:4: number of replicas must be >= 2"),
        ("- {name: a, replicas: 100000}", "c.yaml:4: number of replicas must be <= 4096"),
        ("- {name: a, replicas: x}", "c.yaml:4: expected a whole number"),
        ("- {name: a, replicas: 2, devices: 0}", "c.yaml:4: a count of devices must be > 0"),
        ("- {name: a, replicas: 2, devices: some}", "c.yaml:4: expected a whole number"),
        ("- {name: a, replicas: 2, devices: '2'}", "c.yaml:4: expected all, a count or a list"),
        ("- {name: a, replicas: 2, devices: []}", "c.yaml:4: unsupported type for devices"),
        ("- {name: a, replicas: 2, devices: [x]}", "c.yaml:4: unsupported type for device in dev"),
        ("- {name: a, replicas: 2, devices: [[0]]}", "c.yaml:4: unsupported type for device in"),
        ("- {name: a, replicas: 2, devices: [-1]}", "c.yaml:4: unsupported type for device in"),
        ("- {name: A, replicas: 2}", 'c.yaml:4: "A" is no resource name'),
        ("- {name: amd.com/gpu, replicas: 2}", 'c.yaml:4: "amd.com/gpu" is no resource name'),
        (
            f"- {{name: {LONG}, replicas: 2}}",
            "c.yaml:4: fully-qualified resource name must be 63 ch",
        ),
        ("- {name: a, replicas: 2, x: 1}", 'c.yaml:4: unknown field "x"'),
        (
            "- {name: a, replicas: 2}\n- {name: a, replicas: 3}",
            "c.yaml:5: all of nvidia.com/a is shared twice",
        ),
        (
            "- {name: a, replicas: 2, devices: [0]}\n- {name: a, replicas: 3, devices: [1, 0]}",
            "c.yaml:5: 0 of nvidia.com/a is shared twice",
        ),
        (
            "- {name: a, replicas: 2, rename: gpu}",
            "c.yaml:4: nvidia.com/gpu is the name of other devices already",
        ),
    ],
)
def test_a_wrong_entry_is_refused_with_its_line(entries: str, message: str) -> None:
    assert refused(sharing(entries)).startswith(message)


@pytest.mark.parametrize("way", ["timeSlicing", "mps"])
@pytest.mark.parametrize("said", ["{}", "{resources: []}", "{renameByDefault: true}"])
def test_sharing_without_an_entry_is_refused(way: str, said: str) -> None:
    assert (
        refused(f"sharing:\n  {way}: {said}")
        == f"c.yaml:2: no resources specified at sharing.{way}"
    )


def test_a_default_name_that_is_too_long_is_refused() -> None:
    entry = f"{{name: {LONG[3:]}, replicas: 2}}"
    text = f"sharing: {{mps: {{renameByDefault: true, resources: [{entry}]}}}}"
    assert "must be 63 characters or less" in refused(text)


def test_resources_have_names_by_model_address_uuid_and_memory() -> None:
    found = read(
        "resources:\n"
        "  gpus:\n"
        "  - {pattern: '*A100*', name: a100}\n"
        "  - {pci: '0000:0F:00.0', uuid: GPU-1*, memory: '>=40Gi, <80G', name: nvidia.com/b}\n"
        "  mig: [{pattern: 1g.10gb, name: small}]\n"
        "  include: [{memory: '>1Ki'}]\n"
        "  exclude: [{pci: '0000:4F*'}, {memory: '=7'}]\n"
    ).resources
    memory = ((">=", 40 * GIB), ("<", 80 * 1000**3))
    assert found == Resources(
        gpus=(
            Named(name="nvidia.com/a100", selector=Selector(pattern="*A100*")),
            Named(
                name="nvidia.com/b",
                selector=Selector(pci="0000:0f:00.0", uuid="GPU-1*", memory=memory),
            ),
        ),
        mig=(Named(name="nvidia.com/small", selector=Selector(pattern="1g.10gb")),),
        include=(Selector(memory=((">", 1024),)),),
        exclude=(Selector(pci="0000:4f*"), Selector(memory=(("=", 7),))),
    )


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("gpus: [{pattern: a}]", "no resource name specified at resources.gpus[0]"),
        (
            "gpus: [{name: a}]",
            "no pattern, pci, uuid or memory says which devices nvidia.com/a has",
        ),
        ("exclude: [{}]", "no pattern, pci, uuid or memory says which devices are meant"),
        ("exclude: [{name: a}]", 'unknown field "name" at resources.exclude[0]'),
        ("gpus: [{pattern: '', name: a}]", "expected a pattern, found nothing"),
        ("gpus: [{memory: 40Gi, name: a}]", 'expected a size like >=40Gi, found "40Gi"'),
        ("gpus: [{memory: '>=40Gib', name: a}]", "expected a size like >=40Gi"),
        ("gpus: [{memory: '>=٤Gi', name: a}]", "expected a size like >=40Gi"),
        ("gpus: [{pci: '7:0', name: a}]", "expected a PCI address like 0000:07:00.0, or a pattern"),
        (
            "gpus: [{pattern: '*', name: a}, {pattern: 'x', name: b}]",
            "nvidia.com/b never gets a device: nvidia.com/a takes them all before",
        ),
        ("mig: [{pattern: x, name: a}, {pattern: x, name: b}]", "nvidia.com/b never gets a device"),
    ],
)
def test_wrong_patterns_are_refused_with_their_line(part: str, message: str) -> None:
    assert refused(f"resources:\n  {part}\n").startswith(f"c.yaml:2: {message}")


@hypothesis.given(strategies.binary(max_size=60))
def test_no_bytes_make_more_than_a_refusal(data: bytes) -> None:
    try:
        read(data)
    except ToolkitError as error:
        assert error.identifier == "K8S-CONFIG"  # noqa: PT017 - either is fine


SCALARS = strategies.one_of(
    strategies.none(), strategies.booleans(), strategies.integers(), strategies.text(max_size=8)
)
KEYS = ("name", "replicas", "devices", "rename", "pattern", "memory", "pci", "uuid", "resources")
VALUES = strategies.recursive(
    SCALARS,
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)
PLACES = ("version", "flags", "resources", "sharing", "imex")


@hypothesis.given(strategies.dictionaries(strategies.sampled_from(PLACES), VALUES))
def test_no_document_makes_more_than_a_refusal(document: dict[str, object]) -> None:
    try:
        read(json.dumps(document))
    except ToolkitError as error:
        assert error.identifier == "K8S-CONFIG"  # noqa: PT017 - either is fine


def test_the_page_s_file_is_one() -> None:
    page = checkout.text(checkout.ROOT, "docs/device-plugin.md")
    _, first, rest = page.partition("\n    version: v1\n")
    found = read(f"{first}{rest}".partition("\n\n")[0])
    assert found.warnings == ()
    assert len(found.resources.gpus) == 3
    assert len(found.sharing.time_slicing.resources) == 2
