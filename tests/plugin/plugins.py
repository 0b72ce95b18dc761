# SPDX-License-Identifier: Apache-2.0
"""The plugin's loop in a thread of the test, on a simulated node, beside a fake kubelet."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import threading
import time
from typing import TYPE_CHECKING, Any

from gpubind_cdi import script

from gpubind.root import Root
from gpubind_ctl.simulate import layout, play, profile
from gpubind_plugin import counts, seeing
from gpubind_plugin.config import Config
from gpubind_plugin.logs import Log
from gpubind_plugin.node import Node
from gpubind_plugin.ports import Ports
from gpubind_plugin.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from plugin.kubelet import Kubelet

TURN_S = 0.05
LIMIT_S = 120.0  # no test waits so long unless something is wrong


class Plugin:
    """A running loop: its node, what it says, and what is wrong."""

    def __init__(self, config: Config, **more: Any) -> None:
        self.said = io.StringIO()
        log = Log(stream=self.said)
        self.standing = Standing(log)
        self.loaded: Callable[[], Config] = lambda: config
        ports = more.pop("ports")
        self.node = Node(
            config,
            lambda: self.loaded(),
            counts=more.pop("counts", counts.Nobody()),
            standing=self.standing,
            log=log,
            ports=ports,
            **more,
        )
        self.loop = asyncio.new_event_loop()
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.task: asyncio.Task[None] | None = None

    def _run(self) -> None:
        self.task = self.loop.create_task(self.node.run())
        try:
            self.loop.run_until_complete(self.task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - the test asks for it
            self.failure = error
        finally:
            self.loop.close()

    def hang_up(self) -> None:
        """Do what SIGHUP does."""
        self.loop.call_soon_threadsafe(self.node.hang_up)

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + LIMIT_S
        while not holds():
            assert time.monotonic() < deadline, self.said.getvalue()
            assert self.thread.is_alive(), self.said.getvalue()
            time.sleep(0.02)

    def reasons(self) -> set[str]:
        """Give the reasons of the troubles there are."""
        return {trouble.reason for trouble in list(self.standing.troubles.values())}

    def stop(self, before: Callable[[], object] = int) -> None:
        """Do what SIGTERM does, and wait; `before` is done at once before it."""

        def end() -> None:
            before()
            if self.task is not None:
                self.task.cancel()

        if self.thread.is_alive():
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(end)
        self.thread.join(60)
        assert not self.thread.is_alive()


def scripted(folder: Path, name: str, *acts: dict[str, Any]) -> Path:
    """Lay out a simulated node with a script; `advance` has the next act happen."""
    place = str(folder / "node")
    layout.lay_out(profile.load(name), place)
    uuids = [gpu.uuid for gpu in profile.load(name).gpus]
    with Root(place) as root:
        play.begin(root, script.parse({"acts": list(acts)}, uuids))
    return folder / "node"


def advance(node: Path) -> None:
    """Have the next act of a node's script happen."""
    with Root(str(node)) as root:
        play.advance(root)


def configured(root: Path, kubelet: Kubelet | None, **more: Any) -> Config:
    """Give a configuration for a simulated node."""
    socket = kubelet.socket if kubelet is not None else ""
    place = str(root)
    return Config(
        **{
            "driver_root": place,
            "container_driver_root": place,
            "kubelet_socket": socket,
            **more,
        }
    )


@contextlib.contextmanager
def running(config: Config, specs: Path, **more: Any) -> Iterator[Plugin]:
    """Run the loop; CDI specs go to a folder of the test's."""
    see = functools.partial(seeing.see, folder=str(specs))
    again_s = more.pop("again_s", 600.0)
    more.setdefault("ports", Ports(see=see, turn_s=TURN_S, again_s=again_s))
    plugin = Plugin(config, **more)
    plugin.thread.start()
    try:
        yield plugin
    finally:
        plugin.stop()
    if plugin.failure is not None:
        raise plugin.failure
