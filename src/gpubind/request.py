# SPDX-License-Identifier: Apache-2.0
"""What a container asks for, read from its environment. Pure.

The grammar is the field's: names separated by commas; spaces, holes and duplicates mean nothing;
`all`, `none` and `void` in any case.
"""

from __future__ import annotations

from gpubind.errors import ToolkitError

CAPABILITIES = ("compat32", "compute", "display", "graphics", "ngx", "utility", "video")
"""Every driver capability there is."""

DEFAULT_CAPABILITIES = ("compute", "utility")
DEVICES_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
CAPABILITIES_VARIABLE = "NVIDIA_DRIVER_CAPABILITIES"
LIMIT = 10_000
"""Elements a list may have."""

LONGEST = 256
"""Letters an element may have."""

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-:./=_")


class Request:
    """Devices by the names asked for, and driver capabilities.

    `devices` is () for nothing at all, ("none",) for the driver without a GPU, ("all",), or names
    in the order asked for, each once. `capabilities` is sorted.
    """

    __slots__ = ("capabilities", "devices")

    def __init__(self, devices: tuple[str, ...], capabilities: tuple[str, ...]) -> None:
        self.devices = devices
        self.capabilities = capabilities


def variables(env: list[str]) -> dict[str, str]:
    """Give the environment as a dict; of a name that comes twice the last counts, as in runc."""
    return dict(entry.split("=", 1) for entry in env if "=" in entry)


def of(env: list[str]) -> Request:
    """Give the request in `process.env`. Raises ToolkitError naming variable and element."""
    known = variables(env)
    wanted = _devices(known.get(DEVICES_VARIABLE, ""))
    if not wanted:
        return Request((), ())
    return Request(wanted, _capabilities(known.get(CAPABILITIES_VARIABLE, "")))


def _devices(text: str) -> tuple[str, ...]:
    names = _elements(text, DEVICES_VARIABLE)
    for name in names:
        _check(name)
    words = [name.lower() for name in names]
    if not names or "void" in words:
        return ()
    for word in words:
        if word in ("all", "none"):
            return (word,)
    return tuple(names)


def _capabilities(text: str) -> tuple[str, ...]:
    names = [name.lower() for name in _elements(text, CAPABILITIES_VARIABLE)]
    for name in names:
        if name not in CAPABILITIES and name != "all":
            raise ToolkitError(
                f"{CAPABILITIES_VARIABLE}: there is no driver capability {name[:80]!r}",
                identifier="REQ-CAPABILITY",
                hint=f"known are {', '.join(CAPABILITIES)} and all",
            )
    if "all" in names:
        return CAPABILITIES
    return tuple(sorted(set(names))) or DEFAULT_CAPABILITIES


def _elements(text: str, variable: str) -> list[str]:
    """Give the elements of a list, each once, in order."""
    parts = text.split(",", LIMIT + 1)
    if len(parts) > LIMIT:
        raise ToolkitError(f"{variable}: more than {LIMIT} elements", identifier="REQ-LENGTH")
    return list(dict.fromkeys(part for part in map(_trim, parts) if part))


def _check(name: str) -> None:
    """Refuse what no device's name is made of."""
    plain = _PLAIN.issuperset(name) and name[0].isalnum() and ".." not in name
    if not plain or len(name) > LONGEST:
        raise ToolkitError(
            f"{DEVICES_VARIABLE}: {name[:80]!r} is not a device's name",
            identifier="REQ-DEVICE",
            hint="use indices, UUIDs or CDI names, separated by commas",
        )


def _trim(part: str) -> str:
    return part.strip(" \t")
