# SPDX-License-Identifier: Apache-2.0
"""What a refresh is about: one spec file, and the host it describes."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubind_cdi import files

from gpubind import paths
from gpubind_ctl import sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubind_cdi.gpu import GpuSource
    from gpubind_cdi.modes.mode import Options

OUTPUT = "/var/run/cdi/nvidia.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One spec file, the options it is generated with, and where the driver is.

    `output` is absolute and ends as engines want it. Sidecar, lock and record lie under `state`,
    what must outlive a boot under `lasting`. With `strict` a spec without something required is
    none. `source` says which GPUs a driver root has, as `sources.of` does.
    """

    options: Options
    driver_root: str
    dev_root: str | None
    output: str
    form: str
    state: str
    lasting: str
    strict: bool = False
    source: Callable[..., GpuSource] = sources.of

    def asked(self) -> dict[str, Any]:
        """Give what the spec depends on besides the host, as JSON has it."""
        asked: dict[str, Any] = dataclasses.asdict(self.options)
        roots = {"driver_root": self.driver_root, "dev_root": self.dev_root, "form": self.form}
        plain = {name: _plain(value) for name, value in asked.items()}
        return {**plain, **roots}


def of(
    options: Options,
    driver_root: str,
    dev_root: str | None,
    output: str,
    form: str | None,
    state: str,
    *,
    strict: bool,
) -> Job:
    """Give the job for an operator's words. Raises UsageError where `files.place` does."""
    file, form = files.place(os.path.abspath(output), form or "")
    return Job(
        options=options,
        driver_root=os.path.abspath(driver_root),
        dev_root=dev_root and os.path.abspath(dev_root),
        output=file,
        form=form,
        state=state,
        lasting=paths.LASTING if state == paths.STATE else state,
        strict=strict,
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
