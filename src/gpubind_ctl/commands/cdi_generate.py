# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi generate`: find the driver and its GPUs, write a CDI spec."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
from gpubind_cdi import features, files, namer, shapes, version
from gpubind_cdi.modes import table

from gpubind import paths
from gpubind.errors import ToolkitError
from gpubind_ctl import generation, options, roots
from gpubind_ctl.answer import Answer
from gpubind_ctl.refresh import job as jobs
from gpubind_ctl.refresh import made, owned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_cdi.generate import Generated
    from gpubind_cdi.modes.mode import Options

    from gpubind_ctl.generation import Looked
    from gpubind_ctl.refresh.job import Job

_ENV = "NVIDIA_CTK_CDI_GENERATE_"


@click.command()
@click.option(
    "--output",
    metavar="FILE",
    envvar="NVIDIA_CTK_CDI_OUTPUT_FILE_PATH",
    help="Where to write; engines read *.yaml and *.json. Without it: standard output.",
)
@click.option(
    "--format",
    "form",
    metavar="yaml|json",
    envvar=f"{_ENV}OUTPUT_FORMAT",
    help="By default what the output's name says, else yaml.",
)
@click.option(
    "--mode",
    "--discovery-mode",
    metavar="MODE",
    envvar=f"{_ENV}MODE",
    default=table.AUTO,
    show_default=True,
    help=f"What to describe: {', '.join((table.AUTO, *table.MODES))}.",
)
@options.driver_root
@options.dev_root
@options.listed(
    "--device-name-strategy",
    metavar="|".join(namer.STRATEGIES),
    env=f"{_ENV}DEVICE_NAME_STRATEGIES",
    help="How devices are named; by default index and uuid.",
)
@options.listed(
    "--library-search-path",
    metavar="DIR",
    env=f"{_ENV}LIBRARY_SEARCH_PATHS",
    help="Where libraries are, instead of the usual folders.",
)
@options.listed(
    "--config-search-path",
    metavar="DIR",
    env=f"{_ENV}CONFIG_SEARCH_PATHS",
    help="Where the driver's data files are, instead of the usual folders.",
)
@click.option(
    "--nvidia-cdi-hook-path",
    "--nvidia-ctk-path",
    "hook_path",
    metavar="FILE",
    envvar="NVIDIA_CTK_CDI_HOOK_PATH",
    default=paths.HOOK,
    show_default=True,
    help="The program that the spec's hooks name.",
)
@click.option(
    "--ldconfig-path",
    metavar="FILE",
    envvar=f"{_ENV}LDCONFIG_PATH",
    help="Checked and not used: no ldconfig is needed.",
)
@click.option(
    "--vendor",
    "--cdi-vendor",
    envvar=f"{_ENV}VENDOR",
    default="",
    help="The vendor in the spec's kind, by default the mode's.",
)
@click.option(
    "--class",
    "--cdi-class",
    "device_class",
    envvar=f"{_ENV}CLASS",
    default="",
    help="The class in the spec's kind, by default the mode's.",
)
@options.listed(
    "--disable-hook",
    "--disable-hooks",
    metavar="HOOK",
    env=f"{_ENV}DISABLED_HOOKS",
    help="A hook to leave out, or all.",
)
@options.listed(
    "--enable-hook",
    "--enable-hooks",
    metavar="HOOK",
    env=f"{_ENV}ENABLED_HOOKS",
    help="A hook to keep though it is disabled.",
)
@options.listed(
    "--feature-flag",
    "--feature-flags",
    metavar="FLAG",
    env=f"{_ENV}FEATURE_FLAGS",
    help=f"One of {', '.join(features.FLAGS)}.",
)
@click.option(
    "--no-all-device",
    is_flag=True,
    envvar=f"{_ENV}NO_ALL_DEVICE",
    help="Leave out the device 'all'.",
)
@options.listed(
    "--device-id",
    "--device-ids",
    "--device",
    "--devices",
    metavar="ID",
    env=f"{_ENV}DEVICE_IDS",
    help="Describe these devices only: index, UUID, PCI address, all or none.",
)
@options.listed(
    "--csv.file",
    "csv_files",
    metavar="FILE",
    env=f"{_ENV}CSV_FILES",
    help="A list of files for mode csv, instead of the usual ones.",
)
@options.listed(
    "--csv.ignore-pattern",
    "csv_ignore_patterns",
    metavar="PATTERN",
    env=f"{_ENV}CSV_IGNORE_PATTERNS",
    help="Links that mode csv leaves out; **/NAME is a name in any folder.",
)
@click.option(
    "--csv.compat-container-root",
    "csv_compat_root",
    metavar="DIR",
    envvar=f"{_ENV}CSV_CONTAINER_COMPAT_ROOT",
    default="",
    help="Where images for mode csv keep newer CUDA libraries.",
)
@click.option(
    "--cdi-version-max",
    metavar="VERSION",
    default=None,
    help="The newest CDI version to use; what needs a newer one is left out and said. By default "
    "what all engines that are installed read.",
)
@click.option(
    "--shape",
    metavar="|".join(shapes.NAMES),
    default=shapes.HOOKS,
    show_default=True,
    help="For engines that ignore hooks: hook-free. For use inside a container: nested.",
)
@click.option(
    "--mps-pipe",
    metavar="DIR",
    default="",
    help="The pipe folder of CUDA's multi-process service, for containers to use; none by default.",
)
@click.option("--explain-missing", is_flag=True, help="Also name what a healthy host may lack.")
@click.option("--strict", is_flag=True, help="Write nothing if something required is missing.")
@options.state_dir
def command(
    *,
    output: str | None,
    form: str | None,
    driver_root: str,
    dev_root: str | None,
    ldconfig_path: str | None,
    explain_missing: bool,
    strict: bool,
    state_dir: str,
    **chosen: Any,
) -> Answer:
    """Write the CDI spec of a driver root and its GPUs, or of another kind of device.

    Exit status 3: written, but without something required that was not found, which is named.
    """
    generation.check(ldconfig_path, chosen["hook_path"], chosen["mps_pipe"])
    wanted = generation.options(**chosen)
    file = "" if output in (None, "-") else output or ""
    files.place(file or "-", form or "")
    places = roots.of(driver_root, dev_root)
    looked = generation.looks(wanted, places.driver, places.dev)
    generated = looked.found[""]
    _check(generated, strict=strict)
    chosen_why = "; ".join((*places.notes, *_chosen(generated, wanted)))
    notes, status = _notes(generated, wanted, explain=explain_missing), 3 * bool(generated.missing)
    if file:
        job = jobs.of(wanted, driver_root, dev_root, file, form, state_dir, strict=strict)
        first, *more = _saved(looked, file, job, wanted)
        first += f"; {chosen_why}" if chosen_why else ""
        return Answer(notes=(first, *more, *notes), status=status)
    texts = [files.text(one, form or "yaml").decode() for one in looked.found.values()]
    return Answer(text="".join(texts), notes=(*filter(None, [chosen_why]), *notes), status=status)


