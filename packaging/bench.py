# SPDX-License-Identifier: Apache-2.0
"""Measure what gpubind adds to a container's start: `./dev bench [--rounds N]`.

Everything is measured once per round, in one run, so that a busy moment meets all alike; a figure
is the median. What something adds is its median less that of plain runc, in multiples of a bare
`/usr/bin/python3 -IS -c pass`. All files are in memory, so that no disk is measured. Needs root and
runc. Exit status 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import demo
import install
import rootfs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BARE = ("/usr/bin/python3", "-IS", "-c", "pass")
PROGRAMS = ("/bin/sh", "/bin/ls", "/bin/true", "/bin/bash", "/usr/bin/apt-get", "/bin/tar")
GPU = ("NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video")
LINKS = ("create-symlinks", "--link", "libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so")
FOLDER = "/usr/lib/x86_64-linux-gnu"
LIBRARIES = (
    "libcuda.so.1",
    "libnvidia-ml.so.1",
    "libnvidia-ptxjitcompiler.so.1",
    "libnvcuvid.so.1",
)
NULL = subprocess.DEVNULL
NAME = f"gpubind-bench-{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: what is measured, less what, and the most it may be (0: no limit)."""

    what: str
    measured: str
    less: str = ""
    limit: float = 0.0


ROWS = (
    Row(what="a call passed through", measured="state", less="plain state", limit=1.4),
    Row(what="create, nothing requested", measured="create", less="plain create", limit=1.6),
    Row(what="create, one GPU, no hook", measured="gpu", less="plain create", limit=2.5),
    Row(what="create, one GPU, hook", measured="gpu hook", less="plain create /etc", limit=3.5),
    Row(what="(runc, a hook of /bin/true)", measured="true hook", less="plain create /etc"),
    Row(what="the CDI hook alone", measured="hook", limit=2.2),
    Row(what="cdi generate, 8 GPUs", measured="generate", limit=25.0),
)


