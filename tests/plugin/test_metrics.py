# SPDX-License-Identifier: Apache-2.0
"""What is served over HTTP where an address is configured: figures, health, nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
import simulated_nodes
from plugin import plugins

from gpubind.errors import ToolkitError, UsageError
from gpubind_plugin import metrics, standing
from gpubind_plugin.logs import Log
from gpubind_plugin.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from plugin.kubelet import Kubelet

GPU = "nvidia.com/gpu"


@contextlib.contextmanager
def served(counts: metrics.Metrics, troubles: Standing) -> Iterator[str]:
    page = metrics.Page("0", counts, lambda: (troubles.document(), troubles.fine))
    with contextlib.closing(page):
        yield f"http://{page.address}"


def fetched(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def troubles() -> Standing:
    return Standing(Log(stream=io.StringIO()))


def test_what_was_counted_is_shown(troubles: Standing) -> None:
    counts = metrics.Metrics()
    counts.count("allocations", resource=GPU)
    counts.count("allocations", resource=GPU)
    counts.count("registrations", resource=GPU, result="failed")
    counts.devices(GPU, 8, 1)
    counts.looked(0.3, "done")
    counts.events({"xid 79": 2})
    counts.events({"xid 79": 5, "mig": 1})
    with served(counts, troubles) as address:
        status, text = fetched(f"{address}/metrics")
    assert status == 200
    lines = set(text.splitlines())
    assert lines >= {
        f'gpubind_allocations_total{{resource="{GPU}"}} 2.0',
        f'gpubind_registrations_total{{resource="{GPU}",result="failed"}} 1.0',
        f'gpubind_devices{{health="healthy",resource="{GPU}"}} 7.0',
        f'gpubind_devices{{health="unhealthy",resource="{GPU}"}} 1.0',
        'gpubind_events_total{code="79",kind="xid"} 5.0',
        'gpubind_events_total{code="",kind="mig"} 1.0',
        'gpubind_look_seconds_bucket{le="0.5",result="done"} 1.0',
        'gpubind_look_seconds_bucket{le="0.25",result="done"} 0.0',
    }
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


REASONS = sorted(
    value
    for name, value in vars(standing).items()
    if name.isupper() and isinstance(value, str) and name not in ("INFO", "WARNING")
)


def test_every_reason_is_another_word() -> None:
    assert len(REASONS) == len(set(REASONS)) > 10


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_is_shown_and_says_whether_all_that_can_be_is_served(
    troubles: Standing, reason: str
) -> None:
    with served(metrics.Metrics(), troubles) as address:
        assert fetched(f"{address}/healthz") == (200, '{\n  "status": "ok",\n  "troubles": []\n}\n')
        troubles.begins("driver", reason, "what is wrong")
        status, text = fetched(f"{address}/healthz")
    fine = reason in standing.FINE
    assert status == (200 if fine else 503)
    assert json.loads(text) == {
        "status": "degraded" if fine else "failed",
        "troubles": [{"about": "driver", "reason": reason, "message": "what is wrong"}],
    }


@pytest.mark.parametrize("path", ["/", "/debug/pprof/", "/metrics/", "/healthz/../x", "/config"])
def test_there_is_nothing_else(troubles: Standing, path: str) -> None:
    with served(metrics.Metrics(), troubles) as address:
        assert fetched(f"{address}{path}")[0] == 404


def test_nothing_but_get_is_answered(troubles: Standing) -> None:
    with served(metrics.Metrics(), troubles) as address:
        request = urllib.request.Request(f"{address}/metrics", data=b"x", method="POST")
        with pytest.raises(urllib.error.HTTPError, match="501") as caught:
            urllib.request.urlopen(request, timeout=60)
        caught.value.close()


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("9400", ("127.0.0.1", 9400)),
        (":9400", ("127.0.0.1", 9400)),
        ("0.0.0.0:9400", ("0.0.0.0", 9400)),
        ("[::1]:9400", ("::1", 9400)),
        ("node.example.com:80", ("node.example.com", 80)),
    ],
)
def test_an_address_without_a_host_is_this_hosts_alone(
    address: str, meant: tuple[str, int]
) -> None:
    assert metrics.place(address) == meant


@pytest.mark.parametrize("address", ["", "x", "host:", "host:port", "1:65536", "1:-1", "1:²"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="K8S-OPTION"):
        metrics.place(address)


def test_an_address_that_is_taken_is_an_error_at_once(troubles: Standing) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ToolkitError, match=f"can't be served at {address}.*K8S-METRICS"):
            metrics.Page(address, metrics.Metrics(), lambda: (troubles.document(), True))


def test_a_running_plugin_counts_what_it_does(kubelet: Kubelet, tmp_path: Path) -> None:
    node = simulated_nodes.node("t4", tmp_path)
    counts = metrics.Metrics()
    config = plugins.configured(node, kubelet)
    wanted = {
        f'gpubind_registrations_total{{resource="{GPU}",result="done"}} 2.0',
        f'gpubind_allocations_total{{resource="{GPU}"}} 1.0',
        f'gpubind_devices{{health="healthy",resource="{GPU}"}} 1.0',
        'gpubind_look_seconds_count{result="done"} 1.0',
    }
    with plugins.running(config, tmp_path / "cdi", counts=counts) as plugin:
        kubelet.until(lambda it: it.lists())
        kubelet.allocate(GPU, 1)
        plugin.until(lambda: "registered" in plugin.said.getvalue())
        kubelet.restart()
        plugin.until(lambda: wanted <= set(counts.text().decode().splitlines()))
