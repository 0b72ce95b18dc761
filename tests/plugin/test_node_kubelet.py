# SPDX-License-Identifier: Apache-2.0
"""The plugin follows the kubelet: restarts, refusals, hangs, and what is done to its folder."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import grpc
import pytest
import simulated_nodes
from plugin import kubelet as kubelets
from plugin import plugins
from plugin.plugins import configured

from gpubind_plugin import keeper, standing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from plugin.kubelet import Kubelet
    from plugin.plugins import Plugin

GPU = "nvidia.com/gpu"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return simulated_nodes.node("dgx-h100", tmp_path)


@pytest.fixture
def plugin(node: Path, kubelet: Kubelet, tmp_path: Path) -> Iterator[Plugin]:
    """Give a plugin that has announced its devices to the kubelet."""
    with plugins.running(configured(node, kubelet), tmp_path / "cdi") as one:
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 8)
        yield one


@pytest.mark.usefixtures("plugin")
def test_a_restarted_kubelet_gets_all_again_and_knows_what_it_gave_away(kubelet: Kubelet) -> None:
    first = kubelet.allocate(GPU, 3, "first")
    kubelet.restart()
    kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 8)
    second = kubelet.allocate(GPU, 5, "second")
    given = [one.envs["NVIDIA_VISIBLE_DEVICES"].split(",") for one in (first, second)]
    assert len({uuid for uuids in given for uuid in uuids}) == 8


@pytest.mark.usefixtures("plugin")
def test_a_socket_that_is_removed_is_made_and_registered_again(kubelet: Kubelet) -> None:
    (kubelet.folder / "nvidia-gpu.sock").unlink()
    kubelet.until(lambda it: it.registered == [GPU, GPU] and len(it.lists().get(GPU, {})) == 8)
    assert len(kubelet.allocate(GPU, 1).envs) == 1


@pytest.mark.usefixtures("plugin")
def test_a_kubelet_that_takes_the_place_of_another_in_one_step_is_followed(
    kubelet: Kubelet,
) -> None:
    second = kubelets.Kubelet(kubelet.folder)
    second.socket = f"{kubelet.folder}/second.sock"
    second.listen()
    os.rename(second.socket, kubelet.socket)
    second.until(lambda it: len(it.lists().get(GPU, {})) == 8)
    assert kubelet.registered == [GPU]
    second.stop()


@pytest.mark.usefixtures("plugin")
def test_a_folder_that_is_wiped_is_followed(kubelet: Kubelet) -> None:
    kubelet.stop()
    for name in os.listdir(kubelet.folder):
        (kubelet.folder / name).unlink()
    kubelet.folder.rmdir()
    kubelet.start()
    kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 8)


def test_a_kubelet_that_is_not_there_is_waited_for(node: Path, short: Path, tmp_path: Path) -> None:
    kubelet = kubelets.Kubelet(short / "dp")
    with plugins.running(configured(node, kubelet), tmp_path / "cdi") as plugin:
        plugin.until(lambda: plugin.reasons() == {standing.NO_KUBELET})
        kubelet.folder.mkdir()
        path = kubelet.folder / "nvidia-gpu.sock"
        plugin.until(path.exists)
        assert plugin.reasons() == {standing.NO_KUBELET}
        kubelet.start()
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 8)
        plugin.until(lambda: not plugin.reasons())
        kubelet.stop()


def test_a_kubelet_that_refuses_is_asked_again(
    node: Path, kubelet: Kubelet, tmp_path: Path
) -> None:
    kubelet.refusal = "not now"
    with plugins.running(configured(node, kubelet), tmp_path / "cdi") as plugin:
        kubelet.until(lambda it: it.called == 2)
        plugin.until(lambda: plugin.reasons() == {standing.REFUSED})
        assert "not now" in plugin.standing.troubles[GPU].message
        kubelet.refusal = ""
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 8)
        plugin.until(lambda: not plugin.reasons())
    assert plugin.said.getvalue().count("not now") == 1


def test_a_kubelet_that_dies_in_the_middle_of_a_registration_is_no_end(
    node: Path, kubelet: Kubelet, tmp_path: Path
) -> None:
    kubelet.hanging.clear()
    with plugins.running(configured(node, kubelet), tmp_path / "cdi"):
        kubelet.until(lambda it: it.called == 1)
        kubelet.restart()
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 8)


def test_a_kubelet_that_does_not_answer_is_asked_again(
    node: Path, kubelet: Kubelet, tmp_path: Path
) -> None:
    kubelet.hanging.clear()
    with plugins.running(configured(node, kubelet), tmp_path / "cdi") as plugin:
        plugin.until(lambda: plugin.reasons() == {standing.REFUSED})
        assert "deadline" in plugin.standing.troubles[GPU].message
        kubelet.hanging.set()
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 8)


def test_at_the_end_the_sockets_go_and_the_stream_ends_without_an_error(
    plugin: Plugin, kubelet: Kubelet
) -> None:
    endpoint = kubelet.endpoints[GPU]
    plugin.stop()
    kubelet.until(lambda _: endpoint.ended is not None)
    assert endpoint.ended is grpc.StatusCode.OK
    assert os.listdir(kubelet.folder) == ["kubelet.sock"]


def test_a_socket_of_another_plugin_in_our_place_is_not_removed_at_the_end(
    plugin: Plugin, kubelet: Kubelet
) -> None:
    path = kubelet.folder / "nvidia-gpu.sock"
    beside = kubelet.folder / "other.sock"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(beside))
        plugin.stop(before=lambda: os.rename(beside, path))
        assert path.is_socket()


def test_a_stale_socket_is_replaced(node: Path, kubelet: Kubelet, tmp_path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(kubelet.folder / "nvidia-gpu.sock"))
    with plugins.running(configured(node, kubelet), tmp_path / "cdi"):
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 8)


def test_a_file_with_our_sockets_name_is_left_alone_and_told_of(
    node: Path, kubelet: Kubelet, tmp_path: Path
) -> None:
    path = kubelet.folder / "nvidia-gpu.sock"
    path.write_text("precious")
    with plugins.running(configured(node, kubelet), tmp_path / "cdi") as plugin:
        plugin.until(lambda: plugin.reasons() == {standing.SOCKET})
        assert "is no socket" in plugin.standing.troubles[GPU].message
        assert path.read_text() == "precious"
        path.unlink()
        kubelet.until(lambda it: len(it.lists().get(GPU, {})) == 8)


def test_a_folder_that_takes_no_sockets_is_told_of_with_the_reason(
    node: Path, tmp_path: Path
) -> None:
    config = configured(node, None, kubelet_socket="/proc/self/kubelet.sock")
    with plugins.running(config, tmp_path / "cdi") as plugin:
        plugin.until(lambda: plugin.reasons() == {standing.SOCKET})
        assert plugin.standing.troubles[GPU].message == (
            "/proc/self/nvidia-gpu.sock.new: No such file or directory [K8S-SOCKET]"
        )


def test_a_path_that_is_too_long_for_a_socket_is_told_of(node: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    config = configured(node, None, kubelet_socket=f"{folder}/kubelet.sock")
    with plugins.running(config, tmp_path / "cdi") as plugin:
        plugin.until(lambda: plugin.reasons() == {standing.SOCKET})
        assert "too long" in plugin.standing.troubles[GPU].message


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("ids", [["nope"], ["GPU-3053168a-df05-5583-9bd2-27dee931d716", "x"]])
def test_an_unknown_device_is_refused_in_the_fields_words(kubelet: Kubelet, ids: list[str]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        kubelet.ask(GPU, ids)
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert caught.value.details() == (
        f'invalid allocation request for "{GPU}": invalid request: unknown device: {ids[-1]}'
    )
    assert len(kubelet.lists()[GPU]) == 8


@pytest.mark.usefixtures("plugin")
def test_all_who_watch_get_the_list_and_one_who_leaves_bothers_nobody(kubelet: Kubelet) -> None:
    request = kubelet.endpoints[GPU].request
    watchers = [kubelets.Endpoint(kubelet, request) for _ in range(20)]
    kubelet.until(lambda _: all(one.lists for one in watchers))
    for one in watchers[::2]:
        one.close()
    kubelet.until(lambda _: all(one.ended is not None for one in watchers[::2]))
    (kubelet.folder / "nvidia-gpu.sock").unlink()
    kubelet.until(lambda _: all(one.ended is grpc.StatusCode.OK for one in watchers[1::2]))
    assert [len(one.lists) for one in watchers] == [1] * 20
    for one in watchers[1::2]:
        one.close()


def test_waits_double_up_to_the_longest_and_never_end_however_often_it_fails() -> None:
    waits = [keeper.backoff(failures, 1.0, 30.0) for failures in (1, 2, 3, 5, 6, 5000)]
    assert waits == [1.0, 2.0, 4.0, 16.0, 30.0, 30.0]
