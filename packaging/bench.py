# SPDX-License-Identifier: Apache-2.0
"""Measure what gpubind adds to a container's start: `./dev bench [--rounds N]`.

Everything is measured once per round, in one run, so that a busy moment meets all alike, and in
another order each time, since what ran before leaves caches warm or cold; a figure is the median.
What something adds is its median less that of plain runc, in multiples of a bare
`/usr/bin/python3 -IS -c pass`; `best` is the same from the quickest of all rounds, which a busy
machine spoils less. All files are in memory, so that no disk is measured. Needs root and runc. Exit
status 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bench_plugin
import bench_scale
import bench_starts
import demo
import install
import rootfs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BARE = ("/usr/bin/python3", "-IS", "-c", "pass")
FEW = 10  # rounds of what is large
LINKS = ("create-symlinks", "--link", "libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so")
FOLDER = "/usr/lib/x86_64-linux-gnu"
LIBRARIES = (
    "libcuda.so.1",
    "libnvidia-ml.so.1",
    "libnvidia-ptxjitcompiler.so.1",
    "libnvcuvid.so.1",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: what is measured, less what, and the most it may be (0: no limit)."""

    what: str
    measured: str
    less: str = ""
    limit: float = 0.0


ROWS = (
    Row(what="a call passed through", measured="state", less="plain state", limit=1.4),
    Row(what="create, nothing requested", measured="shim", less="plain", limit=1.6),
    Row(what="create, one GPU, no hook", measured="gpu", less="plain", limit=2.5),
    Row(what="  the default capabilities", measured="default", less="plain", limit=2.5),
    Row(what="  an image of 3,000 libraries", measured="gpu large", less="plain large", limit=3.0),
    Row(what="  all eight GPUs", measured="eight", less="plain"),
    Row(what="  in a user namespace", measured="gpu user", less="plain user"),
    Row(what="  mode jit-cdi", measured="jit", less="plain"),
    Row(what="create, one GPU, hook", measured="gpu etc", less="plain etc", limit=3.5),
    Row(what="(runc, a hook of /bin/true)", measured="true etc", less="plain etc"),
    Row(what="runc and the prestart hook", measured="prestart", less="plain"),
    Row(what="the CDI hook alone", measured="hook", limit=2.2),
    Row(what="cdi generate, 8 GPUs", measured="generate", limit=25.0),
    Row(what="  1 GPU", measured="generate 1"),
    Row(what="  16 GPUs", measured="generate 16"),
    Row(what="  16 GPUs in 7 MIG devices", measured="generate 16x7"),
    Row(what="  asking engines their version", measured="generate asking", less="generate"),
    Row(what="a device of 10 spec files", measured="registry 10", less="registry 0"),
    Row(what="  of 1,000 spec files", measured="registry 1000", less="registry 0"),
    Row(what="  of 10,000 devices", measured="registry devices", less="registry 0"),
    Row(what="a start among 1,000 foreign", measured="foreign 1000", less="registry 0", limit=0.3),
    Row(what="(a stat of each of 1,000)", measured="stat 1000", less="bare"),
)


def hook(host: bench_starts.Host) -> float:
    """Time the CDI hook by itself, as runc would start it."""
    image = host.images["small"]
    image.fresh()
    rootfs.write(image.bundle, image.config((), etc=False))
    state = {"ociVersion": "1.0.2", "id": "bench", "status": "creating", "bundle": image.bundle}
    words = [word for name in LIBRARIES for word in ("--library", f"{FOLDER}/{name}")]
    words = [*LINKS, "update-ldcache", "--folder", FOLDER, *words]
    return bench_starts.call(f"{host.home}/bin/gpubind-cdi-hook", *words, stdin=json.dumps(state))


def measures(host: bench_starts.Host) -> dict[str, Callable[[], float]]:
    """Give everything that is measured in each round, by name."""
    starts = {
        name: lambda start=start: host.timed(start) for name, start in bench_starts.STARTS.items()
    }
    return {
        "bare": lambda: bench_starts.call(*BARE),
        "plain state": lambda: host.state("runc"),
        "state": lambda: host.state("shim"),
        "hook": lambda: hook(host),
        **starts,
    }


