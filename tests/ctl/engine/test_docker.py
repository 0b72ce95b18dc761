# SPDX-License-Identifier: Apache-2.0
"""docker: which file is found, what its version knows, what its flags forbid, what comes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from containerd_hosts import FakeHost

from gpubind.errors import ToolkitError
from gpubind_ctl.engine.aftermath import advice
from gpubind_ctl.engine.configurator import Done
from gpubind_ctl.engine.docker import Docker
from gpubind_ctl.engine.engine import Daemon, Edit, File, Target, Wants
from gpubind_ctl.engine.journal import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubind_ctl.engine.engine import Service

MAIN = "/etc/docker/daemon.json"
SNAP = "/var/snap/docker/current/config/daemon.json"


class DockerHost(FakeHost):
    """A host with a release of docker, perhaps one that runs with some words."""

    def __init__(
        self,
        files: Mapping[str, str] | None = None,
        *,
        release: str = "27.5.1",
        running: tuple[str, ...] = (),
        unit: tuple[str, ...] = (),
        uid: int = 0,
    ) -> None:
        super().__init__(files or {}, release, unit, uid)
        self.words = running

    def running(self, service: Service) -> Daemon | None:
        """Give dockerd where it runs."""
        del service
        return Daemon(pid=7, argv=self.words, started=1.0) if self.words else None

    def output(self, *words: str) -> str:
        """Give what dockerd says of its version."""
        del words
        return f"Docker version {self.release}, build 5d6db84\n"


@pytest.mark.parametrize(
    ("host", "main", "how"),
    [
        (DockerHost(), MAIN, "dockerd reads it by default"),
        (
            DockerHost(running=("dockerd", "--config-file", "/x/d.json")),
            "/x/d.json",
            "the running dockerd names it",
        ),
        (
            DockerHost(running=("/usr/bin/dockerd", "-H", "fd://")),
            MAIN,
            "dockerd reads it by default",
        ),
        (
            DockerHost(unit=("/usr/bin/dockerd", "--config-file=/y/d.json")),
            "/y/d.json",
            "docker.service names it",
        ),
        (
            DockerHost(running=("dockerd",), unit=("dockerd", "--config-file=/y/d.json")),
            MAIN,
            "dockerd reads it by default",
        ),
        (DockerHost({SNAP: "{}"}), SNAP, "docker is a snap"),
        (
            DockerHost({SNAP: "{}"}, running=("/usr/bin/dockerd",)),
            MAIN,
            "dockerd reads it by default",
        ),
        (
            DockerHost({SNAP: "{}"}, running=("/snap/docker/2915/bin/dockerd",)),
            SNAP,
            "docker is a snap",
        ),
        (
            DockerHost(uid=1000),
            "/srv/user/.config/docker/daemon.json",
            "rootless docker reads it",
        ),
    ],
)
def test_the_file_that_dockerd_loads_is_found(host: DockerHost, main: str, how: str) -> None:
    target = Docker().find(Wants(), host)
    assert (target.main, target.how, target.version) == (main, how, (27, 5, 1))


@pytest.mark.parametrize(
    ("host", "command"),
    [
        (DockerHost(), "docker"),
        (DockerHost({SNAP: "{}"}), "snap.docker.dockerd"),
        (DockerHost(uid=1000), "--user docker"),
    ],
)
def test_the_advice_names_the_unit_that_is_restarted(host: DockerHost, command: str) -> None:
    target = Docker().find(Wants(), host)
    edit = Edit(target.main, None, b"{}")
    done = Done(target=target, record=Record(engine="docker", main=target.main), edits=(edit,))
    assert advice(Docker(), done)[-1].endswith(f": systemctl restart {command}")


def test_a_user_s_config_folder_counts_for_rootless_docker() -> None:
    host = DockerHost(uid=1000)
    host.env = {"HOME": "/srv/user", "XDG_CONFIG_HOME": "/srv/conf"}
    assert Docker().find(Wants(), host).main == "/srv/conf/docker/daemon.json"


def test_a_named_file_that_dockerd_does_not_load_is_told() -> None:
    target = Docker().find(Wants(config="/z.json"), DockerHost(running=("dockerd",)))
    assert target.main == "/z.json"
    assert target.notes == (f"warning: dockerd loads {MAIN}, not /z.json",)


@pytest.mark.parametrize(
    ("release", "text", "wanted"),
    [
        ("20.10.24+dfsg1", "{}", None),
        ("24.0.9", '{"features": {"buildkit": true}}', {"buildkit": True}),
        ("25.0.0", "{}", {"cdi": True}),
        ("27.5.1", '{"features": {"buildkit": true}}', {"buildkit": True, "cdi": True}),
        ("28.1.1", "{}", {"cdi": True}),
        ("28.2.0", "{}", None),
        ("28.5.2", '{"features": {"cdi": false}}', {"cdi": True}),
        ("29.2.0", '{"features": {"cdi": true}}', {"cdi": True}),
        ("none", "{}", {"cdi": True}),
    ],
)
def test_the_key_for_cdi_is_written_where_this_docker_has_one(
    release: str, text: str, wanted: Any
) -> None:
    one, wants = Docker(), Wants(cdi=True)
    host = DockerHost({MAIN: text}, release=release)
    target = one.find(wants, host)
    edits = one.edit(target, wants)
    one.prove(target, edits, wants)
    after = target.after(edits)
    assert json.loads(after.data(MAIN) or b"").get("features") == wanted
    assert one.read(after).cdi is (release[:2] not in ("20", "24"))


@pytest.mark.parametrize(
    ("release", "text", "wanted"),
    [
        ("27.5.1", "{}", None),
        ("27.5.1", '{"features": {"cdi": true}}', {"cdi": False}),
        ("28.5.2", "{}", {"cdi": False}),
    ],
)
def test_cdi_is_turned_off_where_it_is_on(release: str, text: str, wanted: Any) -> None:
    one, wants = Docker(), Wants(cdi=False)
    target = one.find(wants, DockerHost({MAIN: text}, release=release))
    after = target.after(one.edit(target, wants))
    assert json.loads(after.data(MAIN) or b"").get("features") == wanted


@pytest.mark.parametrize(
    ("flag", "wants"),
    [
        ("--add-runtime=crun=/usr/bin/crun", Wants()),
        ("--default-runtime=crun", Wants(default=True)),
        ("--feature=cdi=false", Wants(cdi=True)),
    ],
)
def test_what_dockerd_has_as_a_flag_may_not_stand_in_the_file(flag: str, wants: Wants) -> None:
    one = Docker()
    target = one.find(wants, DockerHost(running=("dockerd", flag)))
    with pytest.raises(ToolkitError, match=f"dockerd is started with {flag.split('=')[0]}, and"):
        one.prove(target, one.edit(target, wants), wants)


def test_a_default_of_the_flags_and_a_runtime_of_the_file_are_fine() -> None:
    one, wants = Docker(), Wants()
    target = one.find(wants, DockerHost(running=("dockerd", "--default-runtime", "runc")))
    one.prove(target, one.edit(target, wants), wants)
    assert one.read(target).default == "runc"


@pytest.mark.parametrize(
    ("default", "fine"),
    [
        ("runc", True),
        ("io.containerd.runc.v2", True),
        ("io.containerd.kata.v2", True),
        ("/usr/bin/shim", True),
        ("crun", False),
    ],
)
def test_a_default_that_nothing_defines_is_refused(default: str, *, fine: bool) -> None:
    one, wants = Docker(), Wants()
    text = json.dumps({"default-runtime": default}).encode()
    target = Target(main=MAIN, files=(File(MAIN, text),), how="")
    edits = one.edit(target, wants)
    if fine:
        one.prove(target, edits, wants)
    else:
        with pytest.raises(ToolkitError, match="which is no runtime of the file"):
            one.prove(target, edits, wants)


@pytest.mark.parametrize(
    "text",
    [
        '{\n  "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}}\n}',
        '{"default-runtime": "nvidia", "runtimes": {"nvidia": {"path": "/x/nvidia-runtime"}}}',
        '{"features": {}, "runtimes": {}}',
        '{"features": {"cdi": false}}',
        '{"default-runtime": "runc"}',
        '{"debug": true}',
    ],
)
def test_what_was_there_before_comes_back_without_the_journal_s_bytes(text: str) -> None:
    one, wants = Docker(), Wants(default=True, cdi=True)
    target = one.find(wants, DockerHost({MAIN: text}))
    former = json.loads(json.dumps(one.former(target, wants)))
    after = target.after(one.edit(target, wants))
    assert after.after(one.remove(after, wants, former)).data(MAIN) == text.encode()


def test_a_file_that_was_made_for_us_goes_when_nothing_else_is_in_it() -> None:
    one, wants = Docker(), Wants(default=True, cdi=True)
    target = one.find(wants, DockerHost())
    former = one.former(target, wants)
    after = target.after(one.edit(target, wants))
    assert after.after(one.remove(after, wants, former)).data(MAIN) is None
    more = after.data(MAIN) or b""
    mine = Target(main=MAIN, files=(File(MAIN, more.replace(b"{", b'{"a": 1,', 1)),), how="")
    assert json.loads(mine.after(one.remove(mine, wants, former)).data(MAIN) or b"") == {"a": 1}


def test_features_that_others_turned_on_since_stay() -> None:
    one, wants = Docker(), Wants(cdi=True)
    target = one.find(wants, DockerHost())
    former = one.former(target, wants)
    data = (target.after(one.edit(target, wants)).data(MAIN) or b"").replace(
        b'"cdi": true', b'"cdi": true, "buildkit": true'
    )
    now = Target(main=MAIN, files=(File(MAIN, data),), how="")
    back = now.after(one.remove(now, wants, former)).data(MAIN) or b""
    assert json.loads(back) == {"features": {"buildkit": True}}
