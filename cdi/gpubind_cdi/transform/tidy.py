# SPDX-License-Identifier: Apache-2.0
"""The form in which every generated spec is written: nothing twice, nothing needless, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind_cdi.transform import dedupe, simplify, sort

if TYPE_CHECKING:
    from gpubind_cdi.model import Spec


def run(spec: Spec) -> Spec:
    """Give `spec` deduplicated, simplified and sorted."""
    for transform in (dedupe.run, simplify.run, sort.run):
        spec = transform(spec)
    return spec
