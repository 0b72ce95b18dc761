# SPDX-License-Identifier: Apache-2.0
"""A container's request read from all its sources. Pure; loaded where something may be asked for.

The grammar is the field's: names separated by commas; spaces, holes and duplicates mean nothing;
`all`, `none` and `void` in any case. A source that is denied is never parsed: it can't fail a
start.
"""

from __future__ import annotations

from gpubind import devicename, mode, policy
from gpubind.config import DISABLE_REQUIRE, IGNORE_IMEX, MODE, SUPPORTED_CAPABILITIES
from gpubind.errors import DocumentError, ToolkitError
from gpubind.request import (
    CAPABILITIES,
    CAPABILITIES_VARIABLE,
    DEVICES_VARIABLE,
    LEGACY_VARIABLE,
    Request,
    swarm,
    variables,
)

DEFAULT_CAPABILITIES = ("compute", "utility")
REQUIRE = "NVIDIA_REQUIRE_"
REQUIRE_CUDA = "NVIDIA_REQUIRE_CUDA"
NO_REQUIREMENT = "NVIDIA_REQUIRE_JETPACK"  # says which of a Tegra's lists of files are wanted
ALL_LISTS = "csv-mounts=all"
DISABLE_VARIABLE = "NVIDIA_DISABLE_REQUIRE"
IMEX_VARIABLE = "NVIDIA_IMEX_CHANNELS"
CHANNELS = 2048  # what the driver numbers at most

FEATURES = {
    "gds": "NVIDIA_GDS",
    "mofed": "NVIDIA_MOFED",
    "gdrcopy": "NVIDIA_GDRCOPY",
    "nvswitch": "NVIDIA_NVSWITCH",
}
"""What can be had besides GPUs, and the variable that is `enabled` for it."""

ADMINISTRATION = {
    "mig-config": "NVIDIA_MIG_CONFIG_DEVICES",
    "mig-monitor": "NVIDIA_MIG_MONITOR_DEVICES",
}
"""Likewise, but for privileged containers only, and any value counts."""

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False", "")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind.config import Config
    from gpubind.devicename import Texts
    from gpubind.oci.types import Spec


def of(document: Spec, env: list[str], settings: Config) -> Request:
    """Give the request. Raises ToolkitError naming the source and the element that is wrong."""
    known = variables(env)
    given = Request()
    devices = _sources(document, known, settings, given)
    given.devices = devices
    if not devices:
        return given
    given.explicit = given.source != "environment" or policy.privileged(document)
    _capabilities(known, settings, given)
    if devices != ("none",):
        _features(document, known, settings, given)
    _requirements(known, settings, given)
    given.all_lists = known.get(NO_REQUIREMENT, "").strip() == ALL_LISTS
    return given


def is_legacy(known: dict[str, str]) -> bool:
    """Tell whether an image is of the time before NVIDIA_REQUIRE_CUDA: it wants all GPUs."""
    return bool(known.get(LEGACY_VARIABLE)) and not known.get(REQUIRE_CUDA)


def _sources(
    document: Spec, known: dict[str, str], settings: Config, given: Request
) -> tuple[str, ...]:
    """Give the devices of the first source that asks and may; take notes about the others."""
    is_privileged = policy.privileged(document)
    taken: tuple[str, ...] = ()
    for source in policy.FIELD:
        texts = _texts(source, document, known, settings)
        if texts is None:
            continue
        asks = devicename.asks(texts)
        said = ", ".join(dict.fromkeys(f"{origin}={text:.60}" for origin, text in texts[:4]))
        if given.source:
            if asks:
                given.left.append(f"{said}: {given.source} count before {source}")
        elif source == "annotations" and settings.text(MODE) not in mode.ANNOTATED:
            given.left.append(f"{said}: mode {settings.text(MODE)} takes no annotations")
        elif why := policy.refusal(source, settings, is_privileged=is_privileged):
            if asks:
                given.notes.append(f"denied: {said} ({why}) [REQ-DENIED]")
        else:
            given.source, given.origin = source, texts[0][0]
            if source == "annotations":
                devicename.check_annotations(document, texts)
            taken = devicename.names(texts, qualified=source == "annotations")
    return taken


def _texts(source: str, document: Spec, known: dict[str, str], settings: Config) -> Texts | None:
    """Give what a source says, each text with the name of its place; None for nothing at all."""
    if source == "annotations":
        return devicename.annotated(document, settings) or None
    if source == "volume-mounts":
        return devicename.mounted(document)[0] or None
    names = [name for name in swarm(settings) if name in known]
    if source == "swarm-resource":
        return [(name, known[name]) for name in names] or None
    if DEVICES_VARIABLE in known:
        return [(DEVICES_VARIABLE, known[DEVICES_VARIABLE])]
    if is_legacy(known) and not names:
        return [(f"an image of CUDA {known[LEGACY_VARIABLE][:20]}, {DEVICES_VARIABLE}", "all")]
    return None


