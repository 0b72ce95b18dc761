# SPDX-License-Identifier: Apache-2.0
"""The containers that `bench` starts: images, two installations, and what each start is to give."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import demo
import install
import rootfs

from gpubind import ldcache

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAMS = ("/bin/sh", "/bin/ls", "/bin/true", "/bin/bash", "/usr/bin/apt-get", "/bin/tar")
DEFAULT = ("NVIDIA_VISIBLE_DEVICES=0",)
SOME = "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
GPU = (*DEFAULT, SOME)
NULL = subprocess.DEVNULL
NAME = f"gpubind-bench-{os.getpid()}"
LIBRARIES = 3000
USER = 100000
"""The host's number of root in the image for a user namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A `create`: what is called, in which image, what is asked for, and how many GPUs that gives.

    `runtime` is runc, shim, or jit: the shim of an installation in mode jit-cdi. `etc` has a mount
    of the container's own hide the image's /etc; `hook` is a program of runc's own list of hooks.
    """

    runtime: str = "runc"
    image: str = "small"
    env: tuple[str, ...] = ()
    etc: bool = False
    hook: tuple[str, str] = ("", "")
    gpus: int = 0


PRESTART = ("prestart", "bin/gpubind-runtime-hook")
STARTS = {
    "plain": Start(),
    "shim": Start(runtime="shim"),
    "gpu": Start(runtime="shim", env=GPU, gpus=1),
    "default": Start(runtime="shim", env=DEFAULT, gpus=1),
    "eight": Start(runtime="shim", env=("NVIDIA_VISIBLE_DEVICES=all", SOME), gpus=8),
    "jit": Start(runtime="jit", env=GPU, gpus=1),
    "plain etc": Start(etc=True),
    "gpu etc": Start(runtime="shim", env=GPU, etc=True, gpus=1),
    "true etc": Start(etc=True, hook=("createContainer", "/bin/true")),
    "prestart": Start(env=DEFAULT, hook=PRESTART, gpus=1),
    "plain large": Start(image="large"),
    "gpu large": Start(runtime="shim", image="large", env=GPU, gpus=1),
    "plain user": Start(image="user"),
    "gpu user": Start(runtime="shim", image="user", env=GPU, gpus=1),
}


def call(*words: str, stdin: str = "") -> float:
    """Run a program and give the milliseconds it took. Raises DemoError if it fails."""
    data = stdin.encode() if stdin else None
    begun = time.perf_counter()
    done = subprocess.run(
        words,
        check=False,
        input=data,
        stdin=None if data else NULL,
        stdout=NULL,
        stderr=NULL,
    )
    taken = (time.perf_counter() - begun) * 1000
    if done.returncode:
        shown = subprocess.run(words, check=False, capture_output=True, text=True)
        raise demo.DemoError(f"{' '.join(words)}: status {done.returncode}: {shown.stderr}")
    return taken


def ended(pid: int) -> bool:
    """Tell whether a process is gone, or has only not been waited for."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Image:
    """A bundle in `folder` whose root can be put back to what it was; `owner` is its root user."""

    def __init__(self, folder: str, owner: int = 0) -> None:
        self.bundle = folder
        self.root = f"{folder}/rootfs"
        self.pristine = f"{folder}/etc-pristine"
        self.hiding = f"{folder}/etc-hiding"
        self.owner = owner

    def build(self, libraries: int = 0) -> None:
        """Lay it out, with this many more libraries in its cache: the loader looks no further."""
        rootfs.build(self.root, PROGRAMS)
        names = [b"libbench%d.so.%d" % (number, number % 9) for number in range(libraries)]
        entries = [
            ldcache.Entry(name, b"/opt/bench/" + name, ldcache.FLAGS["x86-64"]) for name in names
        ]
        if entries:
            with open(f"{self.root}/etc/ld.so.cache", "r+b") as file:
                larger = ldcache.merge(file.read(), entries)
                file.seek(0)
                file.write(larger)
        shutil.copytree(f"{self.root}/etc", self.pristine)
        self.own(self.root)

    def own(self, folder: str) -> None:
        """Give a folder and what is in it to the image's root user."""
        for place, folders, names in os.walk(folder) if self.owner else ():
            for path in (place, *(os.path.join(place, name) for name in (*folders, *names))):
                os.chown(path, self.owner, self.owner, follow_symlinks=False)

    def fresh(self) -> None:
        """Put it back to what it was: no links, no entries of ours in its cache."""
        for folder in (f"{self.root}/etc", self.hiding):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.pristine, folder)
            self.own(folder)
        for place, _, names in os.walk(f"{self.root}/usr"):
            for name in names:
                path = os.path.join(place, name)
                if os.path.islink(path):
                    os.unlink(path)

    def config(self, env: Sequence[str], *, etc: bool) -> dict[str, object]:
        """Give the bundle's spec."""
        spec = rootfs.config(["/bin/true"], env, f"/{NAME}")
        linux = spec["linux"]
        if self.owner and isinstance(linux, dict):
            mapped = [{"containerID": 0, "hostID": self.owner, "size": 65536}]
            linux |= {"uidMappings": mapped, "gidMappings": mapped}
            linux["namespaces"] = [*linux["namespaces"], {"type": "user"}]
        mount = {"destination": "/etc", "type": "bind", "source": self.hiding}
        own = [{**mount, "options": ["rbind", "rw"]}] if etc else []
        return {**spec, "mounts": [*rootfs.mounts(), *own], "hooks": {}}


