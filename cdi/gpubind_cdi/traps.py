# SPDX-License-Identifier: Apache-2.0
"""Unquoted YAML whose text engines read as another one: `on` as true, `1.10` as 1.1, `010` as 8.

We keep a text as it is written. Engines turn YAML into JSON first, so that an unquoted number or
truth loses its spelling before they see that a text is wanted. `1:0` and dates stay as they are.
Source: resolve.go of https://github.com/yaml/go-yaml/tree/v2.4.0 and yaml.go of
https://github.com/kubernetes-sigs/yaml/tree/v1.4.0, which CDI's library reads specs with.
"""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Any

from gpubind.errors import DocumentError
from gpubind_cdi.fields import TRUTH, Plain, quoted, whole_number
from gpubind_cdi.model import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
SPECIAL = {
    form: said
    for words, said in (
        ((".nan", ".NaN", ".NAN"), "NaN"),
        ((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), "+Inf"),
        (("-.inf", "-.Inf", "-.INF"), "-Inf"),
        (("y", "Y"), "true"),
        (("n", "N"), "false"),
    )
    for form in words
}
SINGLE_DIGITS = 9  # are enough to tell any two single-precision numbers apart
LARGEST = 1 << 64


def found(loaded: Any) -> list[DocumentError]:
    """Give a warning for each text of a loaded spec that engines read otherwise."""
    try:
        ours, theirs = Spec.parse(loaded), Spec.parse(_rewritten(loaded))
    except DocumentError:
        return []  # told elsewhere
    return list(_compared(ours.document(), theirs.document(), ""))


def text(word: str) -> str:
    """Give the text that engines make of an unquoted scalar where a text is wanted."""
    if word in TRUTH or word in SPECIAL:
        return SPECIAL.get(word) or ("true" if TRUTH[word] else "false")
    plain = word.replace("_", "") if word[:1] not in {"_", ""} else word
    number = whole_number(plain)
    if number is not None and -LARGEST // 2 <= number < LARGEST:
        return str(number)
    if FLOAT.fullmatch(plain) and math.isfinite(known := float(plain)):
        return _single(known)
    return word


def _rewritten(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rewritten(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rewritten(item) for item in value]
    return Plain(text(value)) if isinstance(value, Plain) else value


def _compared(ours: Any, theirs: Any, place: str) -> Iterator[DocumentError]:
    if isinstance(ours, dict):
        for name, item in ours.items():
            yield from _compared(item, theirs[name], f"{place}.{name}" if place else name)
    elif isinstance(ours, list):
        for index, item in enumerate(ours):
            yield from _compared(item, theirs[index], f"{place}[{index}]")
    elif ours != theirs:
        message = f"engines read the unquoted {quoted(ours)} as {quoted(theirs)}: put it in quotes"
        yield DocumentError(message, path=place)


def _single(number: float) -> str:
    """Write a number as Go's FormatFloat(number, 'g', -1, 32) does."""
    try:
        wanted = struct.pack("<f", number)
    except OverflowError:
        return "+Inf" if number > 0 else "-Inf"
    (number,) = struct.unpack("<f", wanted)
    written = next(
        form
        for digits in range(SINGLE_DIGITS)
        if struct.pack("<f", float(form := f"{number:.{digits}e}")) == wanted
    )
    mantissa, _, exponent = written.partition("e")
    if not -4 <= int(exponent) < 6:
        return written
    digits = len(mantissa.lstrip("-").replace(".", ""))
    return f"{float(written):.{max(digits - 1 - int(exponent), 0)}f}"
