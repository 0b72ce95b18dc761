# SPDX-License-Identifier: Apache-2.0
"""Do the main job once, before your eyes: `./dev demo [--keep]`.

Installs into a private folder, finds the driver (or simulates a node with 8 GPUs), writes its CDI
spec, starts a container through gpubind-runtime and runc, and shows what the container sees.
Without root it stops before the container and shows the edited config.json instead.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import install
import rootfs

PROFILE = "dgx-h100"
VERSION = "/proc/driver/nvidia/version"
DRIVER = "libnvidia-ml.so.1"
PROGRAMS = (
    "/bin/sh",
    "/bin/ls",
    "/bin/cat",
    "/bin/grep",
    "/bin/true",
    "/usr/bin/env",
    "/sbin/ldconfig",
)
REQUEST = ("NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_DRIVER_CAPABILITIES=compute,utility")
NAME = f"gpubind-demo-{os.getpid()}"
INSIDE = r"""
echo '@device nodes, each opened once'
for node in /dev/nvidia*; do
    [ -c "$node" ] || continue
    answer=$( ( : <"$node" ) 2>&1 ) && answer='opens'
    echo "$node: ${answer##*: }"
done
echo '@the library cache, as ldconfig -p reads it'
ldconfig -p | grep -E '/(libcuda|libnvidia-ml)\.so'
echo '@what the loader finds for a program that wants libcuda.so.1 and libnvidia-ml.so.1'
for loader in /lib64/ld-linux-x86-64.so.2 /lib/ld-linux-aarch64.so.1; do
    [ -x $loader ] || continue
    $loader --preload 'libcuda.so.1 libnvidia-ml.so.1' --list /bin/true | grep libcuda
    $loader --preload 'libcuda.so.1 libnvidia-ml.so.1' --list /bin/true | grep libnvidia-ml
done
echo '@NVIDIA variables'
env | grep '^NVIDIA_'
:
"""


class DemoError(Exception):
    """What keeps the demo from going on, in one line."""


class Story:
    """Tells what happens, step by step; `home` is the private folder, shown as $DEMO."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.step = 0
        self.bold, self.dim, self.plain = ("\033[1m", "\033[2m", "\033[0m")
        if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
            self.bold = self.dim = self.plain = ""

    def chapter(self, title: str) -> None:
        """Begin a numbered step."""
        self.step += 1
        print(f"\n{self.bold}{self.step}. {title}{self.plain}", flush=True)

    def say(self, text: str) -> None:
        """Tell something, indented below its step."""
        for line in text.splitlines():
            print(f"   {line}".rstrip().expandtabs(2).replace(self.home, "$DEMO"), flush=True)

    def run(self, *words: str, quiet: bool = False) -> str:
        """Show a command, run it and give what it printed. Raises DemoError if it fails."""
        if not quiet:
            shown = " ".join(
                os.path.basename(words[0]) if word is words[0] else word for word in words
            )
            self.say(f"{self.dim}$ {shown}{self.plain}")
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        if done.stderr.strip():
            self.say(done.stderr.strip())
        if done.returncode:
            raise DemoError(f"{words[0]} failed with status {done.returncode}\n{done.stdout}")
        return done.stdout


def real_driver() -> bool:
    """Say whether this host has an NVIDIA driver that can be asked."""
    listed = subprocess.run(["/sbin/ldconfig", "-p"], check=False, capture_output=True, text=True)
    return os.path.exists(VERSION) and DRIVER in listed.stdout


def private_folder(*preferred: str) -> str:
    """Make a folder of our own where programs may be executed."""
    places = (*preferred, tempfile.gettempdir(), "/var/tmp", "/run")  # noqa: S108 - mkdtemp's folder
    for place in places:
        if os.access(place, os.W_OK) and not os.statvfs(place).f_flag & os.ST_NOEXEC:
            return tempfile.mkdtemp(prefix="gpubind-demo-", dir=place)
    raise DemoError("no folder where programs may be executed: set TMPDIR to one")


def find(story: Story) -> str:
    """Find the driver or simulate one; give the driver root."""
    if real_driver():
        story.chapter("This host has an NVIDIA driver: the real one is used")
        with open(VERSION, encoding="utf-8") as file:
            story.say(file.readline())
        return "/"
    story.chapter(
        f"This host has no NVIDIA driver: a node is simulated (profile {PROFILE}, 8 GPUs)"
    )
    node = f"{story.home}/node"
    story.say(story.run(gpubind(story), "simulate", "--profile", PROFILE, "--root", node))
    return node


def gpubind(story: Story) -> str:
    """Give the installed operator's program."""
    return f"{story.home}/bin/gpubind"