def run(host: bench_starts.Host, rounds: int) -> dict[str, list[float]]:
    """Give what was measured, in milliseconds, by name; what is large comes after the starts."""
    measured = measures(host)
    taken: dict[str, list[float]] = {name: [] for name in measured}
    for turn in range(rounds):
        names = list(measured)
        random.Random(turn).shuffle(names)  # noqa: S311 - who comes after whom counts, no secret
        for name in names:
            taken[name].append(measured[name]())
    scale = bench_scale.measures(host.home)
    later: dict[str, list[float]] = {name: [] for name in scale}
    for _ in range(min(rounds, FEW)):
        for name, measure in scale.items():
            later[name].append(measure())
    return {**taken, **later}


def machine(load: float, processors: int, bare: Sequence[float]) -> str:
    """Say how busy the machine was before and while it was measured, with a hint. Pure."""
    typical, quickest = statistics.median(bare), min(bare)
    said = (
        f"load {load:.1f} on {processors} processors before; a bare interpreter took "
        f"{typical:.2f} ms, {quickest:.2f} ms at best"
    )
    if load <= processors / 2 and typical <= 1.3 * quickest:
        return said
    return f"{said}\nThe machine is busy: these figures mislead. Measure again when it is idle."


def table(taken: Mapping[str, Sequence[float]]) -> bool:
    """Print what was measured; give whether every limit is kept."""
    medians = {name: statistics.median(values) for name, values in taken.items()}
    best = {name: min(values) for name, values in taken.items()}
    print(f"{'what':29}{'in all':>10}{'plain runc':>12}{'adds':>10}{'times':>8}{'best':>7}  limit")
    kept = True
    for row in ROWS:
        added, times = adds(row, medians)
        within = not row.limit or times <= row.limit
        kept &= within
        limit = (f"{row.limit:4.1f}" if row.limit else "   -") + ("" if within else "  over")
        less = f"{medians[row.less]:9.2f} ms" if row.less else "-"
        print(
            f"{row.what:29}{medians[row.measured]:7.2f} ms{less:>12}{added:7.2f} ms"
            f"{times:8.2f}{adds(row, best)[1]:7.2f}   {limit}"
        )
    return kept


def adds(row: Row, taken: Mapping[str, float]) -> tuple[float, float]:
    """Give what a row adds, in milliseconds and in bare interpreter starts. Pure."""
    added = taken[row.measured] - (taken[row.less] if row.less else 0.0)
    return added, added / taken["bare"]


def measured(host: bench_starts.Host, rounds: int) -> bool:
    """Prepare, measure and print; give whether every limit is kept. Raises DemoError."""
    load = os.getloadavg()[0]
    host.prepare()
    bench_scale.prepare(host.home)
    mounts = {name: host.prove(name) for name in bench_starts.STARTS}
    taken = run(host, rounds)
    print(
        f"medians of {rounds}; one GPU adds {mounts['gpu']} mounts, {mounts['default']} with the "
        "default capabilities;\ntimes, best: in multiples of a bare /usr/bin/python3 -IS, by "
        "medians and by the quickest"
    )
    print(machine(load, len(os.sched_getaffinity(0)), taken["bare"]), end="\n\n", flush=True)
    kept = table(taken)
    if bench_plugin.possible():
        print("", *bench_plugin.told(bench_plugin.run(host.home)), sep="\n")
    return kept


def main(words: list[str]) -> int:
    """Measure, print the table, and give 1 where a limit is passed."""
    parser = argparse.ArgumentParser(prog="./dev bench", description="measure a start's cost")
    parser.add_argument("--rounds", type=int, default=30, help="how often each thing is measured")
    options = parser.parse_args(words)
    if options.rounds < 1:
        parser.error("--rounds: at least one")
    runc = shutil.which("runc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if os.geteuid() or not runc:
        print("the bench starts containers: it needs root and runc", file=sys.stderr)
        return 1
    host = bench_starts.Host(demo.private_folder("/dev/shm"), runc)  # noqa: S108 - mkdtemp's folder
    try:
        kept = measured(host, options.rounds)
    except (demo.DemoError, install.InstallError, OSError, subprocess.SubprocessError) as error:
        print(f"the bench stops: {error}", file=sys.stderr)
        return 1
    finally:
        host.end()
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