class Host:
    """Two installations below `home`, one in mode cdi and one in jit-cdi, and the images."""

    def __init__(self, home: str, runc: str) -> None:
        self.home = home
        state = ("--root", f"{home}/runc")
        self.runtimes = {
            "runc": (runc, *state),
            "shim": (f"{home}/bin/gpubind-runtime", *state),
            "jit": (f"{home}/jit/bin/gpubind-runtime", *state),
        }
        self.images = {
            "small": Image(f"{home}/small"),
            "large": Image(f"{home}/large"),
            "user": Image(f"{home}/user", USER),
        }

    def prepare(self) -> None:
        """Install, simulate, generate, lay out the images, start the one for `state`."""
        os.chmod(self.home, 0o755)  # noqa: S103 - the user namespace's root goes through
        install.install(self.home)
        install.install(f"{self.home}/jit")
        demo.settings(self.home)
        self.settings_jit()
        words = ("--profile", demo.PROFILE, "--root", f"{self.home}/node")
        call(f"{self.home}/bin/gpubind", "simulate", *words)
        self.generate()
        for name, image in self.images.items():
            image.build(LIBRARIES if name == "large" else 0)
        small = self.images["small"]
        rootfs.write(small.bundle, small.config((), etc=False))
        call(*self.runtimes["runc"], "create", "--bundle", small.bundle, f"{NAME}-known")

    def settings_jit(self) -> None:
        """Write the second installation's config.toml: the driver as it is now."""
        os.makedirs(f"{self.home}/jit/etc/gpubind")
        with open(f"{self.home}/jit/etc/gpubind/config.toml", "w", encoding="utf-8") as file:
            file.write(
                f'[nvidia-container-cli]\nroot = "{self.home}/node"\n\n'
                '[nvidia-container-runtime]\nmode = "jit-cdi"\nruntimes = ["runc"]\n'
            )

    def generate(self) -> float:
        """Time `gpubind cdi generate` as a whole."""
        words = ("--driver-root", f"{self.home}/node", "--output", f"{self.home}/cdi/nvidia.yaml")
        return call(f"{self.home}/bin/gpubind", "cdi", "generate", *words)

    def state(self, runtime: str) -> float:
        """Time a call that is passed through."""
        return call(*self.runtimes[runtime], "state", f"{NAME}-known")

    def create(self, start: Start) -> float:
        """Time one `create` of a fresh bundle; the container stays."""
        image = self.images[start.image]
        image.fresh()
        spec = image.config(start.env, etc=start.etc)
        kind, hook = start.hook
        if kind:
            path = hook if hook.startswith("/") else f"{self.home}/{hook}"
            spec["hooks"] = {kind: [{"path": path, "args": [path, kind], "env": ["PATH=/bin"]}]}
        rootfs.write(image.bundle, spec)
        words = ("create", "--bundle", image.bundle, "--pid-file", f"{self.home}/pid", NAME)
        return call(*self.runtimes[start.runtime], *words)

    def pid(self) -> int:
        """Give the number of the container's process."""
        with open(f"{self.home}/pid", encoding="ascii") as file:
            return int(file.read())

    def delete(self) -> None:
        """Remove the container. Raises DemoError where that fails.

        Its process is ended first: `runc delete --force` would look again after 100 ms only.
        """
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        while not ended(pid):
            time.sleep(0.001)
        call(*self.runtimes["runc"], "delete", NAME)

    def timed(self, start: Start) -> float:
        """Time one `create` and remove the container."""
        taken = self.create(start)
        self.delete()
        return taken

    def prove(self, name: str) -> int:
        """Start something once and give the mounts it got by the spec.

        Raises DemoError where it does not give what it is to be measured for.
        """
        start = STARTS[name]
        self.create(start)
        nodes = os.listdir(f"/proc/{self.pid()}/root/dev")
        gpus = [node for node in nodes if node.removeprefix("nvidia").isdigit()]
        self.delete()
        with open(f"{self.images[start.image].bundle}/config.json", encoding="utf-8") as file:
            spec = json.load(file)
        if len(gpus) != start.gpus:
            raise demo.DemoError(f"the start {name!r} has {len(gpus)} GPUs, not {start.gpus}")
        if start.etc and bool(spec["hooks"]) != (start.runtime == "shim" or bool(start.hook[0])):
            raise demo.DemoError("a mount hides /etc, yet no hook was put in: nothing to compare")
        return len(spec["mounts"]) - len(rootfs.MOUNTS) - start.etc

    def end(self) -> None:
        """Remove every container and file."""
        for name in (NAME, f"{NAME}-known"):
            words = [*self.runtimes["runc"], "delete", "--force", name]
            subprocess.run(words, check=False, capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)
