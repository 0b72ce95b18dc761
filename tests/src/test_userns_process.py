# SPDX-License-Identifier: Apache-2.0
"""Real processes in user namespaces: what they call themselves, trust, and may give away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import checkout
import pytest
import specs
import trees

from gpubind import device, injection, request
from gpubind.errors import ToolkitError
from gpubind.oci import spec as oci

if TYPE_CHECKING:
    from pathlib import Path

SRC = os.path.join(checkout.ROOT, "src")
FIRST = 100000


def refusal() -> str:
    """Give why no user namespace is to be had here, "" where one is."""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "true"], check=False, capture_output=True
    )
    return done.stderr.decode().strip()


WHY_NOT = refusal()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=f"no user namespace: {WHY_NOT}")
CLOSED = os.path.realpath(sys.executable).startswith("/root/") or any(
    not os.stat(folder).st_mode & 0o001 for folder in (SRC, os.path.dirname(checkout.ROOT))
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to map a range of ids")


def inside(text: str, *words: str, env: dict[str, str] | None = None) -> Any:
    """Run Python in a user namespace with nothing but ourselves, as root; gives what it prints."""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", text, *words],
        check=False,
        capture_output=True,
        env={"PYTHONPATH": SRC, **(env or {})},
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def ranged(text: str, folder: Path) -> None:
    """Run Python in a folder, as root of a user namespace whose ids are a range of the host's."""
    holder = subprocess.Popen(["unshare", "--user", "cat"], stdin=subprocess.PIPE)
    try:
        own = os.readlink("/proc/self/ns/user")
        while os.readlink(f"/proc/{holder.pid}/ns/user") == own:
            assert holder.poll() is None
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/{holder.pid}/{kind}", "w", encoding="ascii") as file:
                file.write(f"0 {FIRST} 65536\n")
        enter = ["nsenter", f"--user=/proc/{holder.pid}/ns/user", "--setuid=0", "--setgid=0"]
        words = [*enter, sys.executable, "-c", text, "."]
        subprocess.run(words, check=True, cwd=folder, env={"PYTHONPATH": SRC}, timeout=30)
    finally:
        holder.communicate()


WHO = """
import json
from gpubind import userns
print(json.dumps([userns.inside(), userns.is_rootless(), userns.of({}).rules]))
"""


def test_a_process_knows_that_it_is_in_a_user_namespace() -> None:
    assert inside(WHO) == [True, True, False]


@needs_root
@pytest.mark.skipif(CLOSED, reason="the checkout is closed to other users")
def test_a_user_outside_of_any_namespace_is_rootless_too() -> None:
    user = ["setpriv", "--reuid=4321", "--regid=4321", "--clear-groups", sys.executable, "-c", WHO]
    done = subprocess.run(user, check=True, capture_output=True, env={"PYTHONPATH": SRC})
    assert json.loads(done.stdout) == [False, True, False]


PLACES = """
import json, os, sys
from gpubind import config
print(json.dumps(config.places("/etc/x", {"XDG_CONFIG_HOME": sys.argv[1]}, "")))
"""


def test_a_users_own_settings_count_though_he_is_called_root(tmp_path: Path) -> None:
    own = [f"{tmp_path}/gpubind/config.toml", f"{tmp_path}/nvidia-container-runtime/config.toml"]
    assert inside(PLACES, str(tmp_path)) == [*own, "/etc/x/config.toml"]


@needs_root
def test_somebody_elses_settings_do_not_count_in_a_namespace(tmp_path: Path) -> None:
    os.chown(tmp_path, 4321, 4321)
    assert inside(PLACES, str(tmp_path)) == ["/etc/x/config.toml"]
    assert inside(PLACES, f"{tmp_path}/absent") == ["/etc/x/config.toml"]


WRITE = """
import json, os, sys
from gpubind import folder
from gpubind.root import Root
with Root(sys.argv[1]) as root:
    folder.write(root.fd, "new", b"x")
    folder.symlink(root.fd, "there", "link")
    fd = root.make_folders("/deep/er")
    folder.write(fd, "file", b"x")
    os.close(fd)
print("0")
"""
MADE = ["deep", "deep/er", "deep/er/file", "link", "new"]


def owners(root: Path) -> set[tuple[int, int]]:
    found = [os.lstat(root / name) for name in MADE]
    return {(status.st_uid, status.st_gid) for status in found}


@needs_root
@pytest.mark.skipif(CLOSED, reason="the checkout is closed to other users, such as a range of ids")
def test_new_files_belong_to_the_owner_of_their_folder_in_a_range_of_ids(tmp_path: Path) -> None:
    root = tmp_path / "root"
    trees.build(root, {"/old": "x"})
    os.chown(root, FIRST + 33, FIRST + 34)
    ranged(WRITE, root)
    assert owners(root) == {(FIRST + 33, FIRST + 34)}


