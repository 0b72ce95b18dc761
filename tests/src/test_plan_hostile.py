# SPDX-License-Identifier: Apache-2.0
"""A plan performed in a hostile root: nothing outside changes, nothing hangs."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import checkout
import plans
import pytest
import trees

from gpubind import plan
from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from pathlib import Path

OUT = {
    "absolute": "-> {canary}",
    "relative": "-> ../../../../../../../../..{canary}",
    "the host's root": "-> /",
    "above": "-> ../..",
    "through proc": "-> /proc/self/root{canary}",
    "through cwd": "-> /proc/self/cwd",
    "through pid 1": "-> /proc/1/root{canary}",
    "a descriptor": "-> /dev/fd/3",
    "itself": "-> self",
}
PLACES = ("/etc", "/usr", "/usr/lib", "/usr/lib/gpu", "/etc/ld.so.conf.d", "/lib", "/proc", "/dev")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", OUT)
def test_a_folder_that_leads_out_changes_nothing_outside(
    host: Path, place: str, way: str, *, walking: bool
) -> None:
    text = (
        OUT[way].replace("{canary}", str(host / "canary")).replace("self", place, way == "itself")
    )
    trees.build(host / "root", {place: text})
    try:
        done, notes = plans.perform(host / "root", plans.PLAN, walking=walking)
    except ToolkitError as error:
        assert "[ROOT-WRITE]" in str(error)  # noqa: PT017 - an error or an in-root result
    else:
        assert (done, notes) == (plans.WRITTEN, [])


FILES = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d/00-gpubind.conf",
    "/usr/lib/gpu/libcuda.so",
)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "text", ["-> {canary}/etc/ld.so.cache", "-> ../../../canary/new", "-> {canary}/created"]
)
def test_a_file_that_is_a_link_to_the_host_is_replaced(
    host: Path, file: str, text: str, *, walking: bool
) -> None:
    trees.build(host / "root", {file: text.replace("{canary}", str(host / "canary"))})
    assert plans.perform(host / "root", plans.PLAN, walking=walking) == (plans.WRITTEN, [])
    made = host / f"root{file}"
    assert made.is_symlink() is file.endswith("libcuda.so")


ODD: trees.Tree = {
    "FIFO": trees.FIFO,
    "socket": trees.SOCKET,
    "sparse": trees.sparse(200 << 30),
    "kernel log": "-> /proc/kmsg",
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("what", ODD)
def test_what_is_no_file_is_replaced_without_reading(
    host: Path, file: str, what: str, *, walking: bool
) -> None:
    trees.build(host / "root", {file: ODD[what]})
    done, notes = plans.perform(host / "root", plans.PLAN, walking=walking)
    assert (done, notes) == (plans.WRITTEN, [])


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to make device nodes")
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("number", [(1, 5), (4, 0), (5, 2)])
def test_a_device_is_replaced_without_opening(
    host: Path, file: str, number: tuple[int, int]
) -> None:
    trees.build(host / "root", {file: trees.device(*number)})
    assert plans.perform(host / "root", plans.PLAN) == (plans.WRITTEN, [])


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("inside", [{}, {"/x": "y"}], ids=["empty", "full"])
def test_a_folder_in_place_is_an_error_that_names_it(
    host: Path, file: str, inside: dict[str, str], *, walking: bool
) -> None:
    trees.build(host / "root", {file: trees.FOLDER})
    trees.build(host / f"root{file}", {**inside})
    with pytest.raises(ToolkitError, match=r"Is a directory \[ROOT-WRITE\]"):
        plans.perform(host / "root", plans.PLAN, walking=walking)
    assert sorted(os.listdir(host / f"root{file}")) == [name[1:] for name in inside]


@pytest.mark.parametrize("place", ["/etc", "/usr", "/etc/ld.so.conf.d"])
@pytest.mark.parametrize("what", ["file", "FIFO", "socket"])
def test_something_else_in_a_folders_place_is_an_error(host: Path, place: str, what: str) -> None:
    trees.build(host / "root", {place: "text" if what == "file" else ODD[what]})
    with pytest.raises(ToolkitError, match=r"Not a directory \[ROOT-WRITE\]"):
        plans.perform(host / "root", plans.PLAN)


def test_a_chain_of_links_too_long_is_an_error(host: Path) -> None:
    chain = {f"/c/{step}": f"-> {step + 1}" for step in range(41)}
    trees.build(host / "root", {"/etc": "-> /c/0", **chain, "/c/41/x": ""})
    with pytest.raises(ToolkitError, match="Too many levels"):
        plans.perform(host / "root", [plans.CACHE])


def test_a_message_about_an_odd_name_is_one_line(host: Path) -> None:
    trees.build(host / "root", {"/a\n\x1b[2J/x/y": ""})
    with pytest.raises(ToolkitError) as caught:
        plans.perform(host / "root", [plan.Link("t", "/a\n\x1b[2J/x")])
    assert str(caught.value) == (
        "container's root: link /a\\n\\x1b[2J/x -> t: Is a directory [ROOT-WRITE]"
    )


MOUNTED = """
import ctypes, os, sys
sys.path[:0] = [{src!r}]
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x00020000) != 0:
    sys.exit("may not unshare")
