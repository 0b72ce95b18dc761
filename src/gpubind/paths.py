# SPDX-License-Identifier: Apache-2.0
"""Where things are on the host. An installation under a prefix writes its own copy of this file."""

ETC = "/etc/gpubind"
"""Folder of the operator's configuration."""

STATE = "/run/gpubind"
"""Folder of what is derived and may vanish at boot: compiled specs, sidecars, locks."""

LASTING = "/var/lib/gpubind"
"""Folder of what must outlive a boot: receipts of files we wrote, what there was before them."""

LIB = "/usr/lib/gpubind"
"""Folder of the start-path code."""

GENERATOR = "/usr/bin/gpubind"
"""The operator's program, run by a container start only when its compiled specs are stale."""

HOOK = "/usr/bin/gpubind-cdi-hook"
"""The program that hook entries name."""

RUNTIME_HOOK = "/usr/bin/gpubind-runtime-hook"
"""The OCI prestart hook, which mode legacy asks for."""

PEER_CONFIG = "/etc/nvidia-container-runtime/config.toml"
"""The configuration of the field's toolkit, read where ours is absent; empty under a prefix."""
