# SPDX-License-Identifier: Apache-2.0
"""Whether a resource that is shared by MPS may be served: its control daemon has to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError
from gpubind_plugin.mps import control, plan

if TYPE_CHECKING:
    from gpubind_plugin.config import Config


def ready(config: Config, resource: str, root: str = plan.ROOT) -> str:
    """Give why a resource can't be served yet, empty where it can."""
    if all(entry.offered != resource for entry in config.sharing.mps.resources):
        return ""
    from gpubind_plugin import looking

    try:
        tools = control.programs(looking.roots(config).driver)
        control.tell(tools, root, resource, [control.PROBE])
    except ToolkitError as error:
        return f"error checking MPS daemon health: {error.message}"
    return ""
