# SPDX-License-Identifier: Apache-2.0
"""GPU nodes for the engines: a driver root, gpubind installed for it alone, and its CDI spec.

Names: `simulated` is a DGX H100 laid out by gpubind itself, `orin` and `wsl2` are a Jetson and a
WSL2 machine likewise, `debian-535` and `debian-550` are real
drivers from Debian's packages with two GPUs and a scripted NVML.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

from system import drivers

NAMES = ("simulated", "debian-535", "debian-550")
PROFILES = {"simulated": "dgx-h100", "orin": "orin", "wsl2": "wsl2"}
LIBRARIES = {
    "simulated": "/usr/lib/x86_64-linux-gnu",
    "orin": "/usr/lib/aarch64-linux-gnu/nvidia",
    "wsl2": "/usr/lib/wsl/drivers/nv_dispi.inf_amd64_0c5ed7b0e5a4a1b2",
}
CHECKOUT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
CONFIG = """\
[nvidia-container-runtime]
runtimes = ["/usr/sbin/runc"]
[nvidia-container-runtime.modes.cdi]
spec-dirs = ["{specs}"]
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A host with GPUs; `libcuda` is the driver's libcuda.so.1 as containers see it."""

    name: str
    root: str
    prefix: str
    spec: str
    libcuda: str

    @property
    def runtime(self) -> str:
        """The runtime shim's program."""
        return f"{self.prefix}/bin/gpubind-runtime"

    def gpubind(self, *words: str) -> str:
        """Run a gpubind command; gives its output."""
        return _command(f"{self.prefix}/bin/gpubind", *words)


def runtime(scratch: str, name: str) -> str:
    """Give where the runtime shim of a node is, or will be when the node is made."""
    return f"{scratch}/{name}/bin/gpubind-runtime"


def make(name: str, scratch: str) -> Node:
    """Make a node: install gpubind, lay out or build the driver root, generate the spec."""
    prefix = os.path.join(scratch, name)
    _command(sys.executable, f"{CHECKOUT}/packaging/install.py", "--prefix", prefix)
    specs = os.path.join(prefix, "cdi")
    os.makedirs(os.path.join(prefix, "etc/gpubind"))
    with open(f"{prefix}/etc/gpubind/config.toml", "w", encoding="utf-8") as stream:
        stream.write(CONFIG.format(specs=specs))
    root, dev_root, libraries = _driver(name, prefix)
    node = Node(
        name=name,
        root=root,
        prefix=prefix,
        spec=os.path.join(specs, "nvidia.yaml"),
        libcuda=f"{libraries}/libcuda.so.1",
    )
    os.mkdir(specs)
    roots = (f"--driver-root={root}", f"--dev-root={dev_root}")
    node.gpubind("cdi", "generate", *roots, f"--output={node.spec}")
    return node


def _driver(name: str, prefix: str) -> tuple[str, str, str]:
    """Give a node's driver root, the root of its device nodes, and the folder of its libraries."""
    if name in PROFILES:
        root = os.path.join(prefix, "node")
        profile = f"--profile={PROFILES[name]}"
        _command(f"{prefix}/bin/gpubind", "simulate", profile, f"--root={root}")
        return root, root, LIBRARIES[name]
    driver = drivers.debian_driver(name.removeprefix("debian-"))
    dev_root = os.path.join(prefix, "host")
    drivers.device_nodes(dev_root)
    return driver.root, dev_root, driver.libraries


def _command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}\nended with {done.returncode}: {done.stderr}")
    return done.stdout
