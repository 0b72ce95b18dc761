# SPDX-License-Identifier: Apache-2.0
"""What of a configuration can't be done, in the field's words, and what its variables say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind.errors import UsageError
from gpubind_plugin import config as words
from gpubind_plugin.config import Health

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpubind_plugin.config import Config

DISABLE, ENABLE = "DP_DISABLE_HEALTHCHECKS", "DP_ENABLE_HEALTHCHECKS"
LISTS = (words.ENVVAR, words.VOLUME_MOUNTS, *words.CDI_STRATEGIES)
CHOICES = (
    ("device_list_strategy", "invalid --device-list-strategy option: ", LISTS),
    ("device_id_strategy", "invalid --device-id-strategy option: ", ("uuid", "index")),
    (
        "shared_devices_allocation_policy",
        "invalid --shared-devices-allocation-policy option: ",
        ("distributed", "packed", "spread"),
    ),
    (
        "device_discovery_strategy",
        "invalid --device-discovery-strategy option ",
        ("auto", "nvml", "tegra", "wsl"),
    ),
    ("mig_strategy", "unknown MIG strategy: ", ("none", "single", "mixed")),
)
ABSOLUTE = ("driver_root", "dev_root", "container_driver_root", "hook_path", "mps_root")
CHANNELS = ((), (0,))
KEY_LENGTH = 253  # of a DNS name, which an annotation's prefix is
SPARE = 6  # characters that are left of the 63 behind the slash


def check(config: Config, said: Mapping[str, str]) -> None:
    """Raise UsageError K8S-OPTION for what can't be; `said` is where each option comes from."""
    for attribute, message, known in CHOICES:
        value = getattr(config, attribute)
        chosen = value if isinstance(value, tuple) else (value,)
        for word in chosen:
            if word not in known:
                raise _wrong(attribute, message + word, said, f"use {', '.join(known)}")
    if not config.device_list_strategy:
        raise _wrong("device_list_strategy", f"{CHOICES[0][1]}none is given", said, "")
    if config.imex.channel_ids not in CHANNELS:
        found = " ".join(map(str, config.imex.channel_ids))
        hint = "the plugin gives channel 0 or none"
        raise _wrong("imex_channel_ids", f"invalid IMEX channel IDs: [{found}]", said, hint)
    for attribute in ABSOLUTE:
        path = getattr(config, attribute)
        if path and not path.startswith("/"):
            raise _wrong(attribute, f"{path} is no absolute path", said, "")
    _check_prefix(config, said)
    _check_mps(config, said)


def _check_prefix(config: Config, said: Mapping[str, str]) -> None:
    """Refuse a prefix that no annotation has: one slash, and before it a DNS name."""
    name, slash, rest = config.cdi_annotation_prefix.partition("/")
    plain = name.replace(".", "").replace("-", "")
    good = plain.isascii() and plain.isalnum() and name == name.lower() and len(name) <= KEY_LENGTH
    if not good or not slash or "/" in rest or len(rest) > SPARE:
        message = f"{config.cdi_annotation_prefix!r} can't begin an annotation's key"
        raise _wrong("cdi_annotation_prefix", message, said, "use one like cdi.k8s.io/")


def _check_mps(config: Config, said: Mapping[str, str]) -> None:
    if config.sharing.strategy != words.MPS:
        return
    if config.mig_strategy == "mixed":
        message = "using --mig-strategy=mixed is not supported with MPS"
        raise _wrong("mig_strategy", message, said, "")
    if not config.mps_root:
        raise _wrong("mps_root", "using MPS requires --mps-root to be specified", said, "")


def _wrong(attribute: str, message: str, said: Mapping[str, str], hint: str) -> UsageError:
    source = f"{said[attribute]}: " if attribute in said else ""
    return UsageError(f"{source}{message}", identifier="K8S-OPTION", hint=hint)


def health(environ: Mapping[str, str], policy_file: str) -> tuple[Health, tuple[str, ...]]:
    """Give what the two variables say of Xids, and what in them says nothing."""
    warnings: list[str] = []
    disabled = list(_words(environ.get(DISABLE, "")))
    enabled = list(_words(environ.get(ENABLE, "")))
    found = Health(
        disable_all="all" in disabled or "xids" in disabled,
        disabled=frozenset(_xids(DISABLE, disabled, ("all", "xids"), warnings)),
        enable_all="all" in enabled,
        enabled=frozenset(_xids(ENABLE, enabled, ("all",), warnings)),
        policy_file=policy_file,
    )
    return found, tuple(warnings)


def _words(text: str) -> Iterator[str]:
    return (word for part in text.lower().split(",") if (word := part.strip()))


def _xids(
    name: str, parts: list[str], known: tuple[str, ...], warnings: list[str]
) -> Iterator[int]:
    for part in parts:
        if part.isascii() and part.isdigit() and len(part) < 10:
            yield int(part)
        elif part not in known:
            warnings.append(f"Ignoring malformed Xid value in {name}: {part}")
