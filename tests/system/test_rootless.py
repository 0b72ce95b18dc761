# SPDX-License-Identifier: Apache-2.0
"""User namespaces: root gives a container one, or an ordinary user runs the shim in his own.

One installation and one configuration serve all of them.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest
from system import users
from system.engines.low_level import LowLevel

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from system.nodes import Node
    from system.place import Place

pytestmark = pytest.mark.system

FIRST = 100000
SECTION = "[nvidia-container-runtime]\n"
LEGACY = {SECTION: f'{SECTION}mode = "legacy"\n'}
COUNTER = itertools.count()


@pytest.fixture(scope="module", params=["machine", "unified"])
def place(request: pytest.FixtureRequest, scratch: str, simulated: Node) -> Iterator[Place]:
    """Give a place with a user, on this machine's cgroups and on version 2 alone."""
    assert simulated.prefix.startswith(scratch)
    with users.place(request.param, scratch) as made:
        yield made


def mapped(first: int, count: int = 65536) -> Callable[[dict[str, Any]], None]:
    """Give what puts a container into a user namespace whose root is `first` outside."""

    def change(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"].append({"type": "user"})
        for key in ("uidMappings", "gidMappings"):
            config["linux"][key] = [{"containerID": 0, "hostID": first, "size": count}]

    return change


def chowned(uid: int) -> str:
    return f"chown {uid}:{uid} ."


# --- root gives the container a user namespace ---


def test_a_container_of_root_in_a_user_namespace(
    place: Place, simulated: Node, minimal_root: str, scratch: str
) -> None:
    root = users.owned(minimal_root, scratch, FIRST)
    runtime = LowLevel(place, root, scratch, simulated.runtime)
    words = ("sh", "-c", users.SCRIPT)
    folder = runtime.bundle(words, users.GPU_0, mapped(FIRST), chowned(FIRST))
    assert users.seen(runtime.run_bundle(folder)) == users.wanted(simulated, FIRST)
    upper = f"/run/layers/{os.path.basename(folder)}/upper"
    strangers = place.run("find", upper, "!", "-uid", str(FIRST), "!", "-type", "c").stdout
    assert strangers == ""


def test_crun_makes_the_same_of_it(
    place: Place, simulated: Node, minimal_root: str, scratch: str
) -> None:
    if place.run("test", "-e", "/sys/fs/cgroup/devices", status=None).returncode:
        pytest.skip("crun wants RLIMIT_MEMLOCK raised for cgroup 2, and nobody may raise it here")
    root = users.owned(minimal_root, scratch, FIRST)
    shim = users.with_settings(simulated, scratch, "crun-shim", {"sbin/runc": "bin/crun"})
    runtime = LowLevel(place, root, scratch, shim)
    words = ("sh", "-c", users.SCRIPT)
    done = runtime.run(
        *words, environment=users.GPU_0, change=mapped(FIRST), prepare=chowned(FIRST)
    )
    assert users.seen(done) == users.wanted(simulated, FIRST)


def test_the_prestart_hook_serves_it_as_well(
    place: Place, simulated: Node, minimal_root: str, scratch: str
) -> None:
    shim = users.with_settings(simulated, scratch, "legacy-shim", LEGACY)
    root = users.owned(minimal_root, scratch, FIRST)
    runtime = LowLevel(place, root, scratch, shim)
    words = ("sh", "-c", users.SCRIPT)
    done = runtime.run(
        *words, environment=users.GPU_0, change=mapped(FIRST), prepare=chowned(FIRST)
    )
    assert users.seen(done) == users.wanted(simulated, FIRST)


def test_the_hook_acts_inside_the_namespace_though_config_is_closed_to_it(
    place: Place, simulated: Node, minimal_root: str, scratch: str
) -> None:
    def change(config: dict[str, Any]) -> None:
        mapped(FIRST)(config)
        config["mounts"].append({"destination": "/etc", "type": "tmpfs", "source": "tmpfs"})

    root = users.owned(minimal_root, scratch, FIRST)
    runtime = LowLevel(place, root, scratch, simulated.runtime)
    words = ("sh", "-c", users.SCRIPT)
    folder = runtime.bundle(words, users.GPU_0, change, chowned(FIRST))
    os.chmod(f"{folder}/config.json", 0o600)
    assert users.seen(runtime.run_bundle(folder)) == users.wanted(simulated, FIRST)


def test_a_hook_that_reads_neither_root_nor_config_acts_where_it_is(
    place: Place, simulated: Node, minimal_root: str, scratch: str
) -> None:
    def change(config: dict[str, Any]) -> None:
        mapped(FIRST)(config)
        words = ["gpubind-cdi-hook", "create-symlinks", "--link", "there::/made"]
        hook = {"path": f"{simulated.prefix}/bin/gpubind-cdi-hook", "args": words}
        config["hooks"] = {"createContainer": [hook]}

    root = users.owned(minimal_root, scratch, FIRST)
    runtime = LowLevel(place, root, scratch)
    words = ("stat", "-c", "%u %N", "/made")
    folder = runtime.bundle(words, {}, change, chowned(FIRST))
    os.chmod(f"{folder}/config.json", 0o600)
    assert users.seen(runtime.run_bundle(folder)) == ["0 '/made' -> 'there'"]


# --- an ordinary user ---


def started(
    runtime: LowLevel,
    before: tuple[str, ...],
    change: Callable[[dict[str, Any]], None] | None = None,
    status: int | None = 0,
) -> subprocess.CompletedProcess[str]:
    """Run a container with GPU 0 in a bundle that is the user's, by his own call of the shim."""
    own = f"chown {users.UID}:{users.UID} . .. ../config.json"
    place = runtime.place

    def changed(config: dict[str, Any]) -> None:
        del config["linux"]["cgroupsPath"]  # a user makes no cgroup of a name
        if change:
            change(config)

    folder = runtime.bundle(("sh", "-c", users.SCRIPT), users.GPU_0, changed, own)
    state = f"{users.RUNTIME_DIR}/runc-{next(COUNTER)}"
    call = (runtime.program, "--rootless=true", "--root", state, "run", "--bundle", folder)
    try:
        words = (*before, *call, os.path.basename(folder))
        return place.run(*words, environment=users.ENVIRONMENT, status=status)
    finally:
        place.run("umount", f"{folder}/rootfs")


def of_user(place: Place, node: Node, minimal: str, scratch: str, program: str = "") -> LowLevel:
    root = users.owned(minimal, scratch, users.UID)
    return LowLevel(place, root, scratch, program or node.runtime)


CALLS = [
    pytest.param((*users.AS_USER, *users.IN_USERNS), None, id="in-his-own-namespace"),
    pytest.param(users.AS_USER, mapped(users.UID, 1), id="outside-of-any"),
]


@pytest.mark.parametrize(("before", "change"), CALLS)
def test_a_users_container(
    place: Place, simulated: Node, minimal_root: str, scratch: str, before: Any, change: Any
) -> None:
    runtime = of_user(place, simulated, minimal_root, scratch)
    assert users.seen(started(runtime, before, change)) == users.wanted(simulated, users.UID)


def test_root_in_a_user_namespace_with_nothing_but_himself(
    place: Place, simulated: Node, minimal_root: str, scratch: str
) -> None:
    runtime = LowLevel(place, minimal_root, scratch, simulated.runtime)
    folder = runtime.bundle(("sh", "-c", users.SCRIPT), users.GPU_0)
    call = (simulated.runtime, "--rootless=true", "--root", f"/run/{os.path.basename(folder)}")
    words = (*users.IN_USERNS, *call, "run", "--bundle", folder, os.path.basename(folder))
    done = place.run(*words, status=None)
    place.run("umount", f"{folder}/rootfs")
    assert (users.seen(done), done.stderr) == (users.wanted(simulated, 0), "")


def test_one_configuration_in_mode_legacy_serves_users_without_its_hook(
    place: Place, simulated: Node, minimal_root: str, scratch: str
) -> None:
    shim = users.with_settings(simulated, scratch, "legacy-shim", LEGACY)
    runtime = of_user(place, simulated, minimal_root, scratch, shim)
    done = started(runtime, (*users.AS_USER, *users.IN_USERNS))
    assert users.seen(done) == users.wanted(simulated, users.UID)


COMPILED = f"{users.RUNTIME_DIR}/gpubind/compiled.json"


@pytest.mark.parametrize("before", [(*users.AS_USER, *users.IN_USERNS), users.AS_USER])
def test_a_user_reads_what_root_compiled_and_compiles_himself_where_that_is_stale(
    place: Place, simulated: Node, minimal_root: str, scratch: str, before: Any
) -> None:
    change = None if users.IN_USERNS[0] in before else mapped(users.UID, 1)
    runtime = of_user(place, simulated, minimal_root, scratch)
    simulated.gpubind("cdi", "compile")
    place.run("rm", "-rf", os.path.dirname(COMPILED))
    assert users.seen(started(runtime, before, change)) == users.wanted(simulated, users.UID)
    assert place.run("test", "-e", COMPILED, status=None).returncode == 1
    os.utime(simulated.spec)
    assert users.seen(started(runtime, before, change)) == users.wanted(simulated, users.UID)
    assert place.run("stat", "-c", "%u", COMPILED).stdout == f"{users.UID}\n"
    place.run("grep", "--quiet", '"driver":{"version"', COMPILED)  # the sidecar is root's


def test_a_users_own_commands_keep_state_in_his_own_folder(place: Place, simulated: Node) -> None:
    place.run("rm", "-rf", os.path.dirname(COMPILED))
    spec = f"{users.HOME}/cdi/nvidia.yaml"
    root = (f"--driver-root={simulated.root}", f"--output={spec}")
    gpubind = (*users.AS_USER, f"{simulated.prefix}/bin/gpubind")
    place.run(*gpubind, "cdi", "generate", *root, environment=users.ENVIRONMENT)
    place.run(*gpubind, "cdi", "compile", environment=users.ENVIRONMENT)
    names = place.run("ls", os.path.dirname(COMPILED)).stdout.split()
    assert names == ["compiled.json", "config.json", "sidecars"]


MASKED = "forbid device-node modification"
OPEN_PARAMS = """\
mount -t tmpfs place /proc/driver
mkdir /proc/driver/nvidia
echo 'ModifyDeviceFiles: 1' >/proc/driver/nvidia/params
trap 'umount /proc/driver' EXIT
"$@"
"""


@pytest.mark.parametrize(("of_own", "masked"), [(False, True), (True, False)])
def test_where_no_node_can_be_made_nothing_keeps_the_container_from_it(
    place: Place,
    simulated: Node,
    minimal_root: str,
    scratch: str,
    of_own: bool,  # noqa: FBT001 - a column of the table
    masked: bool,  # noqa: FBT001 - a column of the table
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["linux"]["resources"]["devices"] = []
        if of_own:
            mapped(FIRST)(config)

    runtime = LowLevel(place, minimal_root, scratch, simulated.runtime)
    folder = runtime.bundle(("true",), users.GPU_0, change)
    explain = (f"{simulated.prefix}/bin/gpubind", "explain", "--bundle", folder)
    done = place.run("sh", "-ec", OPEN_PARAMS, "sh", *explain)
    place.run("umount", f"{folder}/rootfs")
    assert (MASKED in done.stdout) is masked


@pytest.mark.parametrize(("before", "change"), CALLS)
def test_a_file_that_another_user_could_have_put_there_is_not_read(
    place: Place, simulated: Node, minimal_root: str, scratch: str, before: Any, change: Any
) -> None:
    state = f"{simulated.prefix}/run/gpubind"
    simulated.gpubind("cdi", "compile")
    place.run("rm", "-rf", os.path.dirname(COMPILED))
    place.run("chown", "4321", f"{state}/compiled.json")
    os.chmod(state, 0o775)
    try:
        runtime = of_user(place, simulated, minimal_root, scratch)
        assert users.seen(started(runtime, before, change)) == users.wanted(simulated, users.UID)
    finally:
        os.chmod(state, 0o755)
        os.unlink(f"{state}/compiled.json")
    assert place.run("stat", "-c", "%u", COMPILED).stdout == f"{users.UID}\n"
