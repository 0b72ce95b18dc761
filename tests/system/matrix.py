# SPDX-License-Identifier: Apache-2.0
"""Every way of asking every engine for GPUs; the tests and `./dev engines` take their rows here."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from system import kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from system.dropin import Host

    # Gives the lines of a container of this image that runs these words.
    Run = Callable[[Host, str, Sequence[str]], list[str]]

RELEASES = ("bookworm", "sid")
LAYOUTS = ("machine", "unified")  # of cgroups, see Place
VISIBLE = "NVIDIA_VISIBLE_DEVICES"
ANNOTATION = {"cdi.k8s.io/gpubind": "nvidia.com/gpu=0"}
SHIM = "/usr/bin/nvidia-container-runtime"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A way of asking an engine: how it is written, the GPUs it gives, where it can be had."""

    engine: str
    asks: str
    gpus: str
    run: Run
    releases: tuple[str, ...] = RELEASES

    def cell(self, host: Host, kind: str) -> list[str]:
        """Give what containers of a kind see. Raises AssertionError and grpc.RpcError."""
        image = f"{kinds.name(kind)}:latest"
        lines: list[str] = []
        for words in kinds.LOOKS[kind]:
            lines += self.run(host, image, words)
        return kinds.seen(lines)


def docker(*options: str) -> Run:
    """Ask docker by options of `docker run`."""

    def run(host: Host, image: str, words: Sequence[str]) -> list[str]:
        done = host.docker.run(*words, options=options, image=image, status=None)
        return lines(done.stdout, done.stderr, done.returncode)

    return run


def podman(*options: str, runtime: str = "/usr/sbin/runc") -> Run:
    """Ask podman by options of `podman run`."""

    def run(host: Host, image: str, words: Sequence[str]) -> list[str]:
        call = host.podman.run
        done = call(*words, options=options, image=image, runtime=runtime, status=None)
        return lines(done.stdout, done.stderr, done.returncode)

    return run


def ctr(*options: str, runtime: str = "/usr/sbin/runc") -> Run:
    """Ask containerd by options of `ctr run`, which knows no CRI."""

    def run(host: Host, image: str, words: Sequence[str]) -> list[str]:
        call = host.containerd.run
        done = call(*words, options=options, image=image, runtime=runtime, status=None)
        return lines(done.stdout, done.stderr, done.returncode)

    return run


def kubelet(
    handler: str = "", *, env: str = "", devices: tuple[str, ...] = (), annotated: bool = False
) -> Run:
    """Ask containerd as a kubelet does: by a RuntimeClass and environment, devices, annotations."""
    environment = {VISIBLE: env} if env else {}
    annotations = ANNOTATION if annotated else {}

    def run(host: Host, image: str, words: Sequence[str]) -> list[str]:
        return host.cri.run(
            *words,
            handler=handler,
            environment=environment,
            devices=devices,
            annotations=annotations,
            image=image,
        )

    return run


def lines(stdout: str, stderr: str, status: int) -> list[str]:
    """Give a container's lines; an engine's own failure (125 and above) is an AssertionError."""
    assert status == 0 or (stdout and status < 125), stderr.strip() or f"exit status {status}"
    return stdout.splitlines()


ROWS = (
    Row(engine="docker", asks="(does not ask)", gpus="", run=docker()),
    Row(engine="docker", asks="`--gpus all`", gpus="all", run=docker("--gpus=all")),
    Row(engine="docker", asks="`--gpus device=0`", gpus="0", run=docker("--gpus=device=0")),
    Row(
        engine="docker",
        asks=f"`--runtime=nvidia -e {VISIBLE}=0`",
        gpus="0",
        run=docker("--runtime=nvidia", f"--env={VISIBLE}=0"),
    ),
    Row(
        engine="docker",
        asks=f"`--runtime=nvidia -e {VISIBLE}=all`",
        gpus="all",
        run=docker("--runtime=nvidia", f"--env={VISIBLE}=all"),
    ),
    Row(
        engine="docker",
        asks="`--device nvidia.com/gpu=0`",
        gpus="0",
        run=docker("--device=nvidia.com/gpu=0"),
        releases=("sid",),
    ),
    Row(engine="podman", asks="(does not ask)", gpus="", run=podman()),
    Row(
        engine="podman",
        asks="`--device nvidia.com/gpu=all`",
        gpus="all",
        run=podman("--device=nvidia.com/gpu=all"),
    ),
    Row(
        engine="podman",
        asks="`--device nvidia.com/gpu=0`",
        gpus="0",
        run=podman("--device=nvidia.com/gpu=0"),
    ),
    Row(
        engine="podman",
        asks=f"`--runtime=nvidia -e {VISIBLE}=0`",
        gpus="0",
        run=podman(f"--env={VISIBLE}=0", runtime="nvidia"),
    ),
    Row(
        engine="podman",
        asks="`--runtime=crun --device nvidia.com/gpu=0`",
        gpus="0",
        run=podman("--device=nvidia.com/gpu=0", runtime="/usr/bin/crun"),
    ),
    Row(
        engine="podman",
        asks="`--gpus all`",
        gpus="all",
        run=podman("--gpus=all"),
        releases=("sid",),
    ),
    Row(engine="containerd", asks="CRI: (does not ask)", gpus="", run=kubelet()),
    Row(
        engine="containerd",
        asks=f"CRI: RuntimeClass nvidia, {VISIBLE}=0",
        gpus="0",
        run=kubelet("nvidia", env="0"),
    ),
    Row(
        engine="containerd",
        asks="CRI: RuntimeClass nvidia, annotation cdi.k8s.io/…",
        gpus="0",
        run=kubelet("nvidia", annotated=True),
    ),
    Row(
        engine="containerd",
        asks="CRI: CDI devices nvidia.com/gpu=0",
        gpus="0",
        run=kubelet(devices=("nvidia.com/gpu=0",)),
        releases=("sid",),
    ),
    Row(
        engine="containerd",
        asks="CRI: annotation cdi.k8s.io/…",
        gpus="0",
        run=kubelet(annotated=True),
        releases=("sid",),
    ),
    Row(
        engine="containerd",
        asks=f"`ctr run --runc-binary={SHIM} --env {VISIBLE}=0`",
        gpus="0",
        run=ctr(f"--env={VISIBLE}=0", runtime=SHIM),
    ),
    Row(
        engine="containerd",
        asks="`ctr run --device nvidia.com/gpu=0`",
        gpus="0",
        run=ctr("--device=nvidia.com/gpu=0"),
        releases=("sid",),
    ),
)


def rows(release: str, layout: str = "machine") -> list[Row]:
    """Give the rows of a release; where cgroups are of version 2 alone, docker's.

    The others want controllers, which a machine that has version 1 too lends to that.
    """
    kept = [row for row in ROWS if release in row.releases]
    return [row for row in kept if layout == "machine" or row.engine == "docker"]
