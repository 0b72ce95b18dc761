# SPDX-License-Identifier: Apache-2.0
"""podman: which file is written, what stays in it, and old hook files that inject twice."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import engine_files
import pytest
from containerd_hosts import FakeHost

from gpubind.errors import ToolkitError
from gpubind_ctl.engine import ocihook
from gpubind_ctl.engine.engine import Wants
from gpubind_ctl.engine.podman import Podman

if TYPE_CHECKING:
    from gpubind_ctl.engine.engine import Target

CASES = engine_files.cases("podman")
ETC = "/etc/containers/containers.conf"
OWN = "/etc/containers/containers.conf.d/99-nvidia.conf"
HOOK = "/usr/share/containers/oci/hooks.d/oci-nvidia-hook.json"
PEERS = ocihook.document("/usr/bin/nvidia-container-runtime-hook")
WANTS = (Wants(config=ETC), Wants(config=ETC, default=True), Wants(config=ETC, name="gpu"))


class PodmanHost(FakeHost):
    """A host with a release of podman."""

    def output(self, *words: str) -> str:
        """Give what podman says of its version."""
        del words
        return f"podman version {self.release}\n" if self.release else ""


def configured(host: FakeHost, wants: Wants) -> Target:
    one = Podman()
    target = one.find(wants, host)
    edits = one.edit(target, wants)
    one.prove(target, edits, wants)
    return target.after(edits)


def document(data: bytes | None) -> dict[str, Any]:
    return tomllib.loads((data or b"").decode("utf-8-sig"))


def test_there_are_a_hundred_of_them() -> None:
    assert len(CASES) >= 100
    assert len(set(CASES.values())) == len(CASES)


@pytest.mark.parametrize("wants", WANTS, ids=["plain", "default", "other name"])
@pytest.mark.parametrize("name", CASES)
def test_the_file_minus_our_keys_is_the_file(name: str, wants: Wants) -> None:
    one = Podman()
    new = configured(PodmanHost({ETC: CASES[name]}, "4.3.1"), wants)
    engine = document(new.data(ETC))["engine"]
    assert engine["runtimes"][wants.name][0] == wants.path
    assert engine.get("runtime") == (
        wants.name if wants.default else document(CASES[name]).get("engine", {}).get("runtime")
    )
    back = new.after(one.remove(new, wants, {})).data(ETC)
    assert back == CASES[name]


@pytest.mark.parametrize("wants", WANTS, ids=["plain", "default", "other name"])
@pytest.mark.parametrize("name", CASES)
def test_a_second_run_changes_nothing(name: str, wants: Wants) -> None:
    new = configured(PodmanHost({ETC: CASES[name]}, "4.3.1"), wants)
    again = PodmanHost({ETC: new.data(ETC) or b""}, "4.3.1")
    one = Podman()
    assert one.edit(one.find(wants, again), wants) == ()


def test_without_words_a_drop_in_is_written_and_nothing_else() -> None:
    new = configured(PodmanHost({ETC: "[engine]\nruntime = 'crun'\n"}, "4.3.1"), Wants())
    assert document(new.data(OWN)) == {
        "engine": {"runtimes": {"nvidia": ["/usr/bin/gpubind-runtime"]}}
    }
    assert new.data(ETC) == b"[engine]\nruntime = 'crun'\n"
    one = Podman()
    assert new.after(one.remove(new, Wants(), {})).data(OWN) is None


@pytest.mark.parametrize(
    ("env", "uid", "wants", "own"),
    [
        ({}, 0, Wants(), OWN),
        ({}, 0, Wants(drop_in=None), ETC),
        ({}, 0, Wants(drop_in="/x/y.conf"), "/x/y.conf"),
        ({"CONTAINERS_CONF": "/c.conf"}, 0, Wants(), "/c.conf"),
        ({"HOME": "/h"}, 7, Wants(), "/h/.config/containers/containers.conf.d/99-nvidia.conf"),
        ({"XDG_CONFIG_HOME": "/g"}, 7, Wants(drop_in=None), "/g/containers/containers.conf"),
    ],
)
def test_the_file_that_is_written(env: dict[str, str], uid: int, wants: Wants, own: str) -> None:
    host = PodmanHost({}, "4.3.1", uid=uid)
    host.env = env
    assert Podman().find(wants, host).main == own


@pytest.mark.parametrize(
    ("release", "text", "wanted"),
    [
        ("4.3.1", "", None),
        ("5.0.0", "", ["/etc/cdi", "/var/run/cdi"]),
        (
            "5.2.3",
            '[engine]\ncdi_spec_dirs = ["/opt/cdi"]\n',
            ["/opt/cdi", "/etc/cdi", "/var/run/cdi"],
        ),
        ("", "", None),
    ],
)
def test_spec_folders_are_named_where_podman_knows_the_key(
    release: str, text: str, wanted: list[str] | None
) -> None:
    wants = Wants(cdi=True)
    new = configured(PodmanHost({ETC: text}, release), wants)
    assert document(new.data(OWN))["engine"].get("cdi_spec_dirs") == wanted
    assert Podman().read(new).cdi is True


def test_a_later_file_that_overrides_ours_is_refused() -> None:
    later = "/etc/containers/containers.conf.d/99-site.conf"
    host = PodmanHost({later: '[engine.runtimes]\nnvidia = ["/opt/x"]\n'})
    with pytest.raises(ToolkitError, match="gives nvidia another program"):
        configured(host, Wants())
    host = PodmanHost({later: '[engine]\nruntime = "crun"\n'})
    with pytest.raises(ToolkitError, match="makes crun the default"):
        configured(host, Wants(default=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[engine\n", f"{ETC}:1"),
        ("engine = 1\n", f"{ETC}:1"),
        ("[engine]\nruntimes = 3\n", f"{ETC}:2"),
        ('[engine.runtimes]\n\nnvidia = "x"\n', f"{ETC}:3.*runtimes.nvidia must be a list"),
        ("[engine.runtimes]\nnvidia = [3]\n", f"{ETC}:2.*runtimes.nvidia must be a list of texts"),
        ("[engine]\nhooks_dir = 3\n", f"{ETC}:2:1: engine.hooks_dir must be a list of texts"),
        ('[engine]\nhooks_dir = [["a"]]\n', f"{ETC}:2:1: engine.hooks_dir must be"),
        ("[engine]\ncdi_spec_dirs = [3]\n", f"{ETC}:2:1: engine.cdi_spec_dirs must be"),
        ("[engine]\nruntime = 3\n", f"{ETC}:2:1: runtime must be a text"),
        ("[engine]\n[engine]\n", f"{ETC}:2"),
    ],
)
def test_a_file_podman_would_not_read_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ToolkitError, match=message):
        configured(PodmanHost({ETC: text}), Wants())


def test_an_old_hook_file_is_named_and_stays() -> None:
    host = PodmanHost({HOOK: PEERS, HOOK.replace("nvidia", "other"): b'{"hook": {"path": "/x"}}'})
    one, wants = Podman(), Wants()
    target = one.find(wants, host)
    assert one.read(target).hooks == (HOOK,)
    assert one.notes(target, wants) == (
        f"warning: {HOOK} has podman start /usr/bin/nvidia-container-runtime-hook in every "
        "container, so that GPUs are injected twice; --remove-old-hooks removes it",
    )
    assert [edit.path for edit in one.edit(target, wants)] == [OWN]


def test_an_old_hook_file_goes_when_asked_and_comes_back() -> None:
    folders = f'[engine]\nhooks_dir=["{HOOK.rpartition("/")[0]}", "/opt/h"]'
    host = PodmanHost({HOOK: PEERS, "/opt/h/a.json": PEERS, ETC: folders})
    one, wants = Podman(), Wants(sweep=True)
    target = one.find(wants, host)
    former = one.former(target, wants)
    edits = one.edit(target, wants)
    assert [(edit.path, edit.after is None) for edit in edits] == [
        (OWN, False),
        (HOOK, True),
        ("/opt/h/a.json", True),
    ]
    for edit in edits:
        host.files.pop(edit.path, None)
        if edit.after is not None:
            host.files[edit.path] = edit.after
    back = one.remove(one.find(wants, host), wants, former)
    assert {edit.path: edit.after for edit in back} == {
        OWN: None,
        HOOK: PEERS,
        "/opt/h/a.json": PEERS,
    }


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ({}, True),
        ({ETC: '[engine]\nhooks_dir = ["/opt/hooks"]\n'}, False),
        (
            {ETC: '[engine]\nhooks_dir = ["/opt/hooks", "/usr/share/containers/oci/hooks.d"]\n'},
            True,
        ),
        ({ETC: '[engine]\nhooks_dir = ["relative"]\n'}, False),
    ],
)
def test_hook_files_count_where_podman_reads_them(texts: dict[str, str], *, found: bool) -> None:
    host = PodmanHost({HOOK: PEERS, "/etc/containers/oci/hooks.d/x.json": PEERS, **texts}, "4.3.1")
    one = Podman()
    assert one.read(one.find(Wants(), host)).hooks == ((HOOK,) if found else ())


def test_a_list_that_appends_keeps_what_earlier_files_have() -> None:
    files: dict[str, bytes | str] = {
        ETC: '[engine]\nhooks_dir = ["/opt/a"]\ncdi_spec_dirs = ["/opt/cdi"]\n',
        "/etc/containers/containers.conf.d/50.conf": (
            '[engine]\nhooks_dir = ["/opt/b", {append = true}]\n'
            'cdi_spec_dirs = [{append = true}, "/x"]\n'
        ),
        "/opt/a/nvidia.json": PEERS,
        "/opt/b/nvidia.json": PEERS,
    }
    new = configured(PodmanHost(files, "5.2.3"), Wants(cdi=True))
    assert Podman().read(new).hooks == ("/opt/a/nvidia.json", "/opt/b/nvidia.json")
    assert document(new.data(OWN))["engine"]["cdi_spec_dirs"] == [
        "/opt/cdi",
        "/x",
        "/etc/cdi",
        "/var/run/cdi",
    ]
