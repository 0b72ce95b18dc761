# SPDX-License-Identifier: Apache-2.0
"""Shapes of the documents the start path handles. Loaded by the type checker only.

OCI runtime specification 1.2 (config.md, config-linux.md) and CDI 1.1.0 (SPEC.md); the fields
`capabilities`, `required` and `why` of a compiled spec are ours.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class OciMount(TypedDict, total=False):
    """An entry of `mounts`."""

    destination: str
    source: str
    type: str
    options: list[str]


class OciHook(TypedDict, total=False):
    """An entry of `hooks`."""

    path: str
    args: list[str]
    env: list[str]
    timeout: int


class OciRoot(TypedDict, total=False):
    """`root`: the container's root folder."""

    path: str
    readonly: bool


class Spec(TypedDict, total=False):
    """config.json, as far as anything here reads it."""

    ociVersion: str
    process: dict[str, Any]
    root: OciRoot
    mounts: list[OciMount]
    hooks: dict[str, list[OciHook]]
    linux: dict[str, Any]
    annotations: dict[str, str]


class Node(TypedDict, total=False):
    """A CDI device node with the sidecar's words about it."""

    path: str
    hostPath: str
    type: str
    major: int
    minor: int
    fileMode: int
    permissions: str
    uid: int
    gid: int
    capabilities: list[str]
    required: bool
    why: str


class Mount(TypedDict, total=False):
    """A CDI mount with the sidecar's words about it."""

    hostPath: str
    containerPath: str
    options: list[str]
    type: str
    capabilities: list[str]
    required: bool
    why: str


class Hook(TypedDict, total=False):
    """A CDI hook."""

    hookName: str
    path: str
    args: list[str]
    env: list[str]
    timeout: int


class Edits(TypedDict, total=False):
    """CDI containerEdits of a compiled spec."""

    env: list[str]
    deviceNodes: list[Node]
    mounts: list[Mount]
    hooks: list[Hook]
    additionalGids: list[int]
    netDevices: list[dict[str, str]]
    intelRdt: dict[str, Any]


class LinkItem(TypedDict):
    """A link the container's root needs."""

    link: str
    target: str
    capabilities: list[str]
    devices: list[str]
    why: str


class LibraryItem(TypedDict):
    """An entry the container's ld.so.cache needs."""

    path: str
    arch: str
    capabilities: list[str]


class CompiledSpec(TypedDict):
    """One CDI spec of the compiled registry."""

    path: str
    priority: int
    kind: str
    cdiVersion: str
    containerEdits: Edits
    devices: dict[str, Edits]
    driver: dict[str, Any] | None
    gpus: list[dict[str, Any]]
    operations: list[str]
    links: list[LinkItem]
    libraries: list[LibraryItem]
    folders: list[str]


class Compiled(TypedDict):
    """The compiled registry."""

    format: int
    generator: str
    stamps: dict[str, list[int] | None]
    specs: list[CompiledSpec]
    devices: dict[str, int]
    conflicts: dict[str, list[str]]
    errors: list[dict[str, str]]
    state: NotRequired[str]
    files: NotRequired[list[tuple[str, str, str]]]
    elsewhere: NotRequired[str]
