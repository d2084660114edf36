"""Canaries: their share to the exchange, cool-downs, and how they are compared."""

from __future__ import annotations

from typing import Any

import pytest

from apigateway.config.model import Upstream
from apigateway.flow.balancing import Balancer, HealthChange, TargetState, TargetStates
from apigateway.flow.exchange import Connection, Exchange
from apigateway.ports.memory import SeededRandom
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request

NOW = 1000.0


class World:
    """An upstream of two primaries and a canary, and the time."""

    def __init__(self, states: TargetStates | None = None, canaries: int = 1, **canary: Any) -> None:
        targets = [{"name": name, "url": f"http://{name}.test"} for name in ("one", "two")]
        targets += [{"name": f"c{n}", "url": f"http://c{n}.test", "role": "canary"} for n in range(canaries)]
        self.settings = Upstream.model_validate({"name": "u", "targets": targets, "canary": canary})
        self.states = states or TargetStates()
        self.balancer = Balancer(self.settings, self.states, SeededRandom())
        self.now = NOW
        self.told: list[HealthChange] = []

    def pick(self, *tried: TargetState) -> TargetState:
        exchange = Exchange("1", Request(b"GET", b"/", Headers()), Connection(), "203.0.113.9", 0.0)
        state = self.balancer.pick(exchange, self.now, tried)
        assert state is not None
        return state

    def answer(self, state: TargetState, outcome: int | str) -> None:
        change = self.balancer.report(state, outcome, self.now)
        if change is not None:
            self.told.append(change)

    def canaries_of(self, count: int) -> int:
        return sum(self.pick().name.startswith("c") for _ in range(count))

    def state(self, name: str) -> TargetState:
        return next(state for state in self.balancer.states if state.name == name)

    def shown(self) -> dict[str, Any]:
        assert self.balancer.canaries is not None
        return self.balancer.canaries.shown(self.now)


@pytest.mark.parametrize(
    ("percent", "expected"), [("0%", 0), ("0.5%", 50), ("1%", 100), ("7%", 700), ("33.3%", 3330), ("100%", 10_000)]
)
def test_the_share_is_exact_over_ten_thousand(percent: str, expected: int) -> None:
    assert abs(World(percent=percent).canaries_of(10_000) - expected) <= max(1, expected // 100)


def test_the_share_is_evenly_spread() -> None:
    world = World(percent="20%")
    picked = [world.pick().name.startswith("c") for _ in range(100)]
    assert all(sum(picked[begin : begin + 5]) == 1 for begin in range(96))


def test_the_share_goes_on_over_reloads() -> None:
    states = TargetStates()
    assert sum(World(states, percent="10%").canaries_of(1) for _ in range(1000)) == 100


def test_several_canaries_take_turns() -> None:
    world = World(canaries=2, percent="50%")
    names = [world.pick().name for _ in range(80)]
    assert (names.count("c0"), names.count("c1"), names.count("one"), names.count("two")) == (20, 20, 20, 20)


def test_a_retry_does_not_go_to_a_canary() -> None:
    world = World(percent="100%")
    canary = world.pick()
    assert {world.pick(canary).name for _ in range(10)} == {"one", "two"}
    assert world.pick(world.state("one")).name == "two"


def test_an_unusable_canary_cools_down_and_comes_back_by_itself() -> None:
    world = World(percent="10%", cool_down="30s")
    canary = world.state("c0")
    canary.drain(True)
    assert world.canaries_of(100) == 0
    world.answer(world.state("one"), 200)
    assert [(one.target, one.state, one.why) for one in world.told] == [("canary", "cooling", "no canary is usable")]
    canary.drain(False)
    world.now += 29.9
    assert world.canaries_of(100) == 0
    assert world.shown()["cooling"] and "no canary is usable" in world.shown()["why"]
    world.now += 0.2
    # Not more than its share, either: nothing is made up for.
    assert world.canaries_of(100) == 10
    assert not world.shown()["cooling"]
    world.answer(world.state("one"), 200)
    assert [one.state for one in world.told] == ["cooling", "back"]


def compared(**more: Any) -> World:
    compare = {"window": "10s", "minimum": 10, "worse_by": "20%", **more}
    return World(percent="50%", cool_down="30s", compare=compare)


def traffic(world: World, count: int, canary_bad: int, primary_bad: int) -> None:
    """So many on each side, of which the first fail."""
    for number in range(count):
        world.answer(world.state("c0"), 500 if number < canary_bad else 200)
        world.answer(world.state("one"), 500 if number < primary_bad else 200)


@pytest.mark.parametrize(
    ("count", "canary_bad", "primary_bad", "cools"),
    [(9, 9, 0, False), (10, 10, 0, True), (20, 20, 20, False), (20, 20, 15, True), (20, 0, 20, False),
     (40, 2, 0, False)],
)  # fmt: skip
def test_a_canary_that_does_worse_cools_down(count: int, canary_bad: int, primary_bad: int, cools: bool) -> None:
    world = compared()
    traffic(world, count, canary_bad, primary_bad)
    assert world.shown()["cooling"] is cools
    assert ("cooling" in [one.state for one in world.told]) is cools


@pytest.mark.parametrize(
    ("outcome", "error"), [("timeout", True), (503, True), (499, False), (404, False), (200, False)]
)
def test_what_counts_as_an_error(outcome: int | str, error: bool) -> None:
    world = compared()
    for _ in range(12):
        world.answer(world.state("c0"), outcome)
    assert world.shown()["cooling"] is error


def test_what_is_older_than_the_window_does_not_count() -> None:
    world = compared()
    for _ in range(9):
        world.answer(world.state("c0"), 500)
    world.now += 11
    world.answer(world.state("c0"), 500)
    assert not world.shown()["cooling"]
    assert (world.shown()["exchanges"], world.shown()["errors"]) == (1, 1)


def test_after_a_cool_down_the_comparison_begins_anew_and_traffic_of_before_says_nothing() -> None:
    world = compared()
    traffic(world, 10, 10, 0)
    for _ in range(50):
        world.answer(world.state("c0"), 500)  # begun before, over now
    world.now += 31
    assert world.canaries_of(10) == 5
    traffic(world, 9, 9, 0)
    assert not world.shown()["cooling"]


def test_a_cool_down_outlives_a_reload() -> None:
    world = compared()
    traffic(world, 10, 10, 0)
    again = World(world.states, percent="50%", cool_down="30s")
    assert again.canaries_of(10) == 0
    world.states.keep([])
    assert World(world.states, percent="50%").canaries_of(10) == 5


def test_explain_changes_nothing_and_says_why_not() -> None:
    world = World(percent="20%")
    exchange = Exchange("1", Request(b"GET", b"/", Headers()), Connection(), "203.0.113.9", 0.0)
    for _ in range(20):
        verdicts = {one.state.name: one.why_not for one in world.balancer.why_not(exchange, world.now)}
    assert verdicts["c0"] == "canary: gets 20% of the exchanges"
    assert world.canaries_of(10) == 2
    world.state("c0").drain(True)
    world.canaries_of(10)
    world.state("c0").drain(False)
    verdicts = {one.state.name: one.why_not for one in world.balancer.why_not(exchange, world.now)}
    assert verdicts["c0"].startswith("cooling down for 1m more")
