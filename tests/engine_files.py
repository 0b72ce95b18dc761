# SPDX-License-Identifier: Apache-2.0
"""Engines' files as found on hosts: many in one fixture file, each with a name.

A line `=== name [flag …]` begins one. Flags: crlf, bom, utf-16-le, utf-16-be, no-newline.
"""

from __future__ import annotations

import codecs
import os
import re

import checkout

FOLDER = os.path.join(checkout.ROOT, "tests", "golden", "engines")
_HEAD = re.compile(r"^=== ([^\[\n]*?)\s*(?:\[([^\]\n]*)\])?$", re.MULTILINE)
_BOMS = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}


def cases(engine: str) -> dict[str, bytes]:
    """Give the files of an engine by their names."""
    found: dict[str, bytes] = {}
    folder = os.path.join(FOLDER, engine)
    for base in sorted(os.listdir(folder)):
        with open(os.path.join(folder, base), encoding="utf-8", newline="") as file:
            parts = _HEAD.split(file.read())[1:]
        for name, flags, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            assert name not in found, name
            found[name] = _bytes(text.removeprefix("\n"), set((flags or "").split()))
    return found


def _bytes(text: str, flags: set[str]) -> bytes:
    if "no-newline" in flags:
        text = text.removesuffix("\n")
    if "crlf" in flags:
        text = text.replace("\n", "\r\n")
    for encoding, mark in _BOMS.items():
        if encoding in flags:
            return mark + text.encode(encoding)
    return (codecs.BOM_UTF8 if "bom" in flags else b"") + text.encode()
