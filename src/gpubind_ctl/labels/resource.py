# SPDX-License-Identifier: Apache-2.0
"""The labels that every resource has, and texts as label values: pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpubind_ctl.labels.config import NONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_ctl.labels.config import Shared

Labels = dict[str, str]

PREFIX = "nvidia.com/"
GPU = f"{PREFIX}gpu"
LONGEST = 63  # of a label's value, and of the name behind the slash
STRAY = re.compile(r"[^A-Za-z0-9-_. ]")


def base(
    resource: str, product: Sequence[str], count: int, shared: Shared | None, strategy: str
) -> Labels:
    """Give product, count and sharing of a resource; `shared` is None for one that is not.

    A product that is shared under its own name is another product: its name ends in `-SHARED`.
    """
    parts = [*product, "SHARED"] if shared and not shared.renamed else product
    return {
        f"{resource}.product": joined(parts),
        f"{resource}.count": f"{count}",
        f"{resource}.replicas": f"{shared.replicas if shared else 1}",
        f"{resource}.sharing-strategy": strategy if shared else NONE,
    }


def joined(parts: Sequence[str]) -> str:
    """Give words as one label value; what is too long loses the end of its first word."""
    first, *rest = (sanitised(part) for part in parts)
    end = "".join(f"-{word}" for word in rest if word)
    return sanitised(f"{first[: LONGEST - len(end)]}{end}")


def sanitised(text: str) -> str:
    """Give a text as a label value: what may not stand there is left out, blanks become `-`."""
    words = STRAY.sub("", " ".join(text.split())).split()
    return "-".join(words)[:LONGEST].strip("-_.")
