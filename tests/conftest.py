# SPDX-License-Identifier: Apache-2.0
"""What every test shares: tests that start container engines run only when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

LEFT_OUT = pytest.StashKey[int]()

# The same examples in each run; ./dev fuzz tries others, and more.
hypothesis.settings.register_profile(
    "ordinary",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # a busy machine is no fault
)
hypothesis.settings.load_profile("ordinary")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--system",
        action="store_true",
        help="also run the tests that start container engines, in a private place",
    )
    parser.addoption(
        "--newer",
        action="store_true",
        help="with --system: all of them in the newer system, with its engines and its Python",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--system"):
        return
    left_out = [item for item in items if item.get_closest_marker("system")]
    items[:] = [item for item in items if not item.get_closest_marker("system")]
    config.stash[LEFT_OUT] = len(left_out)
    if left_out:
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Iterator[None]:
    yield
    if count := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(
            f"{count} system tests (real engines) were left out: ./dev test --system runs them"
        )
