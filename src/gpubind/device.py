# SPDX-License-Identifier: Apache-2.0
"""What the host says about device nodes and mount sources at container start."""

from __future__ import annotations

import posix
import stat

from gpubind.errors import ToolkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind.oci.types import Edits, Mount, Node

_KINDS = {"b": stat.S_ISBLK, "c": stat.S_ISCHR, "u": stat.S_ISCHR, "p": stat.S_ISFIFO}


def complete(edits: Edits, dropped: list[str], *, bind: bool = False) -> Edits:
    """Give the edits with each node's type and numbers known and no mount source missing.

    What is best effort and gone from the host is left out and named in `dropped`. Raises
    ToolkitError for a required one. With `bind` a node is a source too, and its own numbers count.
    """
    given: Edits = {**edits}
    if "deviceNodes" in given:
        nodes = [_node(node, dropped, bind=bind) for node in given["deviceNodes"]]
        given["deviceNodes"] = [node for node in nodes if node is not None]
    if "mounts" in given:
        given["mounts"] = [mount for mount in given["mounts"] if _is_there(mount, dropped)]
    return given


def _node(node: Node, dropped: list[str], *, bind: bool) -> Node | None:
    """Give a complete node, None where a best-effort one is gone (CDI SPEC.md, deviceNodes)."""
    kind = node.get("type", "")
    if kind == "p" or (kind and node.get("major") and not bind):
        return node if "minor" in node else {**node, "minor": 0}
    host = node.get("hostPath") or node["path"]
    try:
        status = posix.lstat(host)
    except OSError as error:
        _gone(host, error.strerror, node.get("required", True), dropped)
        return None
    found = [name for name, check in _KINDS.items() if check(status.st_mode)]
    if not found or (kind and kind not in found):
        _gone(host, "is no such device node", node.get("required", True), dropped)
        return None
    number = status.st_rdev
    return {
        **node,
        "type": kind or found[0],
        "major": posix.major(number),
        "minor": posix.minor(number),
    }


def _is_there(mount: Mount, dropped: list[str]) -> bool:
    if mount.get("type", "bind") not in ("bind", "none", ""):
        return True  # a file system of its own, such as tmpfs: the source is no file
    try:
        posix.stat(mount["hostPath"])
    except OSError as error:
        _gone(mount["hostPath"], error.strerror, mount.get("required", True), dropped)
        return False
    return True


def _gone(host: str, why: str | None, required: bool, dropped: list[str]) -> None:  # noqa: FBT001 - a field of the document
    if required:
        raise ToolkitError(
            f"{host}: {why}, but a CDI spec names it",
            identifier="SPEC-STALE",
            hint="run 'gpubind cdi generate' again",
        )
    dropped.append(f"{host}: {why}")
