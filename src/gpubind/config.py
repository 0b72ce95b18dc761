# SPDX-License-Identifier: Apache-2.0
"""The operator's config.toml as the start path reads it: a JSON twin, and TOML where that is stale.

Keys are flat, written with dots as in the file's own sections. The twin is written by
`gpubind cdi compile`; parsing TOML here costs 13 ms, so it is the exception. DEFAULTS is the one
table of keys: their types are those of their defaults. docs/config.md describes each,
`configfile` reads and checks the TOML.
"""

from __future__ import annotations

import posix

from gpubind import paths
from gpubind.errors import DocumentError, ToolkitError
from gpubind.oci import codec
from gpubind.root import contents

ENVIRONMENT_ALLOWED = "accept-nvidia-visible-devices-envvar-when-unprivileged"
MOUNTS_ALLOWED = "accept-nvidia-visible-devices-as-volume-mounts"
DISABLE_REQUIRE = "disable-require"
SUPPORTED_CAPABILITIES = "supported-driver-capabilities"
SWARM = "swarm-resource"
DRIVER_ROOT = "nvidia-container-cli.root"
LDCONFIG = "nvidia-container-cli.ldconfig"
DEBUG = "nvidia-container-runtime.debug"
LOG_LEVEL = "nvidia-container-runtime.log-level"
MODE = "nvidia-container-runtime.mode"
RUNTIMES = "nvidia-container-runtime.runtimes"
PREFIXES = "nvidia-container-runtime.modes.cdi.annotation-prefixes"
DEFAULT_KIND = "nvidia-container-runtime.modes.cdi.default-kind"
SPEC_DIRS = "nvidia-container-runtime.modes.cdi.spec-dirs"
JIT_DISABLED_HOOKS = "nvidia-container-runtime.modes.jit-cdi.nvcdi-disable-hooks"
JIT_FEATURES = "nvidia-container-runtime.modes.jit-cdi.nvcdi-feature-flags"
CSV_COMPAT = "nvidia-container-runtime.modes.csv.compat-container-root"
CSV_LISTS = "nvidia-container-runtime.modes.csv.mount-spec-path"
HOOK_PATH = "nvidia-container-runtime-hook.path"
LDCONFIG_ALLOWED = "features.allow-ldconfig-from-container"
IGNORE_IMEX = "features.ignore-imex-channel-requests"
NO_COMPAT = "features.disable-cuda-compat-lib-hook"
COMPAT_MODE = "nvidia-container-runtime.modes.legacy.cuda-compat-mode"
DISABLED_HOOKS = "gpubind.disable-hooks"
ALWAYS_MASK = "gpubind.always-forbid-device-node-modification"
POLICY = "gpubind.policy."

