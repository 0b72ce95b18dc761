# SPDX-License-Identifier: Apache-2.0
"""Run the property tests with a hundred times the examples: `./dev fuzz [words for pytest]`."""

from __future__ import annotations

import sys

import pytest

EXAMPLES = 10_000


class Budget:
    """A pytest plugin that gives hypothesis more examples and no deadline."""

    def pytest_configure(self) -> None:
        """Load the larger budget before any test module is read."""
        import hypothesis

        hypothesis.settings.register_profile("fuzz", max_examples=EXAMPLES, deadline=None)
        hypothesis.settings.load_profile("fuzz")


def main(words: list[str]) -> int:
    """Run the tests that hypothesis drives and give pytest's exit status."""
    status = pytest.main(["-q", "-m", "hypothesis", *words], plugins=[Budget()])
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        print("no test here is driven by hypothesis", file=sys.stderr)
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
