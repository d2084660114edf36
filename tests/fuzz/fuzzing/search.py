"""Looking for an input that a target fails on: by Hypothesis, which also makes what it finds smaller."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

from fuzzing.mutation import LONGEST, mutated
from fuzzing.target import Target, tried

_SCRIPTS = st.binary(max_size=48)
_NOISE = st.binary(max_size=512)


@dataclass(slots=True)
class Found:
    """What came of a search. slowest: seconds of CPU of one input, and its octets."""

    inputs: int = 0
    slowest: float = 0.0
    slowest_input: bytes = b""
    failure: BaseException | None = None
    failing: bytes | None = None


def inputs_of(target: Target) -> st.SearchStrategy[bytes]:
    """Nine inputs in ten are made out of seeds, one of nothing."""
    made = _SCRIPTS.map(lambda script: mutated(target.seeds, target.words, script))
    words = st.lists(st.sampled_from([*target.words, *target.seeds]), max_size=12).map(
        lambda parts: b"".join(parts)[:LONGEST]
    )
    return st.integers(0, 9).flatmap(lambda which: _NOISE if which == 9 else words if which == 8 else made)


def search(
    target: Target,
    *,
    examples: int,
    first: int,
    before: Callable[[bytes], None] = lambda data: None,
    until: float = math.inf,
) -> Found:
    """Try so many inputs, always the same ones for the same `first`. before: told each input before it is tried.
    until: try none after this moment of the monotonic clock."""
    found = Found()

    @seed(first)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        print_blob=False,
        report_multiple_bugs=False,
    )
    @given(inputs_of(target))
    def attempt(data: bytes) -> None:
        if time.monotonic() > until and found.failing is None:
            return
        before(data)
        found.inputs += 1
        try:
            seconds = tried(target, data)
        except BaseException:
            found.failing = data
            raise
        if seconds > found.slowest:
            found.slowest, found.slowest_input = seconds, data

    try:
        attempt()
    except KeyboardInterrupt:
        raise
    except BaseException as failure:
        found.failure = failure
    return found
