# SPDX-License-Identifier: Apache-2.0
"""System calls without the ctypes module."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import checkout
import pytest
import trees

from gpubind import linux

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BINDINGS = [linux._bare, linux._full]


def test_openat2_opens_below_a_descriptor(tmp_path: Path) -> None:
    folder = os.open(trees.build(tmp_path, {"/etc/x": "in"}), os.O_PATH)
    fd = linux.openat2(folder, "/etc/x", os.O_RDONLY, resolve=linux.RESOLVE_IN_ROOT)
    assert os.read(fd, 9) == b"in"
    os.close(fd)
    os.close(folder)


def test_openat2_names_the_path_it_could_not_open(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_PATH)
    with pytest.raises(FileNotFoundError, match="/absent"):
        linux.openat2(folder, "/absent", os.O_RDONLY, resolve=linux.RESOLVE_IN_ROOT)
    os.close(folder)


def test_openat2_gives_no_descriptor_to_a_child(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_PATH)
    fd = linux.openat2(folder, "/", os.O_PATH, resolve=linux.RESOLVE_IN_ROOT)
    assert not os.get_inheritable(fd)
    os.close(fd)
    os.close(folder)


def test_openat2_refuses_the_links_of_proc() -> None:
    folder = os.open("/", os.O_PATH)
    with pytest.raises(OSError, match="/proc/self/root") as caught:
        linux.openat2(folder, "/proc/self/root", os.O_PATH, resolve=linux.RESOLVE_NO_MAGICLINKS)
    assert caught.value.errno == errno.ELOOP
    os.close(folder)


@pytest.mark.parametrize("bind", BINDINGS)
def test_each_way_to_bind_the_call_gives_result_and_errno(
    bind: Callable[[], Callable[..., tuple[int, int]]], tmp_path: Path
) -> None:
    call = bind()
    folder = os.open(tmp_path, os.O_PATH)
    how = b"".join(word.to_bytes(8, "little") for word in (os.O_PATH, 0, 0))
    assert call(linux.NR_OPENAT2, folder, b"absent", how, len(how)) == (-1, errno.ENOENT)
    fd, _ = call(linux.NR_OPENAT2, folder, b".", how, len(how))
    assert fd > 2
    os.close(fd)
    os.close(folder)


def test_where_the_private_module_is_gone_the_public_one_serves() -> None:
    program = (
        f"import sys; sys.path.insert(0, {checkout.ROOT + '/src'!r})\n"
        "import _ctypes; kept = _ctypes._SimpleCData; del _ctypes._SimpleCData\n"
        "from gpubind import linux\n"
        "real = linux._full\n"
        "def full():\n    _ctypes._SimpleCData = kept\n    print('full'); return real()\n"
        "linux._full = full\n"
        "import os; fd = os.open('/', os.O_PATH)\n"
        "os.close(linux.openat2(fd, 'etc', os.O_PATH, resolve=0))\n"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("full\n", "")