class Bench:
    """A private installation with a bundle, and a way to run each thing that is measured once."""

    def __init__(self, home: str, runc: str) -> None:
        self.home = home
        self.runc = (runc, "--root", f"{home}/runc")
        self.shim = (f"{home}/bin/gpubind-runtime", *self.runc[1:])
        self.bundle = f"{home}/bundle"
        self.root = f"{self.bundle}/rootfs"

    def prepare(self) -> None:
        """Install, simulate, generate, and start the one container that `state` asks about."""
        install.install(self.home)
        demo.settings(self.home)
        self.call(f"{self.home}/bin/gpubind", "simulate", "--profile", demo.PROFILE, *self.node())
        self.generate()
        rootfs.build(self.root, PROGRAMS)
        shutil.copytree(f"{self.root}/etc", f"{self.home}/etc-pristine")
        rootfs.write(self.bundle, self.config(()))
        self.call(*self.runc, "create", "--bundle", self.bundle, f"{NAME}-known")
        self.create(self.shim, GPU)  # compiles the specs

    def node(self) -> tuple[str, ...]:
        """Give the words that name the simulated node."""
        return ("--root", f"{self.home}/node")

    def config(self, env: Sequence[str], *, etc: bool = False, hook: str = "") -> dict[str, object]:
        """Give the bundle's spec; with `etc`, a mount of its own hides the image's /etc."""
        hooks = {"createContainer": [{"path": hook, "args": [hook]}]} if hook else {}
        spec = rootfs.config(["/bin/true"], env, f"/{NAME}")
        mount = {"destination": "/etc", "type": "bind", "source": f"{self.home}/etc-own"}
        own = [{**mount, "options": ["rbind", "rw"]}] if etc else []
        return {**spec, "mounts": [*rootfs.mounts(), *own], "hooks": hooks}

    def call(self, *words: str, stdin: str = "") -> float:
        """Run a program and give the milliseconds it took. Raises DemoError if it fails."""
        begun = time.perf_counter()
        if stdin:
            done = subprocess.run(
                words, check=False, input=stdin.encode(), stdout=NULL, stderr=NULL
            )
        else:
            done = subprocess.run(words, check=False, stdin=NULL, stdout=NULL, stderr=NULL)
        taken = (time.perf_counter() - begun) * 1000
        if done.returncode:
            shown = subprocess.run(words, check=False, capture_output=True, text=True)
            raise demo.DemoError(f"{' '.join(words)}: status {done.returncode}: {shown.stderr}")
        return taken

    def create(
        self, runtime: Sequence[str], env: Sequence[str], *, etc: bool = False, hook: str = ""
    ) -> float:
        """Time one `create` of a fresh bundle and remove the container."""
        self.fresh()
        rootfs.write(self.bundle, self.config(env, etc=etc, hook=hook))
        taken = self.call(*runtime, "create", "--bundle", self.bundle, NAME)
        self.call(*self.runc, "delete", "--force", NAME)
        return taken

    def fresh(self) -> None:
        """Put the image back to what it was: no links, no entries of ours in its cache."""
        for folder in (f"{self.root}/etc", f"{self.home}/etc-own"):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(f"{self.home}/etc-pristine", folder)
        for place, _, names in os.walk(f"{self.root}/usr"):
            for name in names:
                path = os.path.join(place, name)
                if os.path.islink(path):
                    os.unlink(path)

    def hook(self) -> float:
        """Time the CDI hook by itself, as runc would start it."""
        self.fresh()
        rootfs.write(self.bundle, self.config(()))
        state = {"ociVersion": "1.0.2", "id": NAME, "status": "creating", "bundle": self.bundle}
        words = [word for name in LIBRARIES for word in ("--library", f"{FOLDER}/{name}")]
        program = f"{self.home}/bin/gpubind-cdi-hook"
        words = [*LINKS, "update-ldcache", "--folder", FOLDER, *words]
        return self.call(program, *words, stdin=json.dumps(state))

    def generate(self) -> float:
        """Time `gpubind cdi generate` as a whole."""
        words = ("--driver-root", f"{self.home}/node", "--output", f"{self.home}/cdi/nvidia.yaml")
        return self.call(f"{self.home}/bin/gpubind", "cdi", "generate", *words)

    def measures(self) -> dict[str, Callable[[], float]]:
        """Give everything that is measured, by name."""
        known = f"{NAME}-known"
        return {
            "bare": lambda: self.call(*BARE),
            "plain state": lambda: self.call(*self.runc, "state", known),
            "state": lambda: self.call(*self.shim, "state", known),
            "plain create": lambda: self.create(self.runc, ()),
            "create": lambda: self.create(self.shim, ()),
            "gpu": lambda: self.create(self.shim, GPU),
            "plain create /etc": lambda: self.create(self.runc, (), etc=True),
            "gpu hook": lambda: self.create(self.shim, GPU, etc=True),
            "true hook": lambda: self.create(self.runc, (), etc=True, hook="/bin/true"),
            "hook": self.hook,
        }

    def run(self, rounds: int) -> dict[str, float]:
        """Give the medians in milliseconds, by name; generation comes after the starts."""
        taken: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, measure in self.measures().items():
                taken.setdefault(name, []).append(measure())
        taken["generate"] = [self.generate() for _ in range(rounds)]
        return {name: statistics.median(values) for name, values in taken.items()}

    def mounts(self) -> int:
        """Give how many mounts one GPU adds. Raises DemoError where a hidden /etc gets no hook."""
        self.fresh()
        rootfs.write(self.bundle, self.config(GPU, etc=True))
        self.call(*self.shim, "create", "--bundle", self.bundle, NAME)
        self.call(*self.runc, "delete", "--force", NAME)
        with open(f"{self.bundle}/config.json", encoding="utf-8") as file:
            spec = json.load(file)
        if not spec["hooks"]:
            raise demo.DemoError("a mount hides /etc, yet no hook was put in: nothing to compare")
        return len(spec["mounts"]) - len(rootfs.MOUNTS) - 1

    def end(self) -> None:
        """Remove every container and file."""
        for name in (NAME, f"{NAME}-known"):
            words = [*self.runc, "delete", "--force", name]
            subprocess.run(words, check=False, capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)


def table(medians: dict[str, float]) -> bool:
    """Print what was measured; give whether every limit is kept."""
    bare = medians["bare"]
    print(f"a bare /usr/bin/python3 -IS: {bare:.2f} ms; everything below in multiples of it\n")
    print(f"{'what':28}{'in all':>10}{'plain runc':>12}{'adds':>10}{'times':>8}   limit")
    kept = True
    for row in ROWS:
        plain = medians[row.less] if row.less else 0.0
        added = medians[row.measured] - plain
        times = added / bare
        within = not row.limit or times <= row.limit
        kept &= within
        limit = (f"{row.limit:.1f}" if row.limit else "-") + ("" if within else "  over")
        less = f"{plain:9.2f} ms" if row.less else "-"
        print(
            f"{row.what:28}{medians[row.measured]:7.2f} ms{less:>12}{added:7.2f} ms"
            f"{times:8.2f}     {limit}"
        )
    return kept


def main(words: list[str]) -> int:
    """Measure, print the table, and give 1 where a limit is passed."""
    parser = argparse.ArgumentParser(prog="./dev bench", description="measure a start's cost")
    parser.add_argument("--rounds", type=int, default=30, help="how often each thing is measured")
    options = parser.parse_args(words)
    runc = shutil.which("runc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if os.geteuid() or not runc:
        print("the bench starts containers: it needs root and runc", file=sys.stderr)
        return 1
    bench = Bench(demo.private_folder("/dev/shm"), runc)  # noqa: S108 - mkdtemp's folder
    try:
        bench.prepare()
        added = bench.mounts()
        print(f"medians of {options.rounds}; one GPU adds {added} mounts", end="; ")
        medians = bench.run(options.rounds)
        kept = table(medians)
    except (demo.DemoError, install.InstallError, OSError) as error:
        print(f"\nthe bench stops: {error}", file=sys.stderr)
        return 1
    finally:
        bench.end()
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
