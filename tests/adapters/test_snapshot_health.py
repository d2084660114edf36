"""Figures of targets' health from several workers, as one."""

from __future__ import annotations

import pytest

from apigateway.adapters.snapshot import COUNTED, together
from apigateway.ports.interfaces import Reading


@pytest.mark.parametrize(
    ("name", "merged"),
    [("target_breaker", 2.0), ("target_latency_seconds", 2.0), ("upstream_panic", 2.0), ("target_breaker_opened", 3.0),
     ("target_put_aside", 3.0), ("retries_over_budget", 3.0)],
)
def test_states_are_the_worst_and_counters_are_added_up(name: str, merged: float) -> None:
    labels = ("up", "one")
    assert together([Reading(name, labels, 1.0), Reading(name, labels, 2.0)]) == [Reading(name, labels, merged)]


def test_what_a_worker_counted_that_is_gone_still_counts() -> None:
    assert {"target_breaker_opened", "target_put_aside", "retries_over_budget"} <= COUNTED
