# SPDX-License-Identifier: Apache-2.0
"""What a piece of work costs, counted: lines of Python run, functions of the kernel called."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def calls(work: Callable[[], object]) -> Counter[str]:
    """Count what is asked of the kernel, by the names of posix's functions."""
    count: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, called: Any) -> None:
        del frame
        if event == "c_call" and getattr(called, "__module__", "") == "posix":
            count[called.__name__] += 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def lines(work: Callable[[], object]) -> int:
    """Count the lines of Python that are run."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        del frame, argument
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
