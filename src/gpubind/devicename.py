# SPDX-License-Identifier: Apache-2.0
"""Names of devices: where a container writes them down, and which texts can be one. Pure.

`Texts` are what a source says, each with the name of its place for messages: ("NVIDIA_…", "0,1").
"""

from __future__ import annotations

from gpubind.config import PREFIXES
from gpubind.errors import ToolkitError
from gpubind.request import MARKER

LIMIT = 10_000
"""Elements a list may have."""

LONGEST = 256
"""Letters an element may have."""

FOLDERS = (f"/var/run{MARKER}", f"/run{MARKER}")
"""Where a mount of /dev/null asks for the device it is named after."""

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-:./=_")
_ANNOTATIONS = 256 << 10  # bytes, as Kubernetes limits all of them together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind.config import Config
    from gpubind.oci.types import Spec

    Texts = list[tuple[str, str]]


def annotated(document: Spec, settings: Config) -> Texts:
    """Give the annotations with one of the configured prefixes, by key.

    A prefix that is a whole domain ends where the domain does: `cdi.k8s.io` is none of
    `cdi.k8s.io.evil/x`. Nothing is checked, see `check_annotations`.
    """
    held = document.get("annotations")
    if not isinstance(held, dict):
        return []
    prefixes = [
        prefix if "/" in prefix else f"{prefix}/" for prefix in settings.texts(PREFIXES) if prefix
    ]
    keys = sorted(key for key in held if key.startswith(tuple(prefixes)))
    return [(f"annotation {key}", str(held[key])) for key in keys]


def check_annotations(document: Spec, texts: Texts) -> None:
    """Refuse annotations that are no text, name nothing, or are too long. Raises ToolkitError."""
    held: dict[str, object] = {**(document.get("annotations") or {})}
    for origin, text in texts:
        fault = ""
        if not isinstance(held[origin.removeprefix("annotation ")], str):
            fault = "is no text"
        elif len(text) > _ANNOTATIONS:
            fault = "is longer than 256 KiB"
        elif not text.strip(" \t,"):
            fault = "names no device"
        if fault:
            raise ToolkitError(f"{origin[:120]} {fault}", identifier="REQ-ANNOTATION")


def mounted(document: Spec) -> tuple[Texts, Texts]:
    """Give the devices and the IMEX channels that mounts of /dev/null ask for."""
    devices: dict[str, str] = {}
    channels: dict[str, str] = {}
    held = document.get("mounts")
    for mount in held if isinstance(held, list) else ():
        entry = _fields(mount)
        place, source = entry.get("destination"), entry.get("source")
        if not isinstance(place, str) or MARKER not in place:
            continue
        if not isinstance(source, str) or clean(source) != "/dev/null":
            continue
        inner = clean(place)
        for folder in FOLDERS:
            if inner.startswith(f"{folder}/"):
                kind, _, rest = inner.removeprefix(f"{folder}/").partition("/")
                if kind == "imex" and rest:
                    channels[inner] = rest
                else:
                    devices[inner] = _mounted(kind, rest)
    return (
        [(f"mount {place}", name) for place, name in devices.items()],
        [(f"mount {place}", name) for place, name in channels.items()],
    )


def _mounted(kind: str, rest: str) -> str:
    """Give the name in a mount's path: `cdi/vendor/class/name` is a CDI name without its `=`."""
    if kind != "cdi" or not rest:
        return f"{kind}/{rest}" if rest else kind
    head, _, name = rest.rpartition("/")
    if "=" in name:
        return rest
    return f"{head}={name}" if "/" in head else f"{kind}/{rest}"


def clean(path: str) -> str:
    """Give a path without empty, `.` and `..` components, by its text alone."""
    steps: list[str] = []
    for step in path.split("/"):
        if step == "..":
            del steps[-1:]
        elif step not in ("", "."):
            steps.append(step)
    return "/" + "/".join(steps) if path.startswith("/") else "/".join(steps)


def asks(texts: Texts) -> bool:
    """Tell whether texts ask for anything, whatever it is; parsed no further than that takes."""
    words = [part.strip(" \t").lower() for _, text in texts for part in text.split(",")]
    return any(word not in ("", *FOLDERS) for word in words) and "void" not in words


def names(texts: Texts, *, qualified: bool) -> tuple[str, ...]:
    """Give the devices: (), ("none",), ("all",), or names, each once. Raises ToolkitError."""
    found: list[str] = []
    for origin, text in texts:
        whole = origin.startswith("mount ")  # one mount is one name, whatever is in it
        for name in [text] if whole else elements(text, origin):
            if name in FOLDERS:
                continue  # says that the mounts there count, which is another source
            _check(name, origin, qualified=qualified)
            found.append(name)
    if len(found) > LIMIT:
        raise ToolkitError(f"{texts[0][0]}: more than {LIMIT} elements", identifier="REQ-LENGTH")
    words = [name.lower() for name in found]
    if not found or "void" in words:
        return ()
    for word in words:
        if word in ("all", "none"):
            return (word,)
    return tuple(dict.fromkeys(found))


def elements(text: str, origin: str) -> list[str]:
    """Give the elements of a list, each once, in order. Raises ToolkitError for too many."""
    parts = text.split(",", LIMIT + 1)
    if len(parts) > LIMIT:
        raise ToolkitError(f"{origin}: more than {LIMIT} elements", identifier="REQ-LENGTH")
    return list(dict.fromkeys(name for part in parts if (name := part.strip(" \t"))))


def number(text: str) -> int | None:
    """Give a number as people write one: digits of ASCII, no sign, no zero in front."""
    if not text.isascii() or not text.isdigit() or len(text) > 9 or (text[0] == "0" and text[1:]):
        return None
    return int(text)


def _check(name: str, origin: str, *, qualified: bool) -> None:
    """Refuse what no device's name is made of."""
    plain = _PLAIN.issuperset(name) and name[:1].isalnum() and ".." not in name
    if plain and len(name) <= LONGEST:
        if "=" in name or qualified:
            plain = is_qualified(name)
        elif "/" in name:
            plain = name.upper().startswith("MIG-GPU-")  # MIG-GPU-<UUID>/<instance>/<instance>
        else:
            plain = name[-1].isalnum()
    if not plain or len(name) > LONGEST:
        known = "CDI names such as nvidia.com/gpu=0"
        raise ToolkitError(
            f"{origin}: {name[:80]!r} is not a device's name",
            identifier="REQ-DEVICE",
            hint=f"use {known if qualified else f'indices, UUIDs or {known}'}, separated by commas",
        )


def is_qualified(name: str) -> bool:
    """Tell whether a name is a fully qualified CDI name: vendor/class=device (CDI's SPEC.md)."""
    kind, _, device = name.partition("=")
    vendor, _, group = kind.partition("/")
    return _is_word(vendor, "_-.") and _is_word(group, "_-.") and _is_device(device)


def _is_word(text: str, joints: str) -> bool:
    plain = text.isascii() and all(letter.isalnum() or letter in joints for letter in text)
    return plain and text[:1].isalpha() and text[-1:].isalnum()


def _is_device(text: str) -> bool:
    plain = text.isascii() and all(letter.isalnum() or letter in "_-.:" for letter in text)
    return plain and text[:1].isalnum() and text[-1:].isalnum()


def _fields(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
