# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: each target takes any bytes and lets nothing pass but an error of ours.

A target also holds what must be true of what it could read, so that a fuzzer finds wrong answers as
well as wrong errors. `./dev fuzz TARGET SECONDS` and the property tests run the same functions.
Seeds are small good files.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubind_cdi import document, driver, mountspec, salvage, schema, traps, validate
from gpubind_cdi.model import Spec
from gpubind_cdi.transform import root as transform
from gpubind_hooks import mountinfo

from gpubind import elf, ldcache, requirement, userns
from gpubind.errors import DocumentError, ToolkitError
from gpubind_ctl.simulate import elf as maker
from gpubind_ctl.simulate import kernel
from gpubind_ctl.simulate.elfformat import Machine

if TYPE_CHECKING:
    from collections.abc import Callable

LIB = b"/usr/lib/x86_64-linux-gnu/libcuda.so.1"
OURS = (ldcache.Entry(b"libcuda.so.1", LIB, ldcache.FLAGS["x86-64"]),)
CUT = b"\0--\0"  # between the texts of a target that reads several


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A function of any bytes, the inputs to begin with, and the words a fuzzer may put in."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[str, ...]


def claim(holds: object) -> None:
    """Raise AssertionError where what must be true is not; an assert vanishes with -O."""
    if not holds:
        raise AssertionError


def read_elf(data: bytes) -> None:
    """Read a library's header, SONAME and a note."""
    fd = os.memfd_create("fuzz", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)
        with contextlib.suppress(elf.ElfError):
            found = elf.read(fd)
            claim(len(os.fsencode(found.soname)) <= elf.MAX_NAME)
        with contextlib.suppress(elf.ElfError):
            elf.note(fd, ".note.cuda", b"NVIDIA")
    finally:
        os.close(fd)


def read_ldcache(data: bytes) -> None:
    """Read a library cache and merge our entries into it: the result is sound, and so again."""
    try:
        ldcache.read(data)
        merged = ldcache.merge(data, OURS)
    except DocumentError:
        return
    claim(set(OURS) <= set(ldcache.read(merged)))
    claim(ldcache.merge(merged, OURS) == merged)


class Files(dict[str, bytes]):
    """A root whose files all hold the same bytes: the port that /proc is read through."""

    def read(self, name: str, limit: int = 0, *, follow: bool = True) -> bytes:
        """Give the bytes of any name."""
        del name, limit, follow
        return self[""]


def read_proc(data: bytes) -> None:
    """Read what the kernel tells in /proc: mounts, cgroups, devices, versions, capabilities."""
    first, _, second = data.partition(CUT)
    place: Any = Files({"": first})
    version = driver.kernel_version(place)
    claim(not version or driver.VERSION.fullmatch(version))
    claim(all(0 <= minor < 10**7 for minor in driver.mig_minors(place).values()))
    texts = [part.decode("utf-8", "surrogateescape") for part in (first, second)]
    userns.is_initial(texts[0])
    kernel.gpu_major(texts[0])
    with contextlib.suppress(ToolkitError):
        found = mountinfo.device_cgroup(*texts)
        claim(".." not in found.folder.split("/") or ".." in texts[1])


def read_cdi(data: bytes) -> None:
    """Read a CDI spec, check it, write it: what is valid is read back the same in both forms."""
    name = "x.json" if data[:1] == b"{" else "x.yaml"
    try:
        loaded = document.load(data, name)
    except DocumentError as error:
        claim(str(error).isprintable())
        return
    try:
        spec = Spec.parse(loaded)
    except DocumentError as error:
        claim(str(error).isprintable())
        salvage.problems(loaded, [error])
        return
    places = document.lines(data)
    faults = validate.problems(spec)
    for fault in (*faults, *validate.warnings(spec), *traps.found(loaded)):
        claim(document.line_of(fault.path, places) >= 0)
    if faults:
        return
    claim(not schema.problems(loaded))
    for form in ("yaml", "json"):
        written = document.dump(spec.document(), form)
        claim(Spec.parse(document.load(written, f"x.{form}")) == spec)
    moved = transform.run(spec, "/usr", "/run/driver", "host")
    validate.check(moved)


