# SPDX-License-Identifier: Apache-2.0
"""Making a spec readable for old engines: what needs a newer CDI version is left out, and said."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from gpubind.errors import UsageError
from gpubind_cdi import version

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubind_cdi.model import ContainerEdits, Spec


def fit(spec: Spec, highest: str, *, firm: bool = True) -> tuple[Spec, tuple[str, ...]]:
    """Give the spec with its lowest sufficient version, at most `highest`, and what was left out.

    An empty `highest` allows every version. Raises UsageError for a version CDI does not have and
    where what can't be left out needs a higher one; unless `firm`, the next one that will do is
    taken then.
    """
    if highest and not firm:
        for allowed in version.KNOWN[version.order(highest) : -1]:
            with contextlib.suppress(UsageError):
                return fit(spec, allowed)
        return fit(spec, "")
    if highest and version.bare(highest) not in version.KNOWN:
        known = ", ".join(version.KNOWN)
        raise UsageError(
            f"no CDI version {highest!r}", identifier="USE-CDI-VERSION", hint=f"there are: {known}"
        )
    left_out: list[str] = []
    if highest:
        for needed, what, without in WITHOUT:
            slim = without(spec)
            if version.order(needed) > version.order(highest) and slim != spec:
                left_out.append(f"{what} (needs CDI {needed})")
                spec = slim
    needed, what = version.reasons(spec)[0]
    if highest and version.order(needed) > version.order(highest):
        raise UsageError(
            f"CDI {highest} is too old: {what} needs {needed}", identifier="USE-CDI-VERSION"
        )
    if not spec.devices:
        raise UsageError(
            f"CDI {highest} is too old: no device is left", identifier="USE-CDI-VERSION"
        )
    return replace(spec, cdi_version=needed), tuple(left_out)


def _each(change: Callable[[ContainerEdits], ContainerEdits]) -> Callable[[Spec], Spec]:
    def changed(spec: Spec) -> Spec:
        return replace(
            spec,
            container_edits=change(spec.container_edits),
            devices=tuple(
                replace(device, container_edits=change(device.container_edits))
                for device in spec.devices
            ),
        )

    return changed


def _without_gids(edits: ContainerEdits) -> ContainerEdits:
    return replace(edits, additional_gids=())


def _without_digits(spec: Spec) -> Spec:
    kept = tuple(device for device in spec.devices if not device.name[:1].isdigit())
    return replace(spec, devices=kept)


WITHOUT: tuple[tuple[str, str, Callable[[Spec], Spec]], ...] = (
    ("0.7.0", "additionalGids", _each(_without_gids)),
    ("0.5.0", "device names that start with a digit", _without_digits),
)