def describe(story: Story, driver: str) -> None:
    """Write the CDI spec and say what is in it."""
    story.chapter("The driver is described as a CDI spec")
    spec = f"{story.home}/cdi/nvidia.json"
    hook = f"{story.home}/bin/gpubind-cdi-hook"
    words = ["--driver-root", driver, "--output", spec, "--format", "json"]
    story.run(gpubind(story), "cdi", "generate", *words, "--nvidia-cdi-hook-path", hook)
    with open(spec, encoding="utf-8") as file:
        document = json.load(file)
    common = document["containerEdits"]
    names = [device["name"] for device in document["devices"]]
    short = " ".join(name for name in names if not name.startswith(("GPU-", "MIG-")))
    story.say(f"{len(names)} names of kind {document['kind']}: {short} and each one's UUID")
    counts = (len(common.get("mounts", ())), len(common.get("deviceNodes", ())))
    story.say(f"each brings {counts[0]} mounts and {counts[1]} device nodes besides its own, less")
    story.say("where a container asks for some driver capabilities only")
    if os.geteuid():
        story.say(shown(document))


def shown(document: dict[str, Any]) -> str:
    """Give a CDI spec as text: its first device, and of what is common the first mounts."""
    common = document["containerEdits"]
    mounts = common.get("mounts", [])
    short = {**common, "mounts": mounts[:2]}
    text = json.dumps(
        {**document, "devices": document["devices"][:1], "containerEdits": short}, indent=1
    )
    return f"{text}\n({len(mounts) - 2} more mounts, {len(document['devices']) - 1} more devices)"


def settings(home: str) -> None:
    """Write the installation's config.toml: its specs are in the private folder."""
    os.makedirs(f"{home}/etc/gpubind")
    os.makedirs(f"{home}/cdi")
    runtimes = ["runc", "crun"] if os.geteuid() == 0 else ["/usr/bin/true"]
    with open(f"{home}/etc/gpubind/config.toml", "w", encoding="utf-8") as file:
        file.write(
            f'[nvidia-container-runtime]\nmode = "cdi"\nruntimes = {json.dumps(runtimes)}\n\n'
            f"[nvidia-container-runtime.modes.cdi]\nspec-dirs = [{json.dumps(home + '/cdi')}]\n"
        )


def bundle(story: Story) -> str:
    """Make a bundle whose container asks for one GPU."""
    folder = f"{story.home}/bundle"
    rootfs.build(f"{folder}/rootfs", PROGRAMS)
    rootfs.write(folder, rootfs.config(["/bin/sh", "-c", INSIDE], REQUEST, f"/{NAME}"))
    return folder


def start(story: Story, folder: str) -> None:
    """Start the container and show what it sees."""
    story.chapter("It is started through gpubind-runtime and runc")
    state = ("--root", f"{story.home}/runc")
    seen = story.run(f"{story.home}/bin/gpubind-runtime", *state, "run", "--bundle", folder, NAME)
    story.chapter("What the container sees")
    for line in seen.splitlines():
        story.say(f"{story.bold}{line[1:]}{story.plain}" if line.startswith("@") else f"  {line}")
    if not real_driver():
        story.say(
            "(No such device or address: the container may open the node, and behind it is no"
        )
        story.say(
            "hardware, for the node is simulated. A node it may not open says: not permitted.)"
        )
    if "libcuda.so.1 => " not in seen:
        raise DemoError("the container's loader did not find libcuda.so.1")


def edit(story: Story, folder: str) -> None:
    """Let gpubind-runtime edit config.json with nothing to start afterwards, and show the diff."""
    story.chapter("Without root no container is started: this is what runc would have been given")
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        before = json.load(file)
    story.run(f"{story.home}/bin/gpubind-runtime", "create", "--bundle", folder, NAME)
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        after = json.load(file)
    old, new = (json.dumps(document, indent=1).splitlines() for document in (before, after))
    names = ("config.json of the engine", "config.json for runc")
    story.say("\n".join(difflib.unified_diff(old, new, *names, n=1, lineterm="")))


def explain(story: Story, folder: str) -> None:
    """Say what will be injected, and why each thing."""
    story.chapter("A container asks for one GPU: what it will get, and why")
    story.say("its image holds a shell, ls, cat, grep, env and ldconfig, and no trace of a driver")
    story.say("\n".join(f"environment: {entry}" for entry in REQUEST))
    story.say(story.run(gpubind(story), "explain", "--bundle", folder))


def tell(story: Story) -> None:
    """Tell the whole story."""
    driver = find(story)
    describe(story, driver)
    folder = bundle(story)
    explain(story, folder)
    if os.geteuid() == 0:
        start(story, folder)
    else:
        edit(story, folder)


def main(words: list[str]) -> int:
    """Run the demo and clean up after it."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="do the main job once")
    parser.add_argument("--keep", action="store_true", help="leave the private folder for a look")
    options = parser.parse_args(words)
    home = ""
    try:
        home = private_folder()
        os.chmod(home, 0o755)  # noqa: S103 - a driver root and specs are for everybody to read
        story = Story(home)
        print(f"gpubind is installed in $DEMO, a private folder: {home}", flush=True)
        install.install(home)
        settings(home)
        tell(story)
    except (DemoError, install.InstallError, OSError) as error:
        print(f"the demo stops: {error}", file=sys.stderr)
        return 1
    finally:
        if home and options.keep:
            print(f"\nleft for a look: {home}")
        elif home:
            shutil.rmtree(home, ignore_errors=True)
            print("\nEverything the demo made is removed again.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
