# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi refresh`: keep a written CDI spec true, once or for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpubind.errors import UsageError
from gpubind_ctl import generation
from gpubind_ctl.answer import Answer
from gpubind_ctl.commands import cdi_generate
from gpubind_ctl.refresh import job as jobs
from gpubind_ctl.refresh import record, waiting, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubind_cdi.modes.mode import Options

    from gpubind_ctl.refresh.job import Job

_OTHER = ("output", "explain_missing")  # options of generate that mean nothing here, or another


@click.command()
@click.option(
    "--output",
    metavar="FILE",
    envvar="NVIDIA_CTK_CDI_OUTPUT_FILE_PATH",
    default=jobs.OUTPUT,
    show_default=True,
    help="The spec to keep true; engines read *.yaml and *.json.",
)
@click.option(
    "--wait",
    "wait_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0,
    help="How long to wait for a driver that comes late; a host without GPU waits for nothing.",
)
@click.option("--watch", "resident", is_flag=True, help="Go on, until SIGTERM; SIGHUP looks anew.")
@click.option(
    "--interval",
    "interval_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    default=watch.INTERVAL_S,
    show_default=True,
    help="With --watch: how often to look for what the kernel does not tell.",
)
@click.option(
    "--gpu-events",
    is_flag=True,
    envvar="GPUBIND_GPU_EVENTS",
    help="With --watch: also hear what NVML tells. Then nobody can unload the kernel module or "
    "switch MIG on, as the GPUs are in use.",
)
@click.option("--force", is_flag=True, help="Ask the driver though nothing seems changed.")
@click.pass_obj
def command(
    tell: Callable[[str], None],
    /,
    *,
    wait_s: float,
    resident: bool,
    interval_s: float,
    gpu_events: bool,
    force: bool,
    **chosen: Any,
) -> Answer:
    """Write a CDI spec anew if what it describes has changed, and withdraw it if that is gone.

    A spec that still holds is not touched. Whatever fails, the last good one is kept. A file that
    gpubind did not write, or that was changed since, is never replaced or removed.

    Exit status 1: failed, the file is as it was; 3: written, but without something required.
    """
    job = _job(**chosen)
    if resident:
        return _watch(job, tell, wait_s, interval_s, gpu_events=gpu_events)
    outcome = waiting.refresh(job, wait_s, tell, force=force)
    record.note(job, outcome)
    said = (outcome.message, *outcome.notes)
    return Answer(notes=tuple(filter(None, said)), status=outcome.status)


def _job(
    *,
    output: str,
    form: str | None,
    driver_root: str,
    dev_root: str | None,
    ldconfig_path: str | None,
    strict: bool,
    state_dir: str,
    **chosen: Any,
) -> Job:
    generation.check(ldconfig_path, chosen["hook_path"], chosen["mps_pipe"])
    if output in ("", "-"):
        raise UsageError("no file to keep true", identifier="USE-OUTPUT", hint="see --output")
    options = _options(**chosen)
    return jobs.of(options, driver_root, dev_root, output, form, state_dir, strict=strict)


def _options(**chosen: Any) -> Options:
    wanted = generation.options(**chosen)
    if wanted.by_coherence:
        raise UsageError(
            "a refresh keeps one spec true, enable-coherent-annotations makes several",
            identifier="USE-FEATURE",
            hint="give --class and --device-id to one refresh for each",
        )
    return wanted


def _watch(
    job: Job, tell: Callable[[str], None], wait_s: float, interval_s: float, *, gpu_events: bool
) -> Answer:
    from gpubind_ctl.refresh import manager
    from gpubind_ctl.refresh.service import Service, listened

    listening = listened(job, tell, gpu_events=gpu_events)
    with watch.signals() as hangup, listening as (gpus, others):
        service = Service(job, tell, wait_s=wait_s, gpus=gpus, others=(hangup, *others))
        times = watch.Times(interval_s=interval_s)
        watch.watch(service.sources, service.look, service.changed, times)
    manager.tell("STOPPING=1")
    return Answer()


command.params += [
    known
    for known in cdi_generate.command.params
    if known.name not in _OTHER and known.name not in {own.name for own in command.params}
]
