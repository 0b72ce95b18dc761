# SPDX-License-Identifier: Apache-2.0
"""`gpubind-cdi-hook`: performs the plan its words carry in a container's root.

The OCI state on stdin says where the root is (config.md, POSIX-platform hooks). All else is in
argv: nothing is read from the environment, and no configuration. runc and crun differ in what they
say: the state's `root` counts where there is one, then the bundle's config.json, then the folder
runc starts a createContainer hook in, which is the root itself. The shim knows the root and names
it first of all, `--root DIR`, which saves reading either document.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import posix
import sys

from gpubind import VERSION, errors, linux, plan, words
from gpubind.errors import DocumentError, ToolkitError, UsageError
from gpubind.log import Log
from gpubind.root import Root, nameable

LIMIT_S = 10
STATE_LIMIT = 1 << 20


def main(argv: list[str], limit_s: float = LIMIT_S) -> None:
    """Perform the plan within `limit_s` and end the process: 0 done, 1 failed, 2 bad usage."""
    log = Log("gpubind-cdi-hook")
    _signal.signal(_signal.SIGALRM, _late)
    _signal.setitimer(_signal.ITIMER_REAL, limit_s)
    try:
        if argv[1:2] in (["--version"], ["-v"]):
            posix.write(1, f"gpubind-cdi-hook version {VERSION}\n".encode())
            return
        line = words.parse(argv[3:] if argv[1:2] == ["--root"] else argv[1:])
        plan.ready(line.operations)
        known = _root_in(argv)
        for name in line.unknown:
            log.note(f"unsupported CDI hook {name!r} skipped")
        if line.operations:
            notes: list[str] = []
            with known or Root(container_root(_stdin())) as root:
                plan.perform(root, line.operations, notes)
            for note in notes:
                log.note(note)
        posix._exit(0)  # noqa: SLF001 - taking the interpreter apart costs a tenth of its start
    except ToolkitError as error:
        log.fail(str(error))
        sys.exit(error.status)
    except Exception as error:  # noqa: BLE001 - an engine shows one line, never a traceback
        log.fail(errors.line(error, "HOOK-OS"))
        sys.exit(1)


def _root_in(argv: list[str]) -> Root | None:
    """Give the root the shim named, None where it named none or this user can't get there."""
    if argv[1:2] != ["--root"]:
        return None
    if len(argv) < 3 or not argv[2].startswith("/") or not nameable(argv[2]):
        raise UsageError("--root needs a folder's absolute name", identifier="ARG-VALUE")
    try:
        if linux.same(posix.stat(argv[2]), posix.stat("/")):
            raise UsageError("--root is the root this hook runs in", identifier="ARG-VALUE")
        return Root(argv[2])
    except PermissionError:
        return None  # a user namespace: the state and the current folder say it


def _late(_number: int, _frame: object) -> None:
    raise ToolkitError(
        "took too long and gave up",
        identifier="HOOK-TIMEOUT",
        hint="see whether the container's root or the OCI state on stdin hangs",
    )


def container_root(data: bytes) -> str:
    """Give the folder that is the container's root, from the bytes of the OCI state.

    Raises DocumentError where the state is broken or names no root.
    """
    from gpubind.oci import codec

    state = codec.decode(data, "the OCI state on stdin")
    if not isinstance(state, dict):
        raise DocumentError("expected an object", file="the OCI state on stdin")
    bundle = state.get("bundle") or state.get("bundlePath")
    if not isinstance(bundle, str) or not bundle.startswith("/") or not nameable(bundle):
        raise DocumentError("expected a folder's name", path="bundle", file="the OCI state")
    root = state.get("root") or _configured(bundle)
    if not isinstance(root, str) or not nameable(root):
        raise DocumentError("expected a folder's name", path="root", file="the OCI state")
    path = root if root.startswith("/") else f"{bundle}/{root}"
    if linux.same(posix.stat(path), posix.stat("/")):
        raise DocumentError("is the root this hook runs in", path="root", file="the OCI state")
    return path


def _configured(bundle: str) -> str:
    """Give the root of the bundle's config.json, or where that is not to be read, the cwd.

    In a user namespace the file may be closed to us; runc has then put us in the root.
    """
    from gpubind.oci import spec

    file = f"{bundle}/config.json"
    if posix.access(file, posix.R_OK):
        return spec.root_of(spec.load(file), file)
    here = posix.getcwd()
    if linux.same(posix.stat(here), posix.stat(bundle)):
        raise ToolkitError(f"{file} can't be read to find the root", identifier="SPEC-READ")
    return here


def _stdin() -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := posix.read(0, 1 << 16):
        parts.append(part)
        size += len(part)
        if size > STATE_LIMIT:
            raise DocumentError(f"larger than {STATE_LIMIT} bytes", file="the OCI state on stdin")
    return b"".join(parts)