def _capabilities(known: dict[str, str], settings: Config, given: Request) -> None:
    """Take the driver capabilities, as far as the operator supports them."""
    supported = _supported(settings)
    text = known.get(CAPABILITIES_VARIABLE)
    names = [name.lower() for name in devicename.elements(text or "", CAPABILITIES_VARIABLE)]
    for name in names:
        if name not in CAPABILITIES and name != "all":
            raise ToolkitError(
                f"{CAPABILITIES_VARIABLE}: there is no driver capability {name[:80]!r}",
                identifier="REQ-CAPABILITY",
                hint=f"known are {', '.join(CAPABILITIES)} and all",
            )
    wanted = tuple(names) or DEFAULT_CAPABILITIES
    if "all" in names or (text is None and is_legacy(known)):
        wanted = supported
    given.capabilities = tuple(name for name in supported if name in wanted)
    lost = sorted({name for name in names if name != "all"} - set(supported))
    if lost:
        given.notes.append(
            f"{CAPABILITIES_VARIABLE}: left out {', '.join(lost)}: not among "
            f"{SUPPORTED_CAPABILITIES} in {settings.file} [REQ-LIMITED]"
        )


def _supported(settings: Config) -> tuple[str, ...]:
    text = settings.text(SUPPORTED_CAPABILITIES)
    names = devicename.elements(text.lower(), SUPPORTED_CAPABILITIES)
    unknown = [name for name in names if name not in CAPABILITIES and name != "all"]
    if unknown:
        raise DocumentError(
            f"there is no driver capability {unknown[0][:80]!r}; known are "
            f"{', '.join(CAPABILITIES)} and all",
            path=SUPPORTED_CAPABILITIES,
            file=settings.file,
            identifier="CONFIG-VALUE",
        )
    return tuple(name for name in CAPABILITIES if name in names or "all" in names)


def _features(document: Spec, known: dict[str, str], settings: Config, given: Request) -> None:
    """Take what is asked for besides GPUs."""
    is_privileged = policy.privileged(document)
    wanted = []
    for feature, variable in FEATURES.items():
        value = known.get(variable, "")
        if value == "enabled":
            wanted.append(feature)
        elif value not in ("", "disabled"):
            given.notes.append(
                f"{variable}={value[:40]!r} is neither 'enabled' nor 'disabled': left out "
                "[REQ-FEATURE]"
            )
    for feature, variable in ADMINISTRATION.items():
        if known.get(variable) and is_privileged:
            wanted.append(feature)
        elif known.get(variable):
            given.notes.append(
                f"denied: {variable}={known[variable][:40]} (the container is not privileged) "
                "[REQ-DENIED]"
            )
    given.features = tuple(wanted)
    if not settings.flag(IGNORE_IMEX):
        given.imex = _imex(document, known, settings, given, is_privileged=is_privileged)


def _imex(
    document: Spec,
    known: dict[str, str],
    settings: Config,
    given: Request,
    *,
    is_privileged: bool,
) -> tuple[str, ...]:
    """Give the IMEX channels of the first source that names some and may."""
    asking = {
        "volume-mounts": devicename.mounted(document)[1],
        "environment": [(IMEX_VARIABLE, known[IMEX_VARIABLE])] if IMEX_VARIABLE in known else [],
    }
    for source, texts in asking.items():
        if not devicename.asks(texts):
            continue
        why = policy.refusal(source, settings, is_privileged=is_privileged)
        everything = any(text.strip(" \t").lower() == "all" for _, text in texts)
        if not why and everything and not is_privileged:
            why = "all channels are for privileged containers"
        if not why:
            return _channels(texts)
        said = ", ".join(f"{origin}={text:.60}" for origin, text in texts[:4])
        given.notes.append(f"denied: {said} ({why}) [REQ-DENIED]")
    return ()


def _channels(texts: Texts) -> tuple[str, ...]:
    found: list[str] = []
    for origin, text in texts:
        for name in devicename.elements(text, origin):
            word = name.lower()
            number = devicename.number(name)
            if word != "all" and (number is None or number >= CHANNELS):
                raise ToolkitError(
                    f"{origin}: {name[:80]!r} is not an IMEX channel",
                    identifier="REQ-IMEX",
                    hint=f"use numbers from 0 to {CHANNELS - 1}, separated by commas, or all",
                )
            found.append(word)
    return ("all",) if "all" in found else tuple(dict.fromkeys(found))


def _requirements(known: dict[str, str], settings: Config, given: Request) -> None:
    """Take the requirements of an image, unless they are disabled."""
    switch = known.get(DISABLE_VARIABLE, "")
    if switch in _TRUE or settings.flag(DISABLE_REQUIRE):
        return
    found = [
        (name, known[name])
        for name in sorted(known)
        if name.startswith(REQUIRE) and not name.startswith(NO_REQUIREMENT) and known[name].strip()
    ]
    if is_legacy(known):
        from gpubind import requirement

        text = requirement.of_cuda(known[LEGACY_VARIABLE], LEGACY_VARIABLE)
        found.append((LEGACY_VARIABLE, text))
    given.requirements = tuple(found)
    if found and switch not in _FALSE:
        given.notes.append(
            f"{DISABLE_VARIABLE}={switch[:40]!r} is neither true nor false: requirements count "
            "[REQ-SWITCH]"
        )
