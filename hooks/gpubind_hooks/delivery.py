# SPDX-License-Identifier: Apache-2.0
"""Delivering a decision into a container that is being made.

In this order, so that a failure leaves least behind: open every source on the host, allow the
devices in the cgroup, enter the container's mount namespace, attach, do the plan. What was
attached is taken away again when anything later fails.
"""

from __future__ import annotations

import os

from gpubind import loader, modifier, mounting, plan, userns
from gpubind.errors import ToolkitError
from gpubind.root import Root
from gpubind_hooks import binding, cgroup, goods
from gpubind_hooks.process import Process, own_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind.injection import Decision
    from gpubind_hooks.binding import Bound, Source

SIMPLE = (plan.Link, plan.LdCache)
LOADED = (loader, mounting)  # modules that a plan imports when it needs them


def deliver(decision: Decision, pid: int, *, cgroups: bool = True) -> list[str]:
    """Give the container of the process `pid` what was decided; give a line for each act.

    Notes are added to the decision's. `cgroups` tells whether the device cgroup is ours to change.
    Raises ToolkitError, with nothing left mounted.
    """
    process = Process(pid)
    done: list[str] = []
    own = os.stat(decision.root)
    lost = goods.left_out(decision.edits, modifier.VOID)
    if lost:
        decision.notes.append(
            f"only a runtime can give these, left out: {'; '.join(lost[:8])} [PRESTART-LOST]"
        )
    found = binding.sources(goods.binds(decision.edits), decision.notes)
    try:
        namespace = process.mounts()
        rules = goods.rules(source.bind for source in found)
        if rules and cgroups and not userns.inside():
            done.append(cgroup.allow(process.cgroups(), own_mounts(), rules))
        ready(decision)
        with namespace, _root(decision.root, process, own) as root:
            _attach(root, decision, found, done)
    finally:
        for source in found:
            source.close()
        os.close(process.fd)
    return done


def ready(decision: Decision) -> None:
    """Load what performing the plan would load late, and in the container could not."""
    planned = [*decision.now, *decision.later]
    if any(not isinstance(operation, SIMPLE) for operation in planned):
        __import__("json")  # for the message about a broken document that an image brings


def _attach(root: Root, decision: Decision, found: list[Source], done: list[str]) -> None:
    """Do what is to be done inside the container's mount namespace."""
    bound = binding.Bound(root)
    try:
        for source in found:
            _one(bound, source, decision.notes, done)
        done += plan.perform(root, [*decision.now, *decision.later], decision.notes)
    except BaseException:
        bound.undo()
        raise
    bound.close()


def _one(bound: Bound, source: Source, notes: list[str], done: list[str]) -> None:
    try:
        if bound.attach(source):
            done.append(str(source.bind))
    except OSError as error:
        told = f"container's root: {source.bind}: {error.strerror}"
        if source.bind.required:
            raise ToolkitError(
                told,
                identifier="PRESTART-MOUNT",
                hint="see what the image or a volume has at that name",
            ) from error
        notes.append(f"{told} [PRESTART-MOUNT]")


def _root(path: str, process: Process, own: os.stat_result) -> Root:
    """Open the container's root where its own process sees it: the folder the host calls `own`.

    Raises ToolkitError where another one is there, as with a runtime that has already put the
    container into its root: OCI prestart hooks come before that.
    """
    try:
        root = _opened(path, process)
    except OSError as error:
        raise _lost(path, error.strerror or "unknown") from None
    if not os.path.samestat(os.fstat(root.fd), own):
        raise _lost(path, "is not the folder the host has there")
    return root


def _opened(path: str, process: Process) -> Root:
    top = process.root()
    with Root(f"/proc/self/fd/{top}") as seen:
        os.close(top)
        fd = seen.open(path, os.O_PATH | os.O_DIRECTORY)
    root = Root(f"/proc/self/fd/{fd}")
    os.close(fd)
    root.path = path
    return root


def _lost(path: str, why: str) -> ToolkitError:
    return ToolkitError(
        f"container's root {path} in its mount namespace: {why}",
        identifier="PRESTART-ROOT",
        hint="use a runtime that starts prestart hooks before it enters the root",
    )
