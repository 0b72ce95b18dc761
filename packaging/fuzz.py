# SPDX-License-Identifier: Apache-2.0
"""Give a target what nobody thought of: `./dev fuzz TARGET SECONDS`.

atheris drives the target, guided by what its inputs reach; where atheris can't be installed,
hypothesis drives it blindly and a line says so. Inputs that reached something new are kept in
.cache/fuzz/TARGET and begin the next run; one that fails is kept there as crash-*. Without a
target, all property tests run with a hundred times the examples. Exit status 0: nothing was found.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuzz_targets import Target
    from hypothesis.strategies import SearchStrategy

EXAMPLES = 10_000
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LONGEST = 1 << 14  # bytes of an input
LIMITS = (f"-max_len={LONGEST}", "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1")


class Budget:
    """A pytest plugin that gives hypothesis more examples, other ones each time, no deadline."""

    def pytest_configure(self) -> None:
        """Load the larger budget before any test module is read."""
        import hypothesis

        settings = hypothesis.settings
        settings.register_profile(
            "fuzz", settings(), max_examples=EXAMPLES, derandomize=False, print_blob=True
        )
        settings.load_profile("fuzz")


def everything(words: list[str]) -> int:
    """Run the tests that hypothesis drives and give pytest's exit status."""
    import pytest

    status = pytest.main(["-q", "-m", "hypothesis", *words], plugins=[Budget()])
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        print("no test here is driven by hypothesis", file=sys.stderr)
    return int(status)


def guided(name: str, seconds: int, folder: str) -> None:
    """Let atheris drive a target; it ends the process itself. Raises ImportError without it."""
    import atheris

    with atheris.instrument_imports(include=["gpubind", "gpubind_cdi", "gpubind_hooks"]):
        target = importlib.import_module("fuzz_targets").TARGETS[name]
    words = os.path.join(folder, "words.txt")
    seeds = os.path.join(folder, "seeds")
    os.makedirs(os.path.join(folder, "corpus"), exist_ok=True)
    os.makedirs(seeds, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        with open(os.path.join(seeds, str(number)), "wb") as file:
            file.write(seed)
    with open(words, "w", encoding="ascii") as file:
        file.writelines(f'"{_escaped(word)}"\n' for word in target.words)
    places = [os.path.join(folder, "corpus"), seeds]
    more = [f"-max_total_time={seconds}", f"-dict={words}", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *LIMITS, *more, *places], target.run)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(letter if letter.isalnum() else f"\\x{ord(letter):02x}" for letter in word)


def inputs(target: Target) -> SearchStrategy[bytes]:
    """Give hypothesis damaged seeds, a target's words in any order, and any bytes."""
    from hypothesis import strategies as st

    change = st.tuples(st.integers(0, LONGEST), st.integers(0, 9), st.binary(max_size=9))
    damaged = st.builds(_damaged, st.sampled_from(target.seeds), st.lists(change, max_size=8))
    words = st.lists(st.sampled_from([*target.words, ""]) | st.text(max_size=4), max_size=30)
    texts = words.map(lambda known: "".join(known).encode("utf-8", "surrogatepass"))
    return damaged | texts | st.binary(max_size=200)


def _damaged(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    data = bytearray(seed)
    for place, length, written in changes:
        start = place % (len(data) + 1)
        data[start : start + length] = written
    return bytes(data)


def blind(target: Target, seconds: float) -> int:
    """Let hypothesis drive a target; give how many inputs it had. Lets a failure through."""
    import hypothesis

    end, done = time.monotonic() + seconds, 0

    @hypothesis.settings(
        max_examples=1000,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),  # a busy machine is no finding
    )
    @hypothesis.given(inputs(target))
    def drive(data: bytes) -> None:
        nonlocal done
        done += 1
        target.run(data)

    while time.monotonic() < end:
        drive()
    return done


def main(words: list[str]) -> int:
    """Fuzz one target for some seconds, or run all property tests."""
    if not words or words[0].startswith("-") or "/" in words[0]:
        return everything(words)
    if len(words) != 2 or not words[1].isdigit():
        print("usage: ./dev fuzz [TARGET SECONDS]", file=sys.stderr)
        return 2
    name, seconds = words[0], int(words[1])
    try:
        guided(name, seconds, os.path.join(ROOT, ".cache/fuzz", name))
    except ImportError as error:
        if error.name != "atheris":
            raise
    except KeyError:
        pass
    targets = importlib.import_module("fuzz_targets").TARGETS
    if name not in targets:
        print(f"no target {name}; there are: {', '.join(targets)}", file=sys.stderr)
        return 2
    print("atheris is not here: hypothesis drives the target, unguided", file=sys.stderr)
    print(f"{name}: {blind(targets[name], seconds)} inputs, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
