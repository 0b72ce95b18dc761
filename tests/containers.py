# SPDX-License-Identifier: Apache-2.0
"""Containers' config.json documents for tests, and what is read from them."""

from __future__ import annotations

from typing import Any

from gpubind import request
from gpubind.config import Config

FILE = "/etc/gpubind/config.toml"
ADMIN = {"capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}}


def container(*env: str, privileged: bool = False, **fields: Any) -> Any:
    """Give a config.json with this environment; `fields` are further members."""
    return {"process": {"env": list(env), **(ADMIN if privileged else {})}, **fields}


def marker(name: str, folder: str = "/var/run/nvidia-container-devices") -> dict[str, Any]:
    """Give the mount that asks for a device by its destination."""
    return {"destination": f"{folder}/{name}", "source": "/dev/null", "type": "bind"}


def asked(document: Any, **settings: Any) -> request.Request:
    """Give the request in a document; a setting's name has `_` for `-` and `__` for `.`."""
    known = {key.replace("__", ".").replace("_", "-"): value for key, value in settings.items()}
    return request.of(document, Config(known, FILE))