@needs_root
def test_where_the_owner_has_no_number_new_files_are_ours(tmp_path: Path) -> None:
    root = tmp_path / "root"
    trees.build(root, {"/old": "x"})
    os.chown(root, 4321, 4321)
    os.chmod(root, 0o777)
    inside(WRITE, str(root))
    assert owners(root) == {(0, 0)}


# --- a whole injection ---


def injected(tmp_path: Path, document: Any, edits: Any) -> tuple[Any, list[str]]:
    """Inject GPU 0, which is /dev/null, into a bundle; gives config.json and the notes."""
    trees.build(tmp_path, {"/cdi": trees.FOLDER, "/b/rootfs": trees.FOLDER})
    trees.build(tmp_path, {"/b/config.json": json.dumps({"root": {"path": "rootfs"}, **document})})
    registry = specs.compiled(specs.spec(containerEdits=edits))
    specs.put(f"{tmp_path}/state", registry, f"{tmp_path}/cdi")
    file = f"{tmp_path}/b/config.json"
    wanted = request.Request(("0",), ("compute",))
    settings = specs.settings(f"{tmp_path}/cdi")
    notes = injection.into(file, oci.load(file), wanted, settings, f"{tmp_path}/state")
    return oci.load(file), notes


BOUND = {
    "destination": "/dev/nvidia0",
    "source": "/dev/null",
    "type": "bind",
    "options": ["bind", "ro", "nosuid", "noexec"],
}
NULL_RULE = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
USER: Any = {"linux": {"namespaces": [{"type": "user"}]}}


@needs_root
def test_a_container_with_a_user_namespace_gets_mounts_rules_and_no_strange_group(
    tmp_path: Path,
) -> None:
    document, notes = injected(tmp_path, USER, {"additionalGids": [44]})
    assert document["mounts"] == [BOUND]
    assert document["linux"] == {**USER["linux"], "resources": {"devices": [NULL_RULE]}}
    assert "user" not in document["process"]
    assert [note.rpartition(" ")[2] for note in notes] == ["[USERNS-GROUP]"]


INJECT = """
import json, sys
from gpubind import injection, request
from gpubind.config import Config
from gpubind.oci import spec as oci
file, state, values = sys.argv[1:]
wanted = request.Request(("0",), ("compute",))
notes = injection.into(file, oci.load(file), wanted, Config(json.loads(values), ""), state)
print(json.dumps([oci.load(file), notes]))
"""


@pytest.mark.parametrize("mode", ["cdi", "legacy"])
def test_a_rootless_caller_leaves_cgroup_and_prestart_hook_alone(tmp_path: Path, mode: str) -> None:
    trees.build(tmp_path, {"/cdi": trees.FOLDER, "/b/rootfs": trees.FOLDER})
    trees.build(tmp_path, {"/b/config.json": json.dumps({"root": {"path": "rootfs"}})})
    specs.put(f"{tmp_path}/state", specs.compiled(specs.spec()), f"{tmp_path}/cdi")
    values = {**specs.settings(f"{tmp_path}/cdi").values, "nvidia-container-runtime.mode": mode}
    words = (f"{tmp_path}/b/config.json", f"{tmp_path}/state", json.dumps(values))
    document, notes = inside(INJECT, *words)
    assert notes == []
    assert BOUND in document["mounts"]
    assert "linux" not in document
    assert "hooks" not in document


@pytest.mark.parametrize("namespaces", ["user", ["user"], {"type": "user"}])
def test_namespaces_of_a_wrong_shape_are_told(tmp_path: Path, namespaces: Any) -> None:
    with pytest.raises(ToolkitError, match=r"expected a list of objects at linux\.namespaces"):
        injected(tmp_path, {"linux": {"namespaces": namespaces}}, {})


@pytest.mark.parametrize(
    ("node", "found"),
    [
        ({"type": "c", "major": 195, "minor": 7, "hostPath": "/dev/null"}, (1, 3)),
        ({"type": "c", "major": 195, "minor": 7, "path": "/dev/null"}, (1, 3)),
    ],
)
def test_a_node_to_be_bound_has_the_numbers_of_the_host(node: Any, found: tuple[int, int]) -> None:
    edits: Any = {"deviceNodes": [{"path": "/dev/nvidia7", **node}]}
    [given] = device.complete(edits, [], bind=True)["deviceNodes"]
    assert (given["major"], given["minor"]) == found


@pytest.mark.parametrize("host", ["/absent", "/etc/hostname", "/proc/self/fd/0"])
def test_a_node_to_be_bound_must_be_one_on_the_host(host: str) -> None:
    node = {"path": "/dev/x", "hostPath": host, "type": "c", "major": 195, "minor": 7}
    edits: Any = {"deviceNodes": [node]}
    with pytest.raises(ToolkitError, match="SPEC-STALE"):
        device.complete(edits, [], bind=True)
    dropped: list[str] = []
    optional: Any = {"deviceNodes": [{**node, "required": False}]}
    assert device.complete(optional, dropped, bind=True)["deviceNodes"] == []
    assert dropped[0].startswith(host)
