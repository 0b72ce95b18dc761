# SPDX-License-Identifier: Apache-2.0
"""Files from Debian's packages, through the machine's own apt configuration, kept in .cache/.

Nothing is installed on the machine: packages are downloaded with a private apt state and unpacked
into folders. Signatures and ages are checked as apt does; only the environment switch
GPUBIND_APT_UNCHECKED=1, the one that ./dev knows, relaxes that.
"""

from __future__ import annotations

import dataclasses
import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CACHE = os.path.join(os.path.dirname(__file__), "..", "..", ".cache")
APT_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}

UNCHECKED = (
    "Acquire::Check-Valid-Until=false",
    "Acquire::AllowInsecureRepositories=true",
    "APT::Get::AllowUnauthenticated=true",
)


class UnavailableError(Exception):
    """The packages can't be had on this machine; the message says which and why."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One of the machine's package sources."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str

    def line(self, suite: str, components: Sequence[str]) -> str:
        """Give the one-line form for another suite and other components of the same archive."""
        signed = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {signed}{self.uri} {suite} {' '.join(components)}\n"


def relaxed() -> list[str]:
    """List the apt settings that GPUBIND_APT_UNCHECKED=1 adds."""
    return list(UNCHECKED) if os.environ.get("GPUBIND_APT_UNCHECKED") == "1" else []


def codename() -> str:
    """Give the machine's Debian release, such as bookworm."""
    with open("/etc/os-release", encoding="utf-8") as stream:
        release = dict(line.rstrip("\n").split("=", 1) for line in stream if "=" in line)
    return release.get("VERSION_CODENAME", "").strip('"')


def sources() -> list[Source]:
    """List the machine's binary package sources, from both file formats."""
    found = []
    for name in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        with open(name, encoding="utf-8") as stream:
            kept = [line for line in stream.read().split("\n") if not line.startswith("#")]
        found += [_stanza(text) for text in "\n".join(kept).split("\n\n") if "URIs:" in text]
    for name in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        if os.path.exists(name):
            with open(name, encoding="utf-8") as stream:
                found += [_one_line(line) for line in stream if line.startswith("deb ")]
    return found


def _stanza(text: str) -> Source:
    fields = dict(line.split(":", 1) for line in text.split("\n") if ":" in line)
    return Source(
        uri=fields["URIs"].split()[0],
        suites=tuple(fields["Suites"].split()),
        components=tuple(fields.get("Components", "").split()),
        signed_by=fields.get("Signed-By", "").strip(),
    )


def _one_line(line: str) -> Source:
    words, signed_by = line.split("#")[0].split()[1:], ""
    if words[0].startswith("["):
        end = next(number for number, word in enumerate(words) if word.endswith("]"))
        given = " ".join(words[: end + 1]).strip("[]").split()
        signed_by = next((v[10:] for v in given if v.startswith("signed-by=")), "")
        words = words[end + 1 :]
    return Source(
        uri=words[0], suites=(words[1],), components=tuple(words[2:]), signed_by=signed_by
    )


def archive_lines(release: str, components: Sequence[str]) -> str:
    """Give apt source lines for a release, from the archives the machine uses for its own.

    sid has neither updates nor security updates beside it.
    """
    own = codename()
    beside = () if release == "sid" else (f"{own}-security", f"{own}-updates")
    lines = ""
    for source in sources():
        for suite in source.suites:
            if suite in (own, *beside) and "main" in source.components:
                lines += source.line(suite.replace(own, release, 1), components)
    if not lines:
        raise UnavailableError(f"no Debian archive among the machine's package sources ({own=})")
    return lines


def cached(name: str, key: str, build: Callable[[str], None]) -> str:
    """Give the folder .cache/system/NAME-HASH of this key, built first where it is missing.

    It is never seen half-built; those of the same name for other keys are removed then. Test runs
    side by side build one after the other.
    """
    parent = os.path.realpath(os.path.join(CACHE, "system"))
    target = os.path.join(parent, f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}")
    os.makedirs(parent, exist_ok=True)
    with open(os.path.join(parent, f"{name}.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(target):
            _build(parent, name, target, build)
    return target


def _build(parent: str, name: str, target: str, build: Callable[[str], None]) -> None:
    unfinished = tempfile.mkdtemp(dir=parent, prefix="unfinished-")
    os.chmod(unfinished, 0o755)
    try:
        build(unfinished)
        for old in glob.glob(os.path.join(parent, f"{name}-*")):
            shutil.rmtree(old)
        os.rename(unfinished, target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def download(release: str, components: Sequence[str], names: Sequence[str]) -> list[str]:
    """Download those packages that a release has; gives the names of the .deb files."""
    lines = archive_lines(release, components)
    key = "\n".join([lines, *names])

    def build(folder: str) -> None:
        with tempfile.TemporaryDirectory() as state:
            apt = _private_apt(state, lines)
            _command("/usr/bin/apt-get", *apt, "-qq", "update")
            known = set(_command("/usr/bin/apt-cache", *apt, "pkgnames").split())
            wanted = [name for name in names if name in known]
            if wanted:
                _command("/usr/bin/apt-get", *apt, "-qq", "download", *wanted, cwd=folder)

    return sorted(glob.glob(os.path.join(cached(f"packages-{release}", key, build), "*.deb")))


def _private_apt(state: str, lines: str) -> list[str]:
    os.makedirs(f"{state}/lists/partial")
    os.makedirs(f"{state}/archives/partial")
    with open(f"{state}/sources.list", "w", encoding="utf-8") as stream:
        stream.write(lines)
    settings = {
        "Dir::State": state,
        "Dir::State::status": "/dev/null",
        "Dir::Cache": state,
        "Dir::Etc::sourcelist": f"{state}/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    words = [f"--option={key}={value}" for key, value in settings.items()]
    return [*words, *(f"--option={setting}" for setting in relaxed())]


def _command(*words: str, cwd: str | None = None) -> str:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=APT_ENVIRONMENT,
        timeout=300,
    )
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        why = " ".join(told) or done.stderr.strip()
        raise UnavailableError(f"{words[0]} ended with {done.returncode}: {why}")
    return done.stdout


def unpack(packages: Sequence[str], root: str) -> None:
    """Unpack .deb files into a root that already has its merged-/usr links."""
    for package in packages:
        archive = subprocess.Popen(
            ["/usr/bin/dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE
        )
        subprocess.run(
            ["/usr/bin/tar", "-x", "-C", root, "--keep-directory-symlink"],
            stdin=archive.stdout,
            check=True,
        )
        assert archive.stdout is not None
        archive.stdout.close()
        assert archive.wait() == 0


def strap(root: str, names: Sequence[str], release: str = "") -> None:
    """Make a root of a release, by default the machine's own: these packages and what they need."""
    release = release or codename()
    _command(
        *("/usr/bin/mmdebstrap", "--mode=root", "--variant=extract"),
        f"--include={','.join(names)}",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        *['--aptopt={} "{}"'.format(*setting.split("=")) for setting in relaxed()],
        *(release, root, *archive_lines(release, ["main"]).splitlines()),
    )
