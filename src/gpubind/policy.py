# SPDX-License-Identifier: Apache-2.0
"""Who may ask: each source of requests is allowed, denied, or for privileged containers only. Pure.

The operator's own table `[gpubind.policy]` decides; where it says nothing, the field's two keys do.
"""

from __future__ import annotations

from gpubind.config import ENVIRONMENT_ALLOWED, MOUNTS_ALLOWED, POLICY

FIELD = {
    "annotations": ("", "allow", "allow"),
    "volume-mounts": (MOUNTS_ALLOWED, "allow", "deny"),
    "swarm-resource": (ENVIRONMENT_ALLOWED, "allow", "privileged"),
    "environment": (ENVIRONMENT_ALLOWED, "allow", "privileged"),
}
"""Sources in the order they count: the field's key, the rule where that is true, where false."""

ADMIN = "CAP_SYS_ADMIN"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind.config import Config
    from gpubind.oci.types import Spec


def privileged(document: Spec) -> bool:
    """Tell whether a container is privileged: it may have CAP_SYS_ADMIN.

    `process.capabilities` is a flat list in the OCI specification before 1.0.0-rc5.
    """
    process = document.get("process")
    held = process.get("capabilities") if isinstance(process, dict) else None
    if isinstance(held, dict):
        held = held.get("bounding")
    return isinstance(held, list) and ADMIN in held


def refusal(source: str, settings: Config, *, is_privileged: bool) -> str:
    """Give why a source does not count for this container, empty where it does."""
    own = f"{POLICY}{source}"
    rule = settings.text(own)
    because = f"{own} = {rule!r}"
    if not rule:
        key, when_true, when_false = FIELD[source]
        accepted = settings.flag(key) if key else True
        rule = when_true if accepted else when_false
        because = f"{key} = {'true' if accepted else 'false'}"
    if rule == "allow" or (rule == "privileged" and is_privileged):
        return ""
    where = f"{because} in {settings.file}"
    return where if rule == "deny" else f"{where}, and the container is not privileged"
