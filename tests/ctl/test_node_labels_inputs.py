# SPDX-License-Identifier: Apache-2.0
"""What labels are made from besides NVML: PCI configuration space, and the plugin's file."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from gpubind.errors import DocumentError
from gpubind_ctl.labels import config, vgpu
from gpubind_ctl.labels.config import Shared
from gpubind_ctl.simulate import kernel, profile
from gpubind_plugin import configfile, options

if TYPE_CHECKING:
    from pathlib import Path


def test_a_virtual_gpu_tells_of_its_host() -> None:
    below = profile.load("vgpu-guest").gpus[0].hardware
    space = kernel.configuration(below)
    assert vgpu.host(space) == vgpu.Host("550.54.16", "r550_00")
    assert vgpu.host(space + bytes(3840)) == vgpu.Host("550.54.16", "r550_00")


def spaced(first: int, *capabilities: tuple[int, bytes]) -> bytes:
    """Give a configuration space with data at these places, and capabilities from `first` on."""
    space = bytearray(256)
    space[0x06], space[0x34] = 0x10, first
    for at, data in capabilities:
        space[at : at + len(data)] = data
    return bytes(space)[:256]


@pytest.mark.parametrize(
    ("space", "host"),
    [
        (b"", None),
        (bytes(64), None),
        (bytes(256), None),
        (spaced(0), None),
        (spaced(0x40, (0x40, b"\x05\x40")), None),  # in a circle
        (spaced(0x40, (0x40, b"\x05\x44"), (0x44, b"\x01\x40")), None),
        (spaced(0xFF, (0xFF, b"\x09")), None),  # ends in the middle
        (spaced(0x40, (0x40, b"\xff\x50"), (0x50, b"\x09\0\x05VF")), None),  # broken
        (spaced(0x40, (0x40, b"\x09\0\x14\x01VF")), None),  # another vendor's word
        (spaced(0x40, (0x40, b"\x09\0\x02VF")), None),  # shorter than its signature
        (spaced(0x40, (0x40, b"\x09\0\x05VF")), vgpu.Host("", "")),
        (spaced(0x40, (0x40, b"\x09\0\x10VF\x07\x00" + b"\x07" * 8)), vgpu.Host("", "")),
        (spaced(0x40, (0x40, b"\x09\0\xffVF" + b"\x01\x02" * 90)), vgpu.Host("", "")),
        (
            spaced(
                0x40,
                (0x40, b"\x09\0\x40VF\x03\x04ab" + struct.pack("<BB10s10s", 0, 22, b"1.2", b"r")),
            ),
            vgpu.Host("1.2", "r"),
        ),
    ],
)
def test_no_configuration_space_leads_astray(space: bytes, host: vgpu.Host | None) -> None:
    assert vgpu.host(space) == host


FILES = (
    "sharing: {timeSlicing: {resources: [{name: gpu, replicas: 4}]}}",
    "sharing: {timeSlicing: {renameByDefault: true, resources: [{name: gpu, replicas: 4}]}}",
    "sharing: {mps: {resources: [{name: nvidia.com/gpu, replicas: 2, rename: half}]}}",
    "sharing: {mps: {resources: [{name: gpu, replicas: 2}]},"
    " timeSlicing: {resources: [{name: gpu, replicas: 9}]}}",
    "version: v1\nflags: {migStrategy: single, gfd: {oneshot: true}}",
    '{"flags": {"failOnInitError": false}}',
    "\n",
)


@pytest.mark.parametrize("text", FILES)
def test_the_plugin_reads_the_same_in_a_file(text: str) -> None:
    ours = config.load_bytes(text.encode(), "config.yaml")
    plugin = configfile.parse(text.encode(), "config.yaml", options.ROWS)
    assert ours.sharing.strategy == plugin.sharing.strategy
    assert ours.sharing.resources == {
        one.name: Shared(replicas=one.replicas, renamed=one.offered != one.name)
        for one in plugin.sharing.shares.resources
    }


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("[]", "expected an object, found a list", ""),
        ("version: v2", 'unknown version: "v2"', "version"),
        ("sharing: {mps: {}}", "no resources specified", "sharing.mps"),
        (
            "sharing: {mps: {resources: [{replicas: 2}]}}",
            "no resource name specified",
            "sharing.mps.resources[0]",
        ),
        (
            "sharing: {mps: {resources: [{name: gpu}]}}",
            "no replicas specified",
            "sharing.mps.resources[0]",
        ),
        (
            "sharing: {timeSlicing: {resources: [{name: gpu, replicas: 1}]}}",
            "number of replicas must be >= 2",
            "sharing.timeSlicing.resources[0].replicas",
        ),
        ("flags: {gfd: {oneshot: perhaps}}", "expected true or false", "flags.gfd.oneshot"),
        ("flags: {migStrategy: [single]}", "expected text, found a list", "flags.migStrategy"),
    ],
)
def test_a_wrong_file_is_told_with_the_place(text: str, message: str, place: str) -> None:
    with pytest.raises(DocumentError) as caught:
        config.load_bytes(text.encode(), "config.yaml")
    assert (caught.value.file, caught.value.path) == ("config.yaml", place)
    assert message in caught.value.message


def test_a_link_to_nothing_is_a_file_that_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "config").symlink_to("/dev/null")
    assert config.load(str(tmp_path / "config")) == config.Config()
