# SPDX-License-Identifier: Apache-2.0
"""What runs inside a container finds all its modules loaded: there it could load none."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

INSIDE = (
    *("plan", "loader", "root", "folder", "linux", "elf", "errors", "mounting", "oci/codec"),
    *("ldcache", "ldformat", "ldsoconf"),
)
PROGRAM = """
import json, sys
from gpubind import injection, linux, request
from gpubind.operation import compat
from gpubind.root import Root
from gpubind_hooks import delivery, process
Root("/").open("/etc")
decision = injection.Decision(request.Request())
decision.now = [compat.CudaCompat("1.2", "")]
delivery.ready(decision)
process.ready()
print(json.dumps(sorted(sys.modules)))
"""


def late() -> Iterator[str]:
    """Give the modules that functions import which run inside a container."""
    names = [f"src/gpubind/{name}.py" for name in INSIDE]
    names += checkout.python(checkout.ROOT, "src/gpubind/operation")
    names += ["hooks/gpubind_hooks/binding.py"]
    for name in names:
        for found in checkout.imports(checkout.ROOT, name):
            package = found.module in ("gpubind", "__future__")
            if not found.top and not package:
                yield found.module


def test_what_a_plan_imports_late_is_loaded_before_a_container_is_entered() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    wanted = set(late())
    assert {"gpubind.loader", "gpubind.mounting", "json", "_json"} <= wanted
    assert wanted - set(json.loads(done.stdout)) == set()
