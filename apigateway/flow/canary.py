"""Canaries: a part of an upstream's exchanges goes to other targets, for as long as they do no worse."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final

from apigateway.config.model import Canary as CanarySettings
from apigateway.flow.balance_methods import Choice, round_robin
from apigateway.flow.even_share import EvenShare, millionths
from apigateway.flow.exchange import Exchange
from apigateway.flow.target_state import HealthChange, TargetState, TrafficOutcome
from apigateway.text import format_duration

# The window moves in so many steps: what is counted is at most a tenth too old.
SLOTS: Final = 10


class Counts:
    """Exchanges and errors of both sides over a sliding window; with another window they begin anew."""

    __slots__ = ("_at", "_slots", "_window")

    def __init__(self) -> None:
        # Each: exchanges and errors of canaries, then of primaries.
        self._slots: list[list[int]] = [[0, 0, 0, 0] for _ in range(SLOTS)]
        self._at = 0
        self._window = 0.0

    def count(self, canary: bool, error: bool, now: float, window: float) -> None:
        """One more; window: seconds."""
        self._move(now, window)
        slot = self._slots[self._at % SLOTS]
        side = 0 if canary else 2
        slot[side] += 1
        if error:
            slot[side + 1] += 1

    def totals(self, now: float, window: float) -> list[int]:
        """Exchanges and errors of canaries, then of primaries."""
        self._move(now, window)
        return [sum(slot[place] for slot in self._slots) for place in range(4)]

    def clear(self) -> None:
        for slot in self._slots:
            slot[:] = [0, 0, 0, 0]

    def _move(self, now: float, window: float) -> None:
        if window != self._window:
            self._window, self._at = window, 0
            self.clear()
        at = int(now / window * SLOTS)
        for number in range(max(self._at + 1, at - SLOTS + 1), at + 1):
            self._slots[number % SLOTS][:] = [0, 0, 0, 0]
        self._at = at


class CanaryState:
    """What is known of an upstream's canaries; it outlives reloads.

    until: monotonic seconds, up to which there is a cool-down, which ends by itself. why: of the last one. cooling: its
    end was not told yet.
    """

    __slots__ = ("cooling", "counts", "share", "until", "why")

    def __init__(self) -> None:
        self.share = EvenShare()
        self.counts = Counts()
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
        usable = [choice for choice in self.choices if choice.state.out_until <= now]
        if not usable:
            self._cool_down(now, "no canary is usable")
            return None
        if state.cooling:
            state.cooling = False
            self._news = HealthChange(self._upstream, "canary", "back", "the cool-down is over")
        chosen = usable[0].state if len(usable) == 1 else round_robin(usable, exchange)
        chosen.last_used = now
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
        counts = self._state.counts
        counts.count(canary, error, now, compare.window)
        if not (canary and error):
            return  # nothing that could have made canaries look worse
        tried, failed, others, others_failed = counts.totals(now, compare.window)
        if tried < compare.minimum:
            return
        rate, normal = failed / tried, others_failed / others if others else 0.0
        if rate - normal > compare.worse_by:
            self._cool_down(now, f"{rate:.1%} errors of {tried}, where primaries have {normal:.1%} of {others}")

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
        tried, failed, others, others_failed = self._state.counts.totals(now, self._compare.window)
        return {
            **shown, "exchanges": tried, "errors": failed, "primary_exchanges": others,
            "primary_errors": others_failed,
        }

    def out(self, now: float) -> str:
        """Why canaries get nothing, for people; "" where they get their share."""
        left = self._state.until - now
        return f"cooling down for {format_duration(round(left, 3))} more: {self._state.why}" if left > 0 else ""

    def _cool_down(self, now: float, why: str) -> None:
        state = self._state
        state.until, state.why, state.cooling = now + self._settings.cool_down, why, True
        state.counts.clear()
        self._news = HealthChange(self._upstream, "canary", "cooling", why)
