# SPDX-License-Identifier: Apache-2.0
"""What an image requires of driver and GPUs: `cuda>=12.4 brand=tesla,driver>=470`. Pure.

Terms separated by spaces are alternatives, factors separated by commas must all hold. Everything is
read once, from left to right. A figure nobody knows, because a spec was not made by gpubind, makes
a factor neither true nor false: the container starts, with a note.
"""

from __future__ import annotations

from gpubind import naming
from gpubind.errors import ToolkitError, printable

OPERATORS = ("!=", "<=", ">=", "=", "<", ">")  # two letters first
VERSIONS = ("arch", "cuda", "driver")
PROPERTIES = (*VERSIONS, "brand")
LIMIT = 1 << 16
"""Letters a requirement may have, and all of a container together."""

_LONGEST_PART = 10  # digits of a number in a version
_SWITCH = "NVIDIA_DISABLE_REQUIRE=1"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpubind.oci.types import CompiledSpec

    Factor = tuple[str, str, str]
    Facts = Mapping[str, str]


def check(
    requirements: Sequence[tuple[str, str]], chosen: Sequence[tuple[CompiledSpec, list[str]]]
) -> list[str]:
    """Give a note for each requirement that could not be judged.

    Raises ToolkitError for the first one that a selected GPU, or its driver, does not meet.
    """
    notes = []
    if sum(len(text) for _, text in requirements) > LIMIT:
        several = f"{requirements[0][0]} and others" if requirements[1:] else requirements[0][0]
        raise ToolkitError(f"{several}: longer than {LIMIT} letters", identifier="REQ-LENGTH")
    facts = [found for spec, devices in chosen for found in facts_of(spec, devices)]
    for variable, text in requirements:
        alternatives = parse(text, variable)
        verdicts = [_verdict(alternatives, found) for found in facts]
        for found, verdict in zip(facts, verdicts, strict=True):
            if verdict is False:
                raise _unmet(variable, text, found)
        if None in verdicts or not facts:
            notes.append(
                f"{variable}={text[:80]} could not be judged: the CDI spec tells nothing of "
                "driver and GPUs, as gpubind's own do [REQ-UNKNOWN]"
            )
    return notes


def facts_of(spec: CompiledSpec, devices: list[str]) -> list[Facts]:
    """Give the figures of each GPU behind the devices; of the driver alone where there is none."""
    driver = spec["driver"]
    if driver is None and spec["kind"].partition("/")[0] != "nvidia.com":
        return []
    known = {
        "driver": str((driver or {}).get("version") or ""),
        "cuda": str((driver or {}).get("cuda") or ""),
        "where": "",
    }
    gpus = naming.gpus_of(spec, devices)
    if not gpus:
        return [{**known, "none": "" if devices else "yes"}]
    return [
        {
            **known,
            "arch": str(gpu.get("architecture") or ""),
            "brand": str(gpu.get("brand") or ""),
            "where": f"GPU {gpu.get('index')} ({gpu.get('name') or 'unnamed'})",
        }
        for gpu in gpus
    ]


def of_cuda(version: str, variable: str) -> str:
    """Give what an image of the time before requirements needs: `cuda>=9.0` for `9.0.116`.

    Raises ToolkitError for what is no version.
    """
    numbers = _numbers(version.removeprefix("v"))
    if numbers is None or len(numbers) > 3:
        raise ToolkitError(
            f"{variable}: {version[:80]!r} is no version of CUDA",
            identifier="REQ-REQUIRE",
            hint=f"mend the image, or set {_SWITCH}",
        )
    return f"cuda>={numbers[0]}.{numbers[1] if numbers[1:] else 0}"


def parse(text: str, variable: str) -> list[list[Factor]]:
    """Give the alternatives, each a list of (property, operator, value). Raises ToolkitError."""
    if len(text) > LIMIT:
        raise ToolkitError(f"{variable}: longer than {LIMIT} letters", identifier="REQ-LENGTH")
    terms = [term for term in text.split(" ") if term]
    return [[_factor(factor, variable) for factor in term.split(",")] for term in terms]


def _factor(text: str, variable: str) -> Factor:
    place = next((at for at, letter in enumerate(text) if letter in "!<>="), len(text))
    sign = next((sign for sign in OPERATORS if text.startswith(sign, place)), "")
    name, value = text[:place], text[place + len(sign) :]
    fault = ""
    if not sign or not value:
        fault = "is no comparison such as cuda>=12.4"
    elif name not in PROPERTIES:
        fault = f"compares {name[:20]!r}; known are {', '.join(PROPERTIES)}"
    elif name == "brand" and sign not in ("=", "!="):
        fault = "orders brands, which are only equal or not"
    elif name in VERSIONS and _numbers(value) is None:
        fault = f"compares with {value[:20]!r}, which is no version"
    if fault:
        raise ToolkitError(
            f"{variable}: {text[:80]!r} {fault}",
            identifier="REQ-REQUIRE",
            hint=f"mend the image, or set {_SWITCH}",
        )
    return name, sign, value


def _verdict(alternatives: list[list[Factor]], facts: Facts) -> bool | None:
    """Give whether one of the alternatives holds; None where that hangs on an unknown figure."""
    verdict: bool | None = not alternatives
    for factors in alternatives:
        held = [_holds(factor, facts) for factor in factors]
        if all(held):
            return True
        if False not in held:
            verdict = None
    return verdict


def _holds(factor: Factor, facts: Facts) -> bool | None:
    name, sign, value = factor
    if facts.get("none") and name in ("arch", "brand"):
        return True  # no GPU was asked for, so none can be the wrong one
    known = facts.get(name, "")
    if name == "brand":
        return (_plain(known) == _plain(value)) is (sign == "=") if known else None
    left, right = _numbers(known), _numbers(value)
    if left is None or right is None:
        return None
    width = max(len(left), len(right))
    left += [0] * (width - len(left))
    right += [0] * (width - len(right))
    return {
        "=": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[sign]


def _numbers(text: str) -> list[int] | None:
    """Give a version's numbers; None for anything but ASCII digits and dots between them."""
    parts = text.split(".", 8)
    if len(parts) > 8 or any(not _is_number(part) for part in parts):
        return None
    return [int(part) for part in parts]


def _is_number(text: str) -> bool:
    plain = text.isascii() and text.isdigit() and len(text) <= _LONGEST_PART
    return plain and int(text) < 1 << 32


def _plain(text: str) -> str:
    return text.replace(" ", "").lower()


def _unmet(variable: str, text: str, facts: Facts) -> ToolkitError:
    figures = ", ".join(
        f"{label} {facts[name]}"
        for name, label in (
            *(("driver", "driver"), ("cuda", "CUDA"), ("arch", "architecture"), ("brand", "brand")),
        )
        if facts.get(name)
    )
    where = f" on {facts['where']}" if facts["where"] else ""
    needed = text if len(text) <= 160 else f"{text[:160]}…"
    return ToolkitError(
        f"{variable}: this image needs {printable(needed)}, which is not met{where}: {figures}",
        identifier="REQ-UNMET",
        hint=(
            "take a newer driver, an image for an older CUDA, or one with forward compatibility "
            f"packages (cuda-compat) that fit this driver; {_SWITCH} starts it anyway"
        ),
    )
