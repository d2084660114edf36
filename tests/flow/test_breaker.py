"""Circuit breakers: each row of the table, permits, late results, and that there is always a way out."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apigateway.config.model import Breaker
from apigateway.flow.breaker import CLOSED, HALF_OPEN, OPEN, TargetBreaker, Ticket

NOW = 1000.0
FIVE = Breaker.model_validate({"window": "10s", "failures": 5, "open_for": "2s"})


def fail(one: TargetBreaker, now: float = NOW, by: Breaker = FIVE) -> bool:
    return one.result(one.let_in(now, by), "503", now, by)


def succeed(one: TargetBreaker, now: float = NOW, by: Breaker = FIVE) -> bool:
    return one.result(one.let_in(now, by), "", now, by)


def opened(by: Breaker = FIVE, now: float = NOW) -> TargetBreaker:
    one = TargetBreaker()
    while one.state != OPEN:
        fail(one, now, by)
    return one


def probes(number: int) -> Breaker:
    return FIVE.model_copy(update={"half_open_probes": number})


# ---- closed


def test_it_opens_at_the_failure_that_is_one_too_many() -> None:
    one = TargetBreaker()
    assert [fail(one) for _ in range(5)] == [False] * 4 + [True]
    assert (one.state, one.out_until, one.opened) == (OPEN, NOW + 2, 1)
    assert one.why == "5 failures in 10s, the last one: 503"


def test_failures_need_not_be_in_a_row() -> None:
    one = TargetBreaker()
    for _ in range(4):
        assert not fail(one)
        assert not succeed(one)
    assert fail(one)


@pytest.mark.parametrize(("last", "opens"), [(9.9, True), (10.1, False)])
def test_the_window_is_exact(last: float, opens: bool) -> None:
    one = TargetBreaker()
    for _ in range(4):
        fail(one, NOW)
    assert fail(one, NOW + last) is opens


PERCENT: dict[str, Any] = {"window": "10s", "percent": "50%", "minimum": 10}


@pytest.mark.parametrize(
    ("good", "bad", "opens"),
    [(5, 5, True), (6, 5, False), (0, 9, False), (0, 10, True), (50, 49, False), (50, 50, True)],
)
def test_a_share_opens_it_with_enough_exchanges(good: int, bad: int, opens: bool) -> None:
    by, one = Breaker.model_validate(PERCENT), TargetBreaker()
    for _ in range(good):
        succeed(one, by=by)
    for _ in range(bad):
        fail(one, by=by)
    assert (one.state == OPEN) is opens


def test_what_a_share_looks_at_grows_old() -> None:
    by, one = Breaker.model_validate(PERCENT), TargetBreaker()
    for number in range(9):
        fail(one, NOW + number, by)
    assert not fail(one, NOW + 30, by)
    assert one.state == CLOSED


# ---- open, half-open


def test_nobody_is_let_in_until_the_time_is_over_and_then_as_many_as_there_are_permits() -> None:
    one, by = opened(probes(3)), probes(3)
    assert one.out_until == NOW + 2
    tickets = []
    while one.out_until <= NOW + 2:  # as a balancer asks
        tickets.append(one.let_in(NOW + 2, by))
    assert (len(tickets), one.state, one.out_until) == (3, HALF_OPEN, inf)
    assert [one.result(ticket, "", NOW + 3, by) for ticket in tickets] == [False, False, True]
    assert (one.state, one.out_until) == (CLOSED, -inf)


def test_a_success_does_not_free_a_permit() -> None:
    by = probes(2)
    one = opened(by)
    first, second = one.let_in(NOW + 2, by), one.let_in(NOW + 2, by)
    assert not one.result(first, "", NOW + 3, by)
    assert one.out_until == inf
    assert one.result(second, "", NOW + 3, by)


def test_a_probe_that_fails_opens_it_anew() -> None:
    one = opened()
    probe = one.let_in(NOW + 2.5, FIVE)
    assert one.result(probe, "timeout", NOW + 5, FIVE)
    assert (one.state, one.open_until, one.opened) == (OPEN, NOW + 7, 2)
    assert one.why == "a probe failed: timeout"


def test_a_probe_that_leaves_frees_its_permit() -> None:
    one = opened()
    for number in range(3):
        probe = one.let_in(NOW + 2 + number, FIVE)
        assert one.out_until == inf
        one.left(probe)
        assert one.out_until == -inf
    assert one.result(one.let_in(NOW + 9, FIVE), "", NOW + 9, FIVE)


@pytest.mark.parametrize("late", ["", "503"])
def test_a_late_result_changes_nothing_in_any_state(late: str) -> None:
    one = TargetBreaker()
    before = [one.let_in(NOW, FIVE) for _ in range(4)]
    for _ in range(5):
        fail(one)
    assert not one.result(before[0], late, NOW + 1, FIVE)
    assert (one.state, one.open_until) == (OPEN, NOW + 2)
    probe = one.let_in(NOW + 2, FIVE)
    assert not one.result(before[1], late, NOW + 2, FIVE)
    one.left(before[2])
    assert (one.state, one.out_until) == (HALF_OPEN, inf)  # and no permit came free
    assert one.result(probe, "", NOW + 3, FIVE)
    assert not one.result(before[3], late, NOW + 3, FIVE)
    assert [fail(one, NOW + 4) for _ in range(5)] == [False] * 4 + [True]


def test_a_probe_of_an_earlier_half_open_state_is_late_as_well() -> None:
    by = probes(2)
    one = opened(by)
    first, second = one.let_in(NOW + 2, by), one.let_in(NOW + 2, by)
    assert one.result(first, "503", NOW + 3, by)
    again = one.let_in(NOW + 5, by)
    assert not one.result(second, "", NOW + 6, by)
    assert not one.result(again, "", NOW + 6, by)
    assert one.state == HALF_OPEN  # one of two went well


@pytest.mark.parametrize("at", [NOW + 1, NOW + 2.5])
def test_who_is_sent_there_all_the_same_counts_for_nothing(at: float) -> None:
    one = opened()
    probe = one.let_in(NOW + 2.5, FIVE) if at > NOW + 2 else None
    stray = one.let_in(at, FIVE)
    assert not stray.probe
    state = one.state
    assert not one.result(stray, "", at, FIVE)
    one.left(stray)
    assert one.state == state
    if probe is not None:
        assert one.result(probe, "", at, FIVE)


def test_the_number_of_permits_stays_while_it_is_half_open() -> None:
    one = opened(probes(3))
    tickets = [one.let_in(NOW + 2, probes(3)) for _ in range(2)]
    tickets.append(one.let_in(NOW + 2, probes(1)))  # a reload came in between
    assert [ticket.probe for ticket in tickets] == [True] * 3
    assert [one.result(ticket, "", NOW + 2, probes(1)) for ticket in tickets] == [False, False, True]


def test_what_operators_see() -> None:
    one = opened()
    assert one.out(NOW + 0.5) == "breaker open for 1500ms more: 5 failures in 10s, the last one: 503"
    assert one.shown(NOW + 0.5) == {
        "state": "open", "open_seconds": 1.5, "probes_running": 0, "opened": 1,
        "why": "5 failures in 10s, the last one: 503",
    }
    assert (one.shown(NOW + 2)["state"], one.out(NOW + 2)) == ("half-open", "")
    one.let_in(NOW + 2, FIVE)
    assert one.out(NOW + 2) == "breaker half-open: all probes are running (1), 0 went well"
    assert one.shown(NOW + 2)["probes_running"] == 1


# ---- whatever happens, in whatever order

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "fail", "fail", "well", "leave", "wait", "stray"]),
        st.integers(0, 50), st.integers(1, 4),
    ),
    max_size=200,
)
WAYS = st.sampled_from([{"failures": 3}, {"percent": "50%", "minimum": 4}])


@settings(max_examples=300, deadline=None)
@given(EVENTS, WAYS)
def test_no_order_of_events_breaks_it_and_there_is_always_a_way_out(
    events: list[tuple[str, int, int]], way: dict[str, Any]
) -> None:
    one, now, running = TargetBreaker(), NOW, list[tuple[Ticket, Breaker]]()
    by = Breaker.model_validate({"open_for": "2s", "half_open_probes": 1, **way})
    for what, which, number in events:
        by = by.model_copy(update={"half_open_probes": number})  # a reload at every step
        if what == "wait":
            now += which / 10
        elif what in ("come", "stray") and (what == "stray" or one.out_until <= now):
            running.append((one.let_in(now, by), by))
        elif what in ("fail", "well", "leave") and running:
            ticket, then = running.pop(which % len(running))
            if what == "leave":
                one.left(ticket)
            else:
                one.result(ticket, "503" if what == "fail" else "", now, then)
        probing = [ticket for ticket, _ in running if ticket.probe and ticket.generation == one.generation]
        if one.state == HALF_OPEN:
            assert one._running == len(probing)
            assert 0 <= one._running + one._passed <= one._permits
        else:
            assert not probing
        assert one.state == CLOSED or one.out_until == inf or one.out_until <= now + 2
    # Everybody leaves, time passes, and what comes then goes well: it closes, by as many probes as it wants.
    for ticket, _ in running:
        one.left(ticket)
    now += 2
    for _ in range(4):
        if one.state != CLOSED:
            assert one.out_until <= now
            one.result(one.let_in(now, by), "", now, by)
    assert one.state == CLOSED