assert libc.mount(None, b"/", None, 0x44000, None) == 0
{mounts}
from gpubind import plan
from gpubind.errors import ToolkitError
from gpubind.root import Root
notes = []
link = plan.Link("libcuda.so.1", "/usr/lib/gpu/libcuda.so")
cache = plan.LdCache(["/usr/lib/gpu"], ["/usr/lib/gpu/libcuda.so.1"], ["/usr/lib32/libcuda.so.1"])
try:
    with Root({root!r}) as root:
        links = [link, plan.Link("libx.so.1", "/usr/lib/gpu/libx.so")]
        print(plan.perform(root, [*links, cache], notes))
    print(notes)
except ToolkitError as error:
    print(error)
"""


BIND = "assert libc.mount({root!r}.encode(), {place!r}.encode(), None, 0x1000, None) == 0"
READ_ONLY = "assert libc.mount(None, {place!r}.encode(), None, 0x1000 | 0x20 | 1, None) == 0"


def mounted(root: Path, *mounts: str) -> list[str]:
    """Perform the plan where `mounts` are, in a mount namespace of its own."""
    program = MOUNTED.format(src=f"{checkout.ROOT}/src", root=str(root), mounts="\n".join(mounts))
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.stderr == "may not unshare\n":
        pytest.skip("this container lets nobody mount")
    assert done.stderr == ""
    return done.stdout.splitlines()


def read_only(root: Path) -> list[str]:
    place = str(root)
    return mounted(root, BIND.format(root=place, place=place), READ_ONLY.format(place=place))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to mount")
def test_a_read_only_root_leaves_one_note(host: Path) -> None:
    trees.build(host / "root", {"/etc/x": ""})
    assert read_only(host / "root") == [
        "[]",
        "[\"container's root is read-only, left out: link /usr/lib/gpu/libcuda.so -> libcuda.so.1"
        ' and 2 more [ROOT-READONLY]"]',
    ]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to mount")
def test_a_read_only_root_that_has_it_all_leaves_no_note(host: Path) -> None:
    plans.perform(host / "root", plans.PLAN)
    assert read_only(host / "root") == ["[]", "[]"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to mount")
@pytest.mark.parametrize("file", FILES)
def test_a_mount_in_place_is_an_error_and_nothing_is_left(host: Path, file: str) -> None:
    trees.build(host / "root", {file: "below"})
    canary = f"{host}/canary/etc/ld.so.cache"
    [said] = mounted(host / "root", BIND.format(root=canary, place=f"{host}/root{file}"))
    assert said.endswith("Device or resource busy [ROOT-WRITE]")
    assert not [
        name for name in os.listdir(os.path.dirname(f"{host}/root{file}")) if name[0] == "."
    ]


def test_a_root_without_room_is_an_error(host: Path) -> None:
    trees.build(host / "root", {"/etc/ld.so.cache": "old"})
    child = os.fork()
    if child == 0:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
        try:
            plans.perform(host / "root", [plans.CACHE])
        except ToolkitError as error:
            os._exit(7 if str(error).endswith("File too large [ROOT-WRITE]") else 8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert os.listdir(host / "root/etc") == ["ld.so.cache"]
    assert (host / "root/etc/ld.so.cache").read_text() == "old"


ROUNDS = 200


@pytest.mark.parametrize("name", ["usr/lib", "etc", "etc/ld.so.conf.d"])
def test_a_folder_exchanged_for_a_link_meanwhile_leads_nowhere(
    host: Path, name: str, *, walking: bool
) -> None:
    root = host / "root"
    trees.build(root, {f"/{name}/x": "", "/usr/lib/up": "-> ../../usr/lib"})
    trees.build(root, {f"/{name}.x": f"-> {host}/canary"})
    libc = ctypes.CDLL(None, use_errno=True)
    pair = (os.fsencode(root / name), os.fsencode(root / f"{name}.x"))
    over = threading.Event()

    def exchange() -> None:
        while not over.is_set():
            assert libc.renameat2(-100, pair[0], -100, pair[1], 2) == 0

    thread = threading.Thread(target=exchange)
    thread.start()
    made = 0
    try:
        for turn in range(ROUNDS):
            link = plan.Link(f"v{turn}", "/usr/lib/up/../lib/gpu/libx.so")
            try:
                made += len(plans.perform(root, [link, plans.CACHE], walking=walking)[0])
            except ToolkitError as error:
                assert "[ROOT-WRITE]" in str(error)  # noqa: PT017 - either is right
    finally:
        over.set()
        thread.join()
    assert made > 0
