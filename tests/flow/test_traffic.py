"""What traffic does to the targets of an upstream: outliers, ceiling, breakers, panic, slow start, latency."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_balancing import NOW, balancer, exchange, named, pick, put_out, target

from apigateway.config.model import Health
from apigateway.flow.balancing import Balancer, TargetState, TargetStates
from apigateway.flow.breaker import HALF_OPEN, Ticket
from apigateway.flow.timed_methods import DECAY, latency_of, observe


class Play:
    """Exchanges with a balancer, at a time that only moves when it is told to."""

    def __init__(self, one: Balancer) -> None:
        self.one, self.now = one, NOW
        self.changes: list[tuple[str, str]] = []

    def begin(self) -> tuple[TargetState, Ticket | None] | None:
        state = self.one.pick(exchange(), self.now)
        if state is None:
            return None
        state.began()
        return state, self.one.traffic.let_in(state, self.now) if self.one.tickets else None

    def end(self, state: TargetState, ticket: Ticket | None, outcome: int | str | None) -> None:
        """outcome: None where the client left."""
        if outcome is not None:
            change = self.one.report(state, outcome, self.now, ticket)
            if change is not None:
                self.changes.append((change.target, change.state))
        state.ended()
        if ticket is not None:
            self.one.traffic.left(state, ticket, self.now)

    def ask(self, **outcomes: int | str) -> str | None:
        """One exchange; outcomes: by target, 200 where none is given."""
        begun = self.begin()
        if begun is None:
            return None
        self.end(*begun, outcomes.get(begun[0].name, 200))
        return begun[0].name

    def asks(self, count: int, **outcomes: int | str) -> Counter[str | None]:
        return Counter(self.ask(**outcomes) for _ in range(count))


def passive(**more: Any) -> dict[str, Any]:
    return {"passive": {"failures": 1000, "percent": "50%", "minimum": 10, "window": "10s", **more}}


# ---- outliers


def test_a_share_of_failures_puts_a_target_aside() -> None:
    play = Play(balancer(target("a"), target("b"), target("c"), health=passive()))
    for number in range(40):
        play.ask(a=503 if number % 2 else 200, b=200)
    assert play.changes == [("a", "aside")]
    assert "of 10 failed, the last one: 503" in named(play.one, "a").out(play.now)
    assert play.asks(10) == {"b": 5, "c": 5}
    play.now += 10
    assert play.asks(9)["a"] == 3
    assert ("a", "back") in play.changes


def test_what_was_begun_before_and_fails_meanwhile_does_not_count_when_it_is_back() -> None:
    play = Play(balancer(target("a"), target("b"), health=passive(window="1m")))
    early = [begun for begun in (play.begin() for _ in range(80)) if begun is not None]
    for state, ticket in early:
        play.end(state, ticket, 503 if state.name == "a" else 200)
    assert play.changes == [("a", "aside")]
    play.now += 10
    play.asks(20)
    play.ask(a=503)
    play.ask(a=503)
    assert play.changes == [("a", "aside"), ("a", "back")]
    assert play.asks(10)["a"] == 5


def test_too_few_exchanges_and_old_ones_say_nothing() -> None:
    play = Play(balancer(target("a"), target("b"), health=passive()))
    for _ in range(9):
        play.ask(a=503)
        play.ask(a=503)
        play.now += 3
    assert play.changes == []


@pytest.mark.parametrize(
    ("count", "ceiling", "aside"), [(4, "50%", 2), (3, "50%", 2), (2, "50%", 1), (10, "10%", 1), (10, "30%", 3),
                                    (4, "100%", 3), (1, "100%", 0), (10, "1%", 1)],
)
def test_no_more_are_aside_at_once_than_the_ceiling_allows(count: int, ceiling: str, aside: int) -> None:
    names = "abcdefghij"[:count]
    health = {"passive": {"failures": 2, "max_aside": ceiling}}
    play = Play(balancer(*map(target, names), health=health))
    play.asks(200, **dict.fromkeys(names, 503))
    assert sum(state.aside_until > NOW for state in play.one.states) == aside
    assert sum(state.out_until <= NOW for state in play.one.states) == count - aside >= 1


def test_failover_targets_count_for_the_ceiling() -> None:
    health = {"passive": {"failures": 1, "max_aside": "50%"}}
    play = Play(balancer(target("a"), target("f", role="failover"), health=health))
    assert play.asks(3, a=503) == {"a": 1, "f": 2}


def test_each_time_is_longer_up_to_the_longest_and_time_that_goes_well_takes_it_back() -> None:
    health = {"passive": {"failures": 1, "aside_for": "10s", "longest": "35s"}}
    play = Play(balancer(target("a"), target("b"), health=health))
    state, lasted = named(play.one, "a"), []
    for _ in range(5):
        while state.aside_until <= play.now:
            play.ask(a=503)
        lasted.append(state.aside_until - play.now)
        play.now = state.aside_until
    assert lasted == [10, 20, 30, 35, 35]
    play.now += 25  # two times of five are taken off
    play.asks(2, a=503)
    assert state.aside_until == play.now + 35
    play.now = state.aside_until + 1000
    play.asks(2, a=503)
    assert state.aside_until == play.now + 10


def test_one_time_may_be_longer_than_the_longest_where_it_is_written_so() -> None:
    health = {"passive": {"failures": 1, "aside_for": "1h"}}
    play = Play(balancer(target("a"), target("b"), health=health))
    play.asks(2, a=503)
    assert named(play.one, "a").aside_until == NOW + 3600


# ---- breakers


BREAKER: dict[str, Any] = {"window": "10s", "failures": 5, "open_for": "2s"}


def test_the_last_target_is_opened_too_and_then_nobody_is_left() -> None:
    play = Play(balancer(target("a"), breaker=BREAKER))
    assert play.asks(8, a=503) == {"a": 5, None: 3}
    assert play.changes == [("a", "open")]
    assert play.one.retry_after(play.now + 0.5) == 2
    play.now += 2
    begun = play.begin()
    assert begun is not None
    assert [play.begin() for _ in range(199)] == [None] * 199
    assert play.one.retry_after(play.now) == 1
    play.end(*begun, "timeout")
    assert named(play.one, "a").out_until == play.now + 2
    play.now += 2
    assert play.asks(3) == {"a": 3}
    assert play.changes == [("a", "open"), ("a", "open"), ("a", "closed")]


def test_others_take_over_and_a_failover_target_after_them() -> None:
    targets = (target("a"), target("b"), target("f", role="failover"))
    play = Play(balancer(*targets, breaker={**BREAKER, "failures": 1}))
    assert play.asks(6, a=503) == {"a": 1, "b": 5}
    assert play.asks(3, b="connect-failure", f=200) == {"b": 1, "f": 2}


def test_a_client_that_leaves_says_nothing_and_frees_its_permit() -> None:
    play = Play(balancer(target("a"), breaker={**BREAKER, "failures": 1}))
    begun = play.begin()
    assert begun is not None
    play.end(*begun, None)
    play.ask(a=503)
    play.now += 2
    for _ in range(3):
        begun = play.begin()
        assert begun is not None
        assert play.begin() is None
        play.end(*begun, None)
    assert named(play.one, "a").breaker.state == HALF_OPEN  # type: ignore[union-attr]
    assert play.ask() == "a"
    assert play.changes[-1] == ("a", "closed")


def test_failures_in_a_row_are_the_breakers_business_and_shares_are_not() -> None:
    play = Play(balancer(target("a"), target("b"), breaker={**BREAKER, "failures": 100}))
    play.asks(40, a=503)
    assert play.changes == []
    both = balancer(target("a"), target("b"), breaker={**BREAKER, "failures": 100}, health=passive())
    play = Play(both)
    play.asks(40, a=503)
    assert play.changes == [("a", "aside")]


def test_it_outlives_a_reload_and_one_that_takes_the_breaker_away_leaves_nobody_out() -> None:
    states = TargetStates()
    one = balancer(target("a"), states=states, breaker=BREAKER)
    play = Play(one)
    play.asks(5, a=503)
    again = Play(balancer(target("a"), states=states, breaker=BREAKER))
    assert again.ask() is None
    again.now += 2
    probe = again.begin()
    assert probe is not None
    without = Play(balancer(target("a"), states=states))
    without.now = again.now
    assert without.ask() is None  # the probe is not back yet
    without.one.traffic.takes_over(without.one.states)
    assert without.asks(5) == {"a": 5}
    again.end(*probe, 503)  # too late
    assert again.asks(5) == {"a": 5}


def test_a_reload_that_takes_passive_health_away_brings_back_who_was_aside() -> None:
    states = TargetStates()
    play = Play(balancer(target("a"), target("b"), states=states, health={"passive": {"failures": 1}}))
    play.asks(2, a=503)
    without = Play(balancer(target("a"), target("b"), states=states, health={"passive": None}))
    without.one.traffic.takes_over(without.one.states)
    assert without.asks(4)["a"] == 2


def test_checks_do_not_close_it() -> None:
    play = Play(balancer(target("a"), breaker=BREAKER))
    play.asks(5, a=503)
    state = named(play.one, "a")
    for good in (False, False, False, True, True):
        state.check_result(good, "check", NOW, Health())
    assert play.ask() is None
    assert state.out(NOW).startswith("breaker open")


# ---- panic


def test_health_is_ignored_while_too_few_are_usable() -> None:
    names = "abcd"
    one = balancer(*map(target, names), panic_threshold="50%")
    put_out(named(one, "a"), "unhealthy")
    put_out(named(one, "b"), "aside")
    assert Counter(pick(one) for _ in range(8)) == {"c": 4, "d": 4}
    assert not one.panics(NOW)
    put_out(named(one, "c"), "draining")
    assert one.panics(NOW)
    assert Counter(pick(one) for _ in range(9)) == {"a": 3, "b": 3, "d": 3}
    assert Counter(pick(one, NOW + 10) for _ in range(8)) == {"b": 4, "d": 4}


def test_panic_spares_breakers_and_is_off_by_default() -> None:
    one = balancer(target("a"), target("b"))
    for name in "ab":
        put_out(named(one, name), "unhealthy")
    assert pick(one) is None
    play = Play(balancer(target("a"), target("b"), panic_threshold="60%", breaker={**BREAKER, "failures": 1}))
    play.asks(2, a=503)
    assert play.one.panics(NOW)
    put_out(named(play.one, "b"), "unhealthy")
    assert play.asks(4) == {"b": 4}


# ---- slow start


@pytest.mark.parametrize("balance", ["round-robin", "random"])
def test_the_weight_of_who_came_back_rises(balance: str) -> None:
    play = Play(balancer(target("a"), target("b"), balance=balance, slow_start="10s",
                         health={"passive": {"failures": 1, "aside_for": "10s"}}))
    play.ask()
    play.now += 100
    while play.changes == []:
        play.ask(a=503)
    play.now += 10
    shares = []
    for _ in range(11):
        shares.append(play.asks(2000)["a"] / 2000)
        play.now += 1
    if balance == "round-robin":
        wanted = [max(0.1, share / 10) for share in range(11)]
        assert shares == pytest.approx([weight / (1 + weight) for weight in wanted], abs=0.01)
    else:  # nothing runs, so that the first drawn is taken
        assert shares[0] < 0.12 < shares[5] < shares[10]
    assert shares[-1] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("how", ["unhealthy", "draining"])
def test_every_return_is_slow(how: str) -> None:
    one = balancer(target("a"), target("b"), slow_start="10s")
    now = NOW + 100
    [pick(one, NOW) for _ in range(2)]
    assert Counter(pick(one, now) for _ in range(10))["a"] == 5
    put_out(named(one, "a"), how)
    pick(one, now)
    if how == "draining":
        named(one, "a").drain(False)
    else:
        for _ in range(2):
            named(one, "a").check_result(True, "status 200", now, Health())
    assert Counter(pick(one, now) for _ in range(110))["a"] == pytest.approx(10, abs=1)
    assert Counter(pick(one, now + 10) for _ in range(10))["a"] == 5


def test_where_all_are_new_none_is_preferred_and_weights_hold() -> None:
    play = Play(balancer(target("a", 3), target("b"), slow_start="1m"))
    assert play.asks(10_000) == {"a": 7500, "b": 2500}


def test_a_target_that_is_added_rises() -> None:
    states = TargetStates()
    one = balancer(target("a"), states=states, slow_start="10s")
    pick(one, NOW - 100)
    more = balancer(target("a"), target("b"), states=states, slow_start="10s")
    assert Counter(pick(more, NOW) for _ in range(110))["b"] == pytest.approx(10, abs=1)


def test_telling_why_not_begins_no_slow_start() -> None:
    one = balancer(target("a"), target("b"), slow_start="10s")
    one.why_not(exchange(), NOW)
    assert [state.rising_since for state in one.states] == [-inf, -inf]


# ---- latency


def slow(play: Play, seconds: dict[str, float], count: int = 1000) -> Counter[str]:
    """One exchange after the other, each of them as long as its target takes."""
    counted: Counter[str] = Counter()
    for _ in range(count):
        begun = play.begin()
        assert begun is not None
        play.now += seconds[begun[0].name]
        counted[begun[0].name] += 1
        play.end(*begun, 200)
    return counted


def test_ewma_prefers_who_answers_sooner_and_tries_the_others_now_and_then() -> None:
    counted = slow(Play(balancer(target("a"), target("b"), balance="ewma")), {"a": 0.010, "b": 0.100}, 5000)
    assert counted["a"] > 4900
    assert counted["b"] >= 2


def test_ewma_goes_by_what_runs_and_by_weight() -> None:
    one = balancer(target("a"), target("b", 3), balance="ewma")
    for state in one.states:
        observe(state, 0.010, NOW)
    taken: Counter[str] = Counter()
    for _ in range(40):
        state = one.pick(exchange(), NOW)
        assert state is not None
        state.began()
        taken[state.name] += 1
    assert taken == {"a": 10, "b": 30}


def test_ewma_leaves_who_becomes_slow_at_once_and_forgives_by_and_by() -> None:
    state = TargetState("u", "a", "http://a.test")
    for _ in range(100):
        observe(state, 0.010, NOW)
    observe(state, 2.0, NOW)
    assert latency_of(state, NOW) == 2.0
    observe(state, 0.010, NOW + DECAY)
    assert latency_of(state, NOW + DECAY) == pytest.approx(0.010 + 1.99 / 2.71828, rel=1e-3)
    assert latency_of(state, NOW + 20 * DECAY) < 0.001


def test_ewma_takes_no_quick_failure_for_quick_service() -> None:
    play = Play(balancer(target("a"), target("b"), balance="ewma", health={"passive": None}))
    play.one.states[1].latency = 0.050
    play.one.states[1].latency_at = NOW
    assert play.asks(100, a=503)["b"] >= 99


def test_ewma_learns_from_clients_that_do_not_wait() -> None:
    play = Play(balancer(target("a"), target("b"), balance="ewma"))
    for state in play.one.states:
        observe(state, 0.010, NOW)
    begun = play.begin()
    assert begun is not None
    play.now += 5
    play.end(*begun, None)
    assert latency_of(begun[0], play.now) == 5


def test_ewma_of_whom_nothing_is_known_gets_one_at_a_time() -> None:
    one = balancer(target("a"), target("b"), balance="ewma")
    observe(named(one, "a"), 0.010, NOW)
    taken = []
    for _ in range(5):
        state = one.pick(exchange(), NOW)
        assert state is not None
        state.began()
        taken.append(state.name)
    assert taken == ["b", "a", "a", "a", "a"]


# ---- whatever happens, in whatever order

WHAT = st.sampled_from(["begin", "begin", "begin", "fail", "fail", "well", "leave", "wait", "check", "drain"])
ALL_ON: dict[str, Any] = {
    "breaker": {"failures": 3, "open_for": "2s", "half_open_probes": 2},
    "health": {"path": "/", "unhealthy_after": 1, "healthy_after": 1,
               "passive": {"percent": "50%", "minimum": 3, "window": "5s", "aside_for": "1s", "longest": "3s"}},
    "slow_start": "5s",
}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(WHAT, st.integers(0, 40)), max_size=200),
    st.sampled_from(["round-robin", "least-connections", "random", "ewma", "consistent-hash", "least-recently-used"]),
    st.sampled_from(["0%", "50%"]),
)
def test_in_no_order_of_events_a_number_falls_below_nothing_or_a_target_stays_out(
    events: list[tuple[str, int]], balance: str, panic: str
) -> None:
    states = TargetStates()

    def made() -> Balancer:
        return balancer(*map(target, "abc"), target("f", role="failover"), states=states, balance=balance,
                        panic_threshold=panic, **ALL_ON)

    play, running = Play(made()), list[tuple[TargetState, Ticket | None]]()
    for what, number in events:
        if number == 40:
            play.one = made()  # a reload
        state = play.one.states[number % 4]
        if what == "begin":
            begun = play.begin()
            if begun is not None:
                assert begun[0].stays(play.now) or panic != "0%"
                running.append(begun)
        elif what == "wait":
            play.now += number / 10
        elif what == "check":
            play.one.check_result(state, number % 3 > 0, "check", play.now)
        elif what == "drain":
            state.drain(number % 2 == 0)
        elif running:
            outcome = {"fail": "timeout" if number % 2 else 503, "well": 200, "leave": None}[what]
            play.end(*running.pop(number % len(running)), outcome)
        assert sum(state.active for state in play.one.states) == len(running)
        assert all(state.active >= 0 and state.failures >= 0 for state in play.one.states)
        assert sum(state.aside_until > play.now for state in play.one.states) <= 2  # of four
    # The way out of everything: exchanges end, checks are good, the operator undrains, time passes, traffic goes well.
    for begun in running:
        play.end(*begun, None)
    for state in play.one.states:
        state.drain(False)
        play.one.check_result(state, True, "check", play.now)
    play.now += 3
    assert all(state.out_until <= play.now for state in play.one.states)
    for state in play.one.states:
        for _ in range(2):
            state.began()
            play.end(state, play.one.traffic.let_in(state, play.now), 200)
    assert all(state.out(play.now) == "" and state.out_until == -inf for state in play.one.states)
    assert all(state.breaker is None or state.breaker.state == 0 for state in play.one.states)
