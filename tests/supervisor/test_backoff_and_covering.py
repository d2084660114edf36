"""Who is begun again when, and who accepts for whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigateway.supervisor.backoff import Backoff
from apigateway.supervisor.covering import shares


def test_deaths_in_a_row_are_waited_for_ever_longer() -> None:
    backoff, now, pauses = Backoff(), 100.0, []
    for _ in range(10):
        backoff.serves(now)
        pauses.append(backoff.pause(now + 1))
        now += 1 + pauses[-1]
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize(("lived", "pause"), [(59.9, 1.0), (60.0, 0.0)])
def test_who_lived_long_enough_begins_at_once(lived: float, pause: float) -> None:
    backoff = Backoff()
    for _ in range(2):
        backoff.serves(0.0)
        backoff.pause(1.0)
    backoff.serves(100.0)
    assert backoff.pause(100.0 + lived) == pause


def test_who_never_served_did_not_live_long() -> None:
    backoff = Backoff()
    assert [backoff.pause(now) for now in (0.0, 100.0, 200.0)] == [0.0, 0.5, 1.0]
    assert backoff.deaths == 3


@pytest.mark.parametrize(
    ("slots", "accepting", "dealt"),
    [
        (2, [0, 1], {0: [0], 1: [1]}),
        (2, [1], {1: [1, 0]}),
        (2, [], {}),
        (4, [1], {1: [1, 0, 2, 3]}),
        (5, [0, 1], {0: [0, 2, 4], 1: [1, 3]}),
    ],
)
def test_who_accepts_for_whom(slots: int, accepting: list[int], dealt: dict[int, list[int]]) -> None:
    assert shares(slots, accepting) == dealt


@given(st.integers(1, 20), st.data())
def test_nobody_is_left_out_and_nobody_taken_twice(slots: int, data: st.DataObject) -> None:
    accepting = data.draw(st.sets(st.integers(0, slots - 1), min_size=1))
    dealt = shares(slots, accepting)
    assert sorted(slot for several in dealt.values() for slot in several) == list(range(slots))
    assert all(several[0] == worker for worker, several in dealt.items())