def read_requirement(data: bytes) -> None:
    """Read what an image requires and hold it against a GPU."""
    try:
        requirement.check([("V", data.decode("utf-8", "replace"))], [GPU])
        requirement.of_cuda(data.decode("utf-8", "replace"), "V")
    except ToolkitError as error:
        claim(error.identifier.startswith("REQ-"))


def read_lists(data: bytes) -> None:
    """Read one of a Tegra's lists: what counts is an absolute path, and few faults are named."""
    entries, missing = mountspec.parse(data, "fuzz.csv")
    for entry in entries:
        claim(entry.kind in mountspec.KINDS and entry.path.strip("/") and entry.path[0] == "/")
        claim(entry.path.isprintable() and ".." not in entry.path.split("/"))
    claim(len(missing) <= mountspec.MAX_NAMED + 1)


GPU: Any = (
    {
        "kind": "nvidia.com/gpu",
        "driver": {"version": "550.54.15", "cuda": "12.4"},
        "gpus": [{"index": 0, "name": "NVIDIA H100", "brand": "Nvidia", "architecture": "9.0"}],
        "devices": {},
    },
    ["0"],
)
SPEC = {
    "cdiVersion": "0.7.0",
    "kind": "nvidia.com/gpu",
    "devices": [{"name": "1:0", "containerEdits": {"deviceNodes": [{"path": "/dev/a"}]}}],
    "containerEdits": {
        "env": ["A=1"],
        "mounts": [{"hostPath": "/usr/a", "containerPath": "/b", "options": ["ro"]}],
        "hooks": [{"hookName": "createContainer", "path": "/h", "args": ["a", "b::c"]}],
        "additionalGids": [44],
    },
}
CGROUPS = b"4:devices:/a\n0::/b\n"
MOUNTS = (
    b"31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    b"33 24 0:29 /a /sys/fs/cgroup/de\\040vices rw shared:1 - cgroup cgroup rw,devices\n"
)
MINORS = b"config 1\nmonitor 2\ngpu0/gi1/access 3\ngpu0/gi1/ci0/access 4\n"
VERSION = b"NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 2024\n"

TARGETS = {
    "elf": Target(
        run=read_elf,
        seeds=tuple(maker.library(machine, "libcuda.so.1", "text") for machine in Machine),
        words=("\x7fELF", "libcuda.so.1", ".dynstr", ".note.cuda", "NVIDIA"),
    ),
    "ldcache": Target(
        run=read_ldcache,
        seeds=(ldcache.merge(b"", OURS), ldcache.merge(ldcache.merge(b"", ()), OURS)),
        words=("glibc-ld.so.cache1.1", "ld.so-1.7.0", "libcuda.so.1"),
    ),
    "proc": Target(
        run=read_proc,
        seeds=(CGROUPS + CUT + MOUNTS, MINORS, VERSION, b"Character devices:\n195 nvidia\n"),
        words=("cgroup2", "devices", " - ", "\\040", "NVRM version:", "gpu0/gi1/access", "\n"),
    ),
    "cdi": Target(
        run=read_cdi,
        seeds=tuple(document.dump(SPEC, form) for form in ("yaml", "json")),
        words=(*Spec.FIELDS, "deviceNodes", "mounts", "hooks", "env", "path", "0.5.0", "a/b", "- "),
    ),
    "requirement": Target(
        run=read_requirement,
        seeds=(b"cuda>=12.4 brand=tesla,driver>=470,driver<471", b"arch!=7.5", b"9.0.116"),
        words=("cuda", "driver", "brand", "arch", ">=", "<=", "!=", ",", " "),
    ),
    "lists": Target(
        run=read_lists,
        seeds=(b"# a remark\ndev, /dev/nvmap\nsym,/usr/lib/libcuda.so\r\n", b"dir, /a,b"),
        words=(*mountspec.KINDS, ", /", "..", "\n", "#"),
    ),
}