def _saved(looked: Looked, file: str, job: Job, wanted: Options) -> Iterator[str]:
    """Save the spec, and beside it those of one kind of GPU; say so of each."""
    path, ending = os.path.splitext(files.place(file, job.form)[0])
    for kind, one in looked.found.items():
        if not kind and looked.signs is not None:
            one = made.told(one, job, looked.signs)  # noqa: PLW2901 - the same, with more beside
        beside = f"{path}.{kind}{ending}" if kind else file
        yield _done(files.save(one, beside, form=job.form, state=job.state).spec, one, wanted)
    owned.sign(job, owned.look(job).digest)


def _check(generated: Generated, *, strict: bool) -> None:
    if strict and generated.missing:
        raise ToolkitError(
            f"nothing written: {'; '.join(map(str, generated.missing))}",
            identifier="GEN-INCOMPLETE",
            hint="mend that, or leave out --strict",
        )


def _done(file: str, generated: Generated, wanted: Options) -> str:
    spec = generated.spec
    known = f"{file}: CDI {spec.cdi_version}, {len(spec.devices)} devices of {spec.kind}"
    if not wanted.cdi_version_for or not generated.left_out:
        return known
    return f"{known}; left out for {wanted.cdi_version_for}: {', '.join(generated.left_out)}"


def _chosen(generated: Generated, wanted: Options) -> Iterator[str]:
    """Say what was chosen on this host and why, where it is not the usual."""
    if wanted.mode == table.AUTO and generated.mode != "nvml":
        yield f"mode {generated.mode}: {generated.reason}"
    yield from generated.notes


def _notes(generated: Generated, wanted: Options, *, explain: bool) -> tuple[str, ...]:
    optional = generated.explain_missing if explain else ()
    return (
        *(f"missing: {one}" for one in generated.missing),
        *(f"not there, not required: {one}" for one in optional),
        *_limited(generated, wanted),
    )


def _limited(generated: Generated, wanted: Options) -> Iterator[str]:
    """Say what the operator's version cost, or which engine will not read the spec."""
    engine, highest = wanted.cdi_version_for, wanted.cdi_version_max
    spec = generated.spec
    if not engine:
        yield from (f"left out for --cdi-version-max: {one}" for one in generated.left_out)
    elif version.order(spec.cdi_version) > version.order(highest):
        needed, what = version.reasons(spec)[0]
        yield f"{engine} reads CDI {highest} at most and ignores this: {what} needs {needed}"
