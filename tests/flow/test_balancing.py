"""Which target gets an exchange: methods, roles, health, and what outlives a reload."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from zope.interface import implementer

from apigateway.config.model import Health, PassiveHealth, Target, Upstream
from apigateway.flow.balancing import Balancer, HealthChange, TargetState, TargetStates
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.faults import INTERNAL, Fault
from apigateway.ports.interfaces import IRandom
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request

NOW = 1000.0


@implementer(IRandom)
class SeededRandom:
    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def token(self, octets: int) -> bytes:
        return self._random.randbytes(octets)


def target(name: str, weight: int = 1, role: str = "primary") -> dict[str, Any]:
    return {"name": name, "url": f"http://{name}.test:9000", "weight": weight, "role": role}


def upstream(*targets: dict[str, Any], **settings: Any) -> Upstream:
    return Upstream.model_validate({"name": "u", "targets": targets, **settings})


def balancer(*targets: dict[str, Any], states: TargetStates | None = None, **settings: Any) -> Balancer:
    return Balancer(upstream(*targets, **settings), states or TargetStates(), SeededRandom())


def exchange(client: str = "203.0.113.9", path: str = "/", headers: dict[str, str] | None = None) -> Exchange:
    lines = Headers((name.encode(), value.encode()) for name, value in (headers or {}).items())
    return Exchange("1", Request(b"GET", path.encode(), lines), Connection(), client, 0.0)


def named(one: Balancer, name: str) -> TargetState:
    return next(state for state in one.states if state.name == name)


def pick(one: Balancer, now: float = NOW, tried: tuple[str, ...] = (), **kwargs: Any) -> str | None:
    state = one.pick(exchange(**kwargs), now, [named(one, name) for name in tried])
    return None if state is None else state.name


def picks(one: Balancer, count: int) -> list[str | None]:
    return [pick(one) for _ in range(count)]


def put_out(state: TargetState, how: str) -> None:
    if how == "draining":
        state.drain(True)
    elif how == "unhealthy":
        for _ in range(3):
            state.check_result(False, "status 500", NOW, Health())
    else:
        state.put_aside(NOW + 10, NOW, "5 failures in a row")


# ---- round robin


def test_round_robin_is_smooth() -> None:
    assert picks(balancer(target("a", 5), target("b"), target("c")), 7) == list("aabacaa")


def test_round_robin_is_exact_over_ten_thousand() -> None:
    one = balancer(target("a", 7), target("b", 2), target("c", 1), target("d", 0))
    counted = Counter(picks(one, 10_000))
    assert counted == {"a": 7000, "b": 2000, "c": 1000}


def test_round_robin_stays_even_when_targets_come_and_go() -> None:
    one = balancer(target("a"), target("b"), target("c"))
    picks(one, 1)
    named(one, "b").drain(True)
    assert all(abs(count - 500) <= 1 for count in Counter(picks(one, 1000)).values())
    named(one, "b").drain(False)
    counted = Counter(picks(one, 3000))
    assert all(abs(count - 1000) <= 2 for count in counted.values())


def test_the_round_goes_on_over_a_reload_and_new_weights_hold_at_once() -> None:
    states = TargetStates()
    counted: Counter[str | None] = Counter()
    for _ in range(300):
        counted.update(picks(balancer(target("a"), target("b"), target("c"), states=states), 1))
    assert counted == {"a": 100, "b": 100, "c": 100}
    heavier = balancer(target("a", 3), target("b"), target("c", 0), states=states)
    assert Counter(picks(heavier, 400)) == {"a": 300, "b": 100}


@pytest.mark.parametrize("role", ["primary", "failover", "canary", "mirror"])
def test_what_was_gained_by_much_larger_weights_is_not_made_up_for(role: str) -> None:
    states = TargetStates()
    settings = [target("a", 10_000, role), target("b", 1, role)]
    if role != "primary":
        settings.append(target("c"))
    before = balancer(*settings, states=states)
    named(before, "a").current, named(before, "b").current = -100_000, 100_000
    after = balancer(*({**one, "weight": 1} for one in settings), states=states)
    after.takes_over()
    assert named(after, "a").current == named(after, "b").current == 0
    named(after, "a").current, named(after, "b").current = -20, 20
    after.takes_over()
    assert (named(after, "a").current, named(after, "b").current) == (-20, 20)


# ---- least connections (RC-O16)


def test_least_connections_takes_the_lowest_load() -> None:
    one = balancer(target("a"), target("b", 3), balance="least-connections")
    for _ in range(30):
        named(one, "a").began()
    assert picks(one, 20) == ["b"] * 20


def test_least_connections_weighs_what_runs() -> None:
    one = balancer(target("a"), target("b", 3), balance="least-connections")
    for _ in range(4000):
        state = one.pick(exchange(), NOW)
        assert state is not None
        state.began()
    assert abs(named(one, "a").active - 1000) <= 1


def test_least_connections_spreads_calls_one_after_the_other() -> None:
    one = balancer(target("a"), target("b", 3), balance="least-connections")
    assert Counter(picks(one, 40)) == {"a": 10, "b": 30}


def test_active_is_never_below_nothing() -> None:
    one = balancer(target("a"), target("b"), balance="least-connections")
    state = named(one, "a")
    for _ in range(50):
        state.began()
    for _ in range(60):
        state.ended()
    assert state.active == 0
    assert Counter(picks(one, 100)) == {"a": 50, "b": 50}


# ---- the other methods


def test_least_recently_used() -> None:
    one = balancer(target("a"), target("b", 9), target("c"), balance="least-recently-used")
    assert picks(one, 4) == list("abca")
    named(one, "b").drain(True)
    assert picks(one, 2) == list("ca")
    named(one, "b").drain(False)
    assert picks(one, 2) == list("bc")
    assert named(one, "b").last_used == NOW


def test_least_recently_used_knows_turns_from_before_a_reload() -> None:
    states = TargetStates()
    targets = [target("a"), target("b"), target("c")]
    order = [pick(balancer(*targets, states=states, balance="least-recently-used")) for _ in range(4)]
    assert order == list("abca")


def test_random_takes_the_less_loaded_of_two() -> None:
    one = balancer(target("a"), target("b"), target("c"), balance="random")
    for _ in range(10):
        named(one, "a").began()
    assert set(picks(one, 300)) == {"b", "c"}


def test_random_draws_by_weight_where_nothing_runs() -> None:
    counted = Counter(picks(balancer(target("a", 3), target("b"), balance="random"), 4000))
    assert 2800 < counted["a"] < 3200


# ---- consistent hash


def hashed(one: Balancer, keys: int = 10_000) -> dict[str, str | None]:
    clients = (f"198.51.{number >> 8}.{number & 255}" for number in range(keys))
    return {client: pick(one, client=client) for client in clients}


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_leaving_target_moves_its_own_keys_only(count: int) -> None:
    names = [f"t{number}" for number in range(count)]
    before = hashed(balancer(*map(target, names), balance="consistent-hash"))
    for gone in names:
        one = balancer(*map(target, names), balance="consistent-hash")
        named(one, gone).drain(True)
        after = hashed(one)
        others = [target(name) for name in names if name != gone]
        rebuilt = hashed(balancer(*others, balance="consistent-hash"))
        moved = [key for key in before if before[key] != after[key]]
        assert {before[key] for key in moved} == {gone}
        assert 0 < len(moved) <= 1.2 / count * len(before)
        assert after == rebuilt


def test_hashes_are_the_same_in_every_process_and_go_by_weight() -> None:
    one = balancer(target("a", 3), target("b", 1), target("c", 0), balance="consistent-hash")
    assert [pick(one, client=f"198.51.100.{number}") for number in range(12)] == list("abaaaaabaaaa")
    counted = Counter(hashed(one).values())
    assert set(counted) == {"a", "b"}
    assert 6900 < counted["a"] < 8100


@pytest.mark.parametrize(
    ("hash_on", "same", "other"),
    [
        ({"source": "path"}, [{"path": "/a?x=1"}, {"path": "/a?x=2", "client": "10.0.0.1"}], {"path": "/b"}),
        (
            {"source": "header", "name": "X-Key"},
            [{"headers": {"x-key": "1"}}, {"headers": {"x-key": "1"}, "client": "10.0.0.1"}],
            {"headers": {"x-key": "2"}},
        ),
        (
            {"source": "cookie", "name": "sid"},
            [
                {"headers": {"cookie": "a=1; sid=77"}},
                {"headers": {"cookie": "sid=77;b=2"}, "client": "10.0.0.1"},
            ],
            {"headers": {"cookie": "asid=77"}},
        ),
        (
            {"source": "expression", "name": "request.path"},
            [{"path": "/a"}, {"path": "/a", "client": "10.0.0.1"}],
            {"path": "/b"},
        ),
    ],
)
def test_what_is_hashed(hash_on: dict[str, str], same: list[dict[str, Any]], other: dict[str, Any]) -> None:
    targets = [target(f"t{number}") for number in range(50)]
    one = Balancer(
        upstream(*targets, balance="consistent-hash", hash_on=hash_on), TargetStates(), SeededRandom(),
        lambda source: lambda exchange: exchange.request.path.decode() if source == "request.path" else "",
    )
    assert len({pick(one, **kwargs) for kwargs in same}) == 1
    assert pick(one, **same[0]) != pick(one, **other)
    by_ip = balancer(*targets, balance="consistent-hash")
    if hash_on["source"] in ("header", "cookie"):
        assert pick(one, client="198.51.100.7") == pick(by_ip, client="198.51.100.7")


@pytest.mark.parametrize(
    "hash_on", [{"source": "header"}, {"source": "cookie"}, {"source": "expression", "name": "x"}]
)
def test_a_hash_that_cannot_be_made_is_refused(hash_on: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="hash_on"):
        balancer(target("a"), balance="consistent-hash", hash_on=hash_on)


def test_a_fault_of_a_hash_expression_is_not_held_back() -> None:
    def fails(exchange: Exchange) -> str:
        raise Fault(INTERNAL)

    hash_on = {"source": "expression", "name": "x"}
    settings = upstream(target("a"), target("b"), balance="consistent-hash", hash_on=hash_on)
    one = Balancer(settings, TargetStates(), SeededRandom(), lambda source: fails)
    with pytest.raises(Fault):
        one.pick(exchange(), NOW)


# ---- roles, and what was tried


BALANCES = ["round-robin", "least-connections", "least-recently-used", "random", "consistent-hash"]


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("how", ["draining", "unhealthy", "aside"])
def test_failover_targets_in_order_where_no_primary_is_usable(balance: str, how: str) -> None:
    one = balancer(
        target("f0", 0, "failover"), target("f1", 1, "failover"), target("a"),
        target("f2", 9, "failover"), target("b"),
        balance=balance,
    )
    assert set(picks(one, 50)) <= {"a", "b"}
    put_out(named(one, "a"), how)
    assert picks(one, 3) == ["b"] * 3
    put_out(named(one, "b"), how)
    assert picks(one, 3) == ["f1"] * 3
    put_out(named(one, "f1"), how)
    assert picks(one, 3) == ["f2"] * 3
    put_out(named(one, "f2"), how)
    assert picks(one, 3) == [None] * 3


@pytest.mark.parametrize("balance", BALANCES)
def test_what_was_tried_is_taken_again_only_where_there_is_no_other(balance: str) -> None:
    one = balancer(target("a"), target("b"), target("f", 1, "failover"), balance=balance)
    assert picks_tried(one, ("a",)) == {"b"}
    assert picks_tried(one, ("b", "a")) == {"f"}
    assert picks_tried(one, ("b", "a", "f")) <= {"a", "b"}
    assert one.another([named(one, "a")], NOW)
    assert not one.another(one.states, NOW)
    alone = balancer(target("a"), balance=balance)
    assert picks_tried(alone, ("a",)) == {"a"}
    only_failover = balancer(target("a"), target("f", 1, "failover"), balance=balance)
    named(only_failover, "a").drain(True)
    assert picks_tried(only_failover, ("a", "f")) == {"f"}


def picks_tried(one: Balancer, tried: tuple[str, ...]) -> set[str | None]:
    return {pick(one, tried=tried, client=f"198.51.100.{number}") for number in range(20)}


# ---- health by traffic


PASSIVE = {"passive": {"failures": 3, "aside_for": "10s"}}


def test_failures_in_a_row_put_a_target_aside_and_time_brings_it_back() -> None:
    one = balancer(target("a"), target("b"), health=PASSIVE)
    state = named(one, "a")
    before = (503, "timeout", 200, 502, "connect-failure")
    assert [one.report(state, outcome, NOW) for outcome in before] == [None] * 5
    change = one.report(state, 504, NOW)
    assert change == HealthChange("u", "a", "aside", "3 failures in a row, the last one: 504")
    assert set(picks(one, 10)) == {"b"}
    assert pick(one, NOW + 9.9) == "b"
    assert {pick(one, NOW + 10) for _ in range(4)} == {"a", "b"}


def test_after_its_return_one_failure_is_enough_until_one_exchange_goes_well() -> None:
    one = balancer(target("a"), target("b"), health=PASSIVE)
    state = named(one, "a")
    for _ in range(3):
        one.report(state, 503, NOW)
    again = one.report(state, 503, NOW + 11)
    assert again is not None
    assert again.state == "aside"
    assert state.aside_until == NOW + 11 + 20
    back = one.report(state, 200, NOW + 32)
    assert back == HealthChange("u", "a", "back", "answered 200")
    assert [one.report(state, 503, NOW + 33), one.report(state, 503, NOW + 33)] == [None, None]


def test_a_late_good_answer_does_not_cut_the_time_aside_short() -> None:
    one = balancer(target("a"), target("b"), health=PASSIVE)
    state = named(one, "a")
    for _ in range(3):
        one.report(state, 503, NOW)
    assert one.report(state, 200, NOW + 1) is None
    assert state.aside_until == NOW + 10


@pytest.mark.parametrize("last", [target("b", 0), target("b", 1, "failover")])
def test_the_last_usable_target_is_never_put_aside(last: dict[str, Any]) -> None:
    one = balancer(target("a"), last, health=PASSIVE)
    named(one, "b").drain(True)
    state = named(one, "a")
    assert [one.report(state, 503, NOW) for _ in range(10)] == [None] * 10
    assert pick(one) == "a"


def test_a_failover_target_is_enough_to_put_the_last_primary_aside() -> None:
    one = balancer(target("a"), target("f", 1, "failover"), health=PASSIVE)
    for _ in range(3):
        one.report(named(one, "a"), "connect-failure", NOW)
    assert pick(one) == "f"


def test_passive_health_can_be_off_or_count_other_statuses() -> None:
    off = balancer(target("a"), target("b"), health={"passive": None})
    assert [off.report(named(off, "a"), 503, NOW) for _ in range(20)] == [None] * 20
    other = balancer(target("a"), target("b"), health={"passive": {"failures": 1, "statuses": [500]}})
    assert other.report(named(other, "a"), 503, NOW) is None
    assert other.report(named(other, "a"), 500, NOW) is not None
    assert PassiveHealth().statuses == (502, 503, 504)


# ---- health by checks


def test_checks_turn_health_after_so_many_in_a_row() -> None:
    """RC-O14."""
    one = balancer(target("a"), health={"path": "/ping", "unhealthy_after": 2, "healthy_after": 2})
    state = named(one, "a")
    results = enumerate((False, True, False, False, False, True, False, True, True, True), 1)
    changes = [(at, one.check_result(state, good, f"check {at}", at)) for at, good in results]
    assert [(at, change.state) for at, change in changes if change] == [(4, "unhealthy"), (9, "healthy")]
    assert (state.healthy, state.why, state.since) == (True, "check 9", 9)


def test_while_unhealthy_it_gets_nothing() -> None:
    one = balancer(target("a"), health={"path": "/ping", "unhealthy_after": 1, "healthy_after": 1})
    state = named(one, "a")
    one.check_result(state, False, "refused", NOW)
    assert pick(one) is None
    one.check_result(state, True, "status 200", NOW)
    assert pick(one) == "a"


def test_good_checks_bring_back_what_traffic_had_put_aside() -> None:
    one = balancer(target("a"), target("b"), health={**PASSIVE, "unhealthy_after": 1, "healthy_after": 1})
    state = named(one, "a")
    for _ in range(3):
        one.report(state, 503, NOW)
    one.check_result(state, False, "status 500", NOW)
    one.check_result(state, True, "status 200", NOW)
    assert state.out(NOW) == ""
    assert state.failures == 0


def test_a_target_that_is_no_longer_checked_is_not_left_unhealthy() -> None:
    one = balancer(target("a"))
    state = named(one, "a")
    put_out(state, "unhealthy")
    change = state.unchecked(NOW)
    assert change is not None
    assert change.state == "healthy"
    assert pick(one) == "a"
    assert state.unchecked(NOW) is None


# ---- states over reloads


def test_health_drain_and_load_outlive_a_reload() -> None:
    states = TargetStates()
    first = balancer(target("a"), target("b"), target("c"), target("d"), states=states)
    put_out(named(first, "a"), "unhealthy")
    put_out(named(first, "b"), "draining")
    put_out(named(first, "c"), "aside")
    named(first, "d").began()
    targets = [target("d"), target("c", 5), target("b"), target("a")]
    second = balancer(*targets, states=states, balance="least-connections")
    assert set(picks(second, 10)) == {"d"}
    assert named(second, "d").active == 1


def test_another_url_is_another_target_and_what_nobody_uses_is_forgotten() -> None:
    states = TargetStates()
    first = balancer(target("a"), states=states)
    put_out(named(first, "a"), "unhealthy")
    second = balancer({**target("a"), "url": "http://new.test"}, states=states)
    assert pick(second) == "a"
    assert len(states.all) == 2
    states.keep(second.states)
    assert len(states.all) == 1
    assert pick(balancer(target("a"), states=states)) == "a"


def test_a_name_defaults_to_host_and_port() -> None:
    one = balancer({"url": "http://127.0.0.1:9001/base"}, {"url": "https://[::1]:9"})
    assert [state.name for state in one.states] == ["127.0.0.1:9001", "[::1]:9"]


# ---- explaining


def test_why_not_tells_of_every_target_and_changes_nothing() -> None:
    one = balancer(
        target("a"), target("b"), target("c"), target("d"), target("e"), target("w", 0),
        target("f", 1, "failover"), target("g", 1, "failover"),
    )
    put_out(named(one, "c"), "draining")
    put_out(named(one, "d"), "unhealthy")
    put_out(named(one, "e"), "aside")
    before = [(state.current, state.turn, state.last_used) for state in one.states]
    told = {verdict.state.name: verdict.why_not for verdict in one.why_not(exchange(), NOW + 2.5)}
    assert told == {
        "a": "", "b": "another one by round-robin", "c": "draining", "d": "unhealthy: status 500",
        "e": "put aside for 7500ms more: 5 failures in a row", "w": "weight 0",
        "f": "failover, and a primary is usable", "g": "failover, and a primary is usable",
    }
    assert [(state.current, state.turn, state.last_used) for state in one.states] == before
    assert pick(one) == "a"
    for name in "abe":
        put_out(named(one, name), "draining")
    told = {verdict.state.name: verdict.why_not for verdict in one.why_not(exchange(), NOW)}
    assert (told["f"], told["g"]) == ("", "failover, and an earlier one is usable")


def test_targets_that_are_not_named_are_told_apart_by_port() -> None:
    states = TargetStates()
    made = [states.of("pool", Target(url=url)).name for url in ("http://a.test/x", "https://a.test/y")]
    assert made == ["a.test:80", "a.test:443"]
