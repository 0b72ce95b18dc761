# SPDX-License-Identifier: Apache-2.0
"""The container image of the tests: one archive in docker's format, which every engine imports."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from typing import TYPE_CHECKING

from system import debian

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "gpubind.test/minimal"
TAG = f"{NAME}:latest"
PAUSE = "gpubind.test/pause"
PATH = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin",)


def archive(
    root: str, name: str = NAME, command: str = "/bin/sh", env: Sequence[str] = PATH
) -> str:
    """Give the name of the archive made from a root: cached; one layer, and the image's `env`."""

    def build(folder: str) -> None:
        layer = os.path.join(folder, "layer.tar")
        subprocess.run(
            ["/usr/bin/tar", "-c", "--numeric-owner", "-C", root, "-f", layer, "."], check=True
        )
        with open(layer, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        _write(folder, "config.json", _config(digest, command, env))
        _write(
            folder,
            "manifest.json",
            [{"Config": "config.json", "RepoTags": [f"{name}:latest"], "Layers": ["layer.tar"]}],
        )
        files = ["manifest.json", "config.json", "layer.tar"]
        subprocess.run(
            ["/usr/bin/tar", "-c", "-C", folder, "-f", f"{folder}/image.tar", *files], check=True
        )
        os.unlink(layer)

    key = f"2 {root}" + (f" {env}" if env != PATH else "")
    own = "image" if name == NAME else f"image-of-{os.path.basename(name)}"
    return os.path.join(debian.cached(own, key, build), "image.tar")


def pause(root: str) -> str:
    """Give the archive of what a pod is held by: the same root, sleeping."""
    return archive(root, PAUSE, "/bin/sleep infinity")


def _config(digest: str, command: str, env: Sequence[str]) -> object:
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Env": list(env), "Cmd": command.split()},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "gpubind's tests"}],
    }


def _write(folder: str, name: str, document: object) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as stream:
        json.dump(document, stream)
