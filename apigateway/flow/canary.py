"""Canaries: a part of an upstream's exchanges goes to other targets, for as long as they do no worse."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from apigateway.config.model import Canary as CanarySettings
from apigateway.flow.balance_methods import Choice, in_turn
from apigateway.flow.even_share import EvenShare, millionths
from apigateway.flow.exchange import Exchange
from apigateway.flow.failure_window import FailureWindow
from apigateway.flow.target_state import HealthChange, TargetState, TrafficOutcome
from apigateway.text import format_duration


class CanaryState:
    """What is known of an upstream's canaries; it outlives reloads.

    canaries, primaries: their exchanges and errors lately. until: monotonic seconds, up to which there is a cool-down,
    which ends by itself. why: of the last one. cooling: its end was not told yet.
    """

    __slots__ = ("canaries", "cooling", "primaries", "share", "until", "why")

    def __init__(self) -> None:
        self.share = EvenShare()
        self.canaries = FailureWindow()
        self.primaries = FailureWindow()
        self.until = -inf
        self.why = ""
        self.cooling = False


class Canaries:
    """The canaries of one revision's upstream; choices: its targets of that role, by weight."""

    def __init__(self, upstream: str, settings: CanarySettings, state: CanaryState) -> None:
        self._upstream = upstream
        self._settings = settings
        self._compare = settings.compare
        self._millionths = millionths(settings.percent)
        self._state = state
        self.choices: Sequence[Choice] = ()
        self._states: frozenset[TargetState] = frozenset()
        self._primaries: frozenset[TargetState] = frozenset()
        # Something that operators want to read, and that `report` returns with the next result.
        self._news: HealthChange | None = None

    def arrange(self, choices: Sequence[Choice], primaries: Sequence[Choice]) -> None:
        """These are the canaries, and who they are compared with, from now on."""
        self.choices = choices
        self._states = frozenset(choice.state for choice in choices)
        self._primaries = frozenset(choice.state for choice in primaries)

    def pick(self, exchange: Exchange, now: float) -> TargetState | None:
        """The canary that gets this exchange; None: the primaries get it. Exchanges of a cool-down are not made up for
        afterwards."""
        state = self._state
        if state.until > now or not state.share.take(self._millionths):
            return None
        chosen = in_turn(self.choices, exchange, now)
        if chosen is None:
            self._cool_down(now, "no canary is usable")
            return None
        if state.cooling:
            state.cooling = False
            self._news = HealthChange(self._upstream, "canary", "back", "the cool-down is over")
        return chosen

    def has(self, target: TargetState) -> bool:
        """Whether it is one of them."""
        return target in self._states

    def cools(self, now: float) -> bool:
        """Whether there is a cool-down."""
        return self._state.until > now

    def report(self, target: TargetState, outcome: TrafficOutcome, now: float) -> None:
        """An attempt ended; see Balancer.report."""
        compare = self._compare
        if compare is None or self.cools(now):
            return
        canary = target in self._states
        if not canary and target not in self._primaries:
            return
        error = outcome >= 500 if isinstance(outcome, int) else True
        canaries, primaries = self._state.canaries, self._state.primaries
        (canaries if canary else primaries).add(error, now, compare.window)
        if not (canary and error) or canaries.total < compare.minimum:
            return  # nothing that could have made canaries look worse, or too little
        primaries.move(now, compare.window)
        rate, normal = canaries.failed / canaries.total, primaries.failed / max(1, primaries.total)
        if rate - normal > compare.worse_by:
            what = f"{rate:.1%} errors of {canaries.total}, where primaries have {normal:.1%} of {primaries.total}"
            self._cool_down(now, what)

    def take_news(self) -> HealthChange | None:
        """What operators were not told yet; once."""
        news, self._news = self._news, None
        return news

    def shown(self, now: float) -> dict[str, Any]:
        """As the management API shows it."""
        shown = {
            "percent": round(self._settings.percent * 100, 4), "cooling": self.cools(now), "why": self.out(now),
        }
        if self._compare is None:
            return shown
        canaries, primaries = self._state.canaries, self._state.primaries
        for window in (canaries, primaries):
            window.move(now, self._compare.window)
        return {
            **shown, "exchanges": canaries.total, "errors": canaries.failed, "primary_exchanges": primaries.total,
            "primary_errors": primaries.failed,
        }

    def out(self, now: float) -> str:
        """Why canaries get nothing, for people; "" where they get their share."""
        left = self._state.until - now
        return f"cooling down for {format_duration(round(left, 3))} more: {self._state.why}" if left > 0 else ""

    def _cool_down(self, now: float, why: str) -> None:
        state = self._state
        state.until, state.why, state.cooling = now + self._settings.cool_down, why, True
        state.canaries.clear()
        state.primaries.clear()
        self._news = HealthChange(self._upstream, "canary", "cooling", why)
