# SPDX-License-Identifier: Apache-2.0
"""One MPS control daemon: its folders, its GPUs' compute mode, how it is started and stopped.

What runs are the driver's own programs, nvidia-cuda-mps-control and nvidia-smi, by absolute path:
those of the driver root, or else those that NVIDIA's runtime has put into this container. They
find the driver's libraries in this container, where the runtime has put them too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_plugin.mps.plan import Daemon

CONTROL, SMI = "nvidia-cuda-mps-control", "nvidia-smi"
FOLDERS = ("/usr/bin", "/usr/local/bin", "/usr/local/nvidia/bin", "/opt/bin", "/bin")
PATIENCE_S = 30.0
SHORT_S = 5.0
PROBE = "get_default_active_thread_percentage"
CONTEXT = b"system_u:object_r:container_file_t:s0\0"
SELINUX = "/sys/fs/selinux"
EXCLUSIVE, DEFAULT = "EXCLUSIVE_PROCESS", "DEFAULT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The driver's programs by absolute path."""

    control: str
    smi: str


def programs(driver_root: str) -> Programs:
    """Find the programs in the driver root or else in this container.

    Raises ToolkitError K8S-MPS where one is in neither.
    """
    return Programs(control=_program(CONTROL, driver_root), smi=_program(SMI, driver_root))


def _program(name: str, driver_root: str) -> str:
    for root in (driver_root.rstrip("/"), ""):
        for place in FOLDERS:
            path = f"{root}{place}/{name}"
            if os.access(path, os.X_OK):
                return path
    raise ToolkitError(
        f"{name} is neither in {driver_root} nor in this container",
        identifier="K8S-MPS",
        hint="run with a runtime class that gives the capabilities compute and utility",
    )


def folder(root: str, resource: str, name: str = "") -> str:
    """Give a folder of a resource's daemon, `pipe` or `log`, below the root."""
    return "/".join(part for part in (root, resource, name) if part)


def tell(tools: Programs, root: str, resource: str, commands: Sequence[str]) -> str:
    """Tell a daemon commands, and give its answer. Raises ToolkitError K8S-MPS where none comes."""
    text = "".join(f"{command}\n" for command in commands)
    return _run([tools.control], _environment(root, resource), text=text, limit_s=SHORT_S)


def start(tools: Programs, root: str, daemon: Daemon) -> None:
    """Start a resource's daemon; where that fails nothing is left of it.

    Raises ToolkitError K8S-MPS, or OSError for the folders.
    """
    try:
        for uuid in daemon.uuids:
            _set_mode(tools, uuid, EXCLUSIVE)
        os.makedirs(folder(root, daemon.resource, "log"), 0o755, exist_ok=True)
        pipe = folder(root, daemon.resource, "pipe")
        os.makedirs(pipe, 0o755, exist_ok=True)
        if os.path.isdir(SELINUX):
            os.setxattr(pipe, "security.selinux", CONTEXT)
        _run([tools.control, "-d"], _environment(root, daemon.resource))
        tell(tools, root, daemon.resource, daemon.commands())
        with open(folder(root, daemon.resource, ".started"), "wb"):
            pass
    except BaseException:
        stop(tools, root, daemon)
        raise


def stop(tools: Programs, root: str, daemon: Daemon) -> list[str]:
    """Stop a resource's daemon and give its GPUs back; give what did not work, a line each."""
    failures = []
    with contextlib.suppress(FileNotFoundError):
        os.unlink(folder(root, daemon.resource, ".started"))
    try:
        tell(tools, root, daemon.resource, ["quit"])
    except ToolkitError as error:
        failures.append(str(error))
    for uuid in daemon.uuids:
        try:
            _set_mode(tools, uuid, DEFAULT)
        except ToolkitError as error:
            failures.append(str(error))
    shutil.rmtree(folder(root, daemon.resource, "log"), ignore_errors=True)
    return failures


def _set_mode(tools: Programs, uuid: str, mode: str) -> None:
    _run([tools.smi, "-i", uuid, "-c", mode], {})


def _environment(root: str, resource: str) -> dict[str, str]:
    return {
        "CUDA_MPS_PIPE_DIRECTORY": folder(root, resource, "pipe"),
        "CUDA_MPS_LOG_DIRECTORY": folder(root, resource, "log"),
    }


def _run(
    words: list[str], env: dict[str, str], *, text: str = "", limit_s: float = PATIENCE_S
) -> str:
    """Run a program of the driver to its end, and give what it said."""
    named = " ".join((os.path.basename(words[0]), *words[1:], *text.split("\n")[:1])).strip()
    try:
        done = subprocess.run(
            words,
            env=env,
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _failed(f"{named} gave no answer within {limit_s:g} s") from None
    except OSError as error:
        raise _failed(f"{words[0]}: {error.strerror}") from error
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode:
        raise _failed(f"{named} ended with status {done.returncode}: {said or 'no word'}")
    return said


def _failed(message: str) -> ToolkitError:
    return ToolkitError(message, identifier="K8S-MPS", hint="see control.log in the log folder")
