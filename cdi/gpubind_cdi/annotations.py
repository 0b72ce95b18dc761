# SPDX-License-Identifier: Apache-2.0
"""Annotations of CDI specs and devices: the rules of Kubernetes' annotations (R7).

Keys are qualified names, [DNS-1123 subdomain "/"] name, compared in lower case; keys and values
together hold at most 256 KiB. Source: SPEC.md of CDI and
https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/#syntax-and-character-set
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpubind.errors import DocumentError
from gpubind_cdi.fields import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_TOTAL = 256 << 10
MAX_PREFIX = 253
MAX_NAME = 63
SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")


def problems(annotations: Mapping[str, str]) -> Iterator[DocumentError]:
    """Give what is wrong with a spec's or a device's annotations, each with its key as place."""
    for key in annotations:
        fault = key_fault(key.lower())
        if fault:
            yield DocumentError(f"annotation key {quoted(key)}: {fault}")
    total = sum(len(f"{key}{value}".encode()) for key, value in annotations.items())
    if total > MAX_TOTAL:
        yield DocumentError(f"annotations hold {total} bytes, at most {MAX_TOTAL} are allowed")


def key_fault(key: str) -> str:
    """Say what is wrong with a key in lower case; "" where nothing is."""
    prefix, slash, name = key.rpartition("/")
    if slash and not prefix:
        return "the prefix before the slash is empty"
    if slash and (len(prefix) > MAX_PREFIX or not SUBDOMAIN.fullmatch(prefix)):
        return f"the prefix must be a DNS name of at most {MAX_PREFIX} characters"
    if len(name) > MAX_NAME or not NAME.fullmatch(name):
        return (
            f"the name must be 1 to {MAX_NAME} letters, digits, '-', '_' or '.', "
            "starting and ending with a letter or digit"
        )
    return ""
