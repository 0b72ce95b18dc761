# SPDX-License-Identifier: Apache-2.0
"""The configuration as `--print-config` shows it: the field's file, all options filled in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gpubind_plugin import resources
from gpubind_plugin.config import Config, Named, Selector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpubind_plugin.config import Resources, Shared, Shares

UNITS = ((1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki"), (1, ""))


def text(config: Config, keys: Mapping[str, str]) -> str:
    """Give the configuration as indented JSON; `keys` are its attributes' keys in the file.

    It can be read as a configuration file, and says the same then.
    """
    shown: dict[str, Any] = {"version": "v1"}
    for attribute, key in keys.items():
        _put(shown, key, _value(config, attribute))
    shown["resources"] = _resources(config)
    shares = (("timeSlicing", config.sharing.time_slicing), ("mps", config.sharing.mps))
    shown["sharing"] = {name: _shares(way) for name, way in shares if way.resources}
    return json.dumps(shown, indent=2)


def _put(shown: dict[str, Any], key: str, value: Any) -> None:
    *holders, last = key.split(".")
    for holder in holders:
        shown = shown.setdefault(holder, {})
    shown[last] = value


def _value(config: Config, attribute: str) -> Any:
    inner = {
        "imex_channel_ids": config.imex.channel_ids,
        "imex_required": config.imex.required,
        "health_policy_file": config.health.policy_file,
    }
    value = inner[attribute] if attribute in inner else getattr(config, attribute)
    return list(value) if isinstance(value, tuple) else value


def _resources(config: Config) -> dict[str, Any]:
    said: Resources = config.resources
    gpus = said.gpus or (Named(name=resources.GPU),)
    mig = said.mig or ((Named(name=resources.GPU),) if config.mig_strategy == "single" else ())
    shown = {"gpus": _named(gpus), "mig": _named(mig)}
    shown |= {"include": [_selector(one) for one in said.include]}
    shown |= {"exclude": [_selector(one) for one in said.exclude]}
    return {name: table for name, table in shown.items() if table}


def _named(table: Iterable[Named]) -> list[dict[str, str]]:
    return [{**_selector(one.selector), "name": one.name} for one in table]


def _selector(selector: Selector) -> dict[str, str]:
    memory = ",".join(sign + _size(size) for sign, size in selector.memory)
    said = {"pci": selector.pci, "uuid": selector.uuid, "memory": memory}
    rest = {name: word for name, word in said.items() if word not in ("*", "")}
    return rest if rest and selector.pattern == "*" else {"pattern": selector.pattern, **rest}


def _size(size: int) -> str:
    unit, name = next(one for one in UNITS if size % one[0] == 0 and (size or one[0] == 1))
    return f"{size // unit}{name}"


def _shares(way: Shares) -> dict[str, Any]:
    return {
        "renameByDefault": way.rename_by_default,
        "failRequestsGreaterThanOne": way.fail_requests_greater_than_one,
        "resources": [_shared(one) for one in way.resources],
    }


def _shared(one: Shared) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": one.name}
    if one.rename:
        shown["rename"] = one.rename
    return {**shown, "devices": list(one.devices) or one.count or "all", "replicas": one.replicas}