DEFAULTS: dict[str, object] = {
    MOUNTS_ALLOWED: False,
    ENVIRONMENT_ALLOWED: True,
    DISABLE_REQUIRE: False,
    SUPPORTED_CAPABILITIES: "compat32,compute,display,graphics,ngx,utility,video",
    SWARM: "",
    "nvidia-container-cli.debug": "",
    "nvidia-container-cli.environment": [],
    "nvidia-container-cli.ldcache": "",
    LDCONFIG: "@/sbin/ldconfig",
    "nvidia-container-cli.load-kmods": True,
    "nvidia-container-cli.no-cgroups": False,
    "nvidia-container-cli.no-pivot": False,
    "nvidia-container-cli.path": "",
    DRIVER_ROOT: "",
    "nvidia-container-cli.user": "",
    DEBUG: "/dev/null",
    LOG_LEVEL: "info",
    MODE: "auto",
    RUNTIMES: ["runc", "crun"],
    PREFIXES: ["cdi.k8s.io/"],
    DEFAULT_KIND: "nvidia.com/gpu",
    SPEC_DIRS: ["/etc/cdi", "/var/run/cdi"],
    CSV_COMPAT: "",
    CSV_LISTS: ("/etc/nvidia-container-runtime/host-files-for-container.d"),
    JIT_DISABLED_HOOKS: [],
    JIT_FEATURES: [],
    COMPAT_MODE: "ldconfig",
    HOOK_PATH: "nvidia-container-runtime-hook",
    "nvidia-container-runtime-hook.skip-mode-detection": False,
    "nvidia-ctk.path": "nvidia-ctk",
    "features.allow-cuda-compat-libs-from-container": False,
    LDCONFIG_ALLOWED: False,
    "features.allow-unknown-oci-spec-fields": False,
    NO_COMPAT: False,
    "features.disable-imex-channel-creation": False,
    IGNORE_IMEX: False,
    "features.no-additional-gids-for-device-nodes": False,
    ALWAYS_MASK: False,
    DISABLED_HOOKS: [],
    POLICY + "annotations": "",
    POLICY + "environment": "",
    POLICY + "swarm-resource": "",
    POLICY + "volume-mounts": "",
}
"""Every key there is, and its value where the operator says nothing."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Config:
    """The settings of one installation; `file` is where they were or would be read from."""

    __slots__ = ("file", "values")

    def __init__(self, values: dict[str, object], file: str) -> None:
        self.values = values
        self.file = file

    def text(self, key: str) -> str:
        """Give a text. Raises DocumentError naming file and key where it is something else."""
        value = self.values.get(key, DEFAULTS[key])
        if not isinstance(value, str):
            raise _wrong("expected text", key, self.file)
        return value

    def texts(self, key: str) -> list[str]:
        """Give a list of texts. Raises DocumentError where it is something else."""
        value = self.values.get(key, DEFAULTS[key])
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise _wrong("expected a list of texts", key, self.file)
        return value

    def flag(self, key: str) -> bool:
        """Give a truth value. Raises DocumentError where it is something else."""
        value = self.values.get(key, DEFAULTS[key])
        if not isinstance(value, bool):
            raise _wrong("expected true or false", key, self.file)
        return value


def _wrong(message: str, key: str, file: str) -> DocumentError:
    return DocumentError(message, path=key, file=file, identifier="CONFIG-VALUE")


def load(
    etc: str = paths.ETC,
    state: str = paths.STATE,
    environ: Mapping[str, str] | None = None,
    peer: str = paths.PEER_CONFIG,
) -> Config:
    """Give the settings: defaults where there is no file, the twin where it fits, else the TOML.

    Raises ToolkitError for a file that can't be read, is no TOML, or gives a key a wrong value;
    the twin is of a file that was checked.
    """
    file = locate(etc, environ, peer)
    found = stamp(file)
    if found is None:
        return Config({}, file)
    twin = trusted(f"{state}/config.json")
    if twin is not None and twin.get("stamp") == found and twin.get("file") == file:
        values = twin.get("values")
        if isinstance(values, dict):
            return Config(values, file)
    from gpubind import configfile

    values = configfile.read(file)
    if file in (f"{etc}/config.toml", peer):
        configfile.remember(state, {"file": file, "stamp": found, "values": values})
    return Config(values, file)


def locate(
    etc: str = paths.ETC,
    environ: Mapping[str, str] | None = None,
    peer: str = paths.PEER_CONFIG,
) -> str:
    """Give the file the settings are read from: the first of `places` that is there, else ours.

    Raises ToolkitError where the environment names one that is not there, or makes root read one
    that others can write.
    """
    named = (environ or {}).get("NVIDIA_CTK_CONFIG_FILE_PATH", "")
    if named:
        if stamp(named) is None:
            raise ToolkitError(
                f"{named}: no such file, but NVIDIA_CTK_CONFIG_FILE_PATH names it",
                identifier="CONFIG-READ",
            )
        if posix.geteuid() == 0 and not _is_closed(named, posix.stat(named)):
            raise ToolkitError(
                f"{named}: others than root can write it, and NVIDIA_CTK_CONFIG_FILE_PATH names it",
                identifier="CONFIG-READ",
                hint="chown it to root and let nobody else write it: it names programs root runs",
            )
        return named
    known = places(etc, environ, peer)
    return next((file for file in known if stamp(file) is not None), f"{etc}/config.toml")


def places(
    etc: str = paths.ETC,
    environ: Mapping[str, str] | None = None,
    peer: str = paths.PEER_CONFIG,
) -> list[str]:
    """Give the files that may hold the settings, the one that counts most first.

    A user's own folder counts only for that user's calls, never for root's: the environment of a
    root process may come from somebody else.
    """
    known = [f"{etc}/config.toml", peer]
    home = (environ or {}).get("XDG_CONFIG_HOME", "")
    if home.startswith("/") and (posix.geteuid() != 0 or _is_rootless(home)):
        known[:0] = [f"{home}/gpubind/config.toml", f"{home}/nvidia-container-runtime/config.toml"]
    return [file for file in known if file]


def _is_rootless(home: str) -> bool:
    """Tell whether root is a user of the host under another number, and the folder is his."""
    from gpubind import userns

    return userns.inside() and _owner(home) == posix.geteuid()


def _owner(path: str) -> int:
    try:
        return posix.stat(path).st_uid
    except OSError:
        return -1


def stamp(path: str) -> list[int] | None:
    """Give what tells one state of a file or folder from another, None where there is nothing.

    Modification time and change time in nanoseconds, size, inode: see inode(7).
    """
    try:
        status = posix.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns]


def trusted(file: str) -> dict[str, Any] | None:
    """Give a document of our own making; None where it is absent, broken, or others may write it.

    Only root and the caller may own it, and nobody else may write it. In a user namespace the
    host's root counts too, see `userns.is_hosts`.
    """
    try:
        fd = posix.open(
            file, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOFOLLOW
        )
    except OSError:
        return None
    try:
        if not _is_closed(file, posix.fstat(fd)):
            return None
        value = codec.decode(contents(fd, file), file)
    except (OSError, DocumentError):
        return None
    finally:
        posix.close(fd)
    return value if isinstance(value, dict) else None


def _is_closed(file: str, status: posix.stat_result) -> bool:
    """Tell whether only root and the caller can write a file."""
    if status.st_mode & 0o022:
        return False
    if status.st_uid in (0, posix.geteuid()):
        return True
    from gpubind import userns

    return userns.is_hosts(file, status.st_uid)
