"""Ways to balance that look at the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, inf
from typing import Final, Protocol

from apigateway.flow.balance_methods import Choice, Method
from apigateway.flow.exchange import Exchange
from apigateway.flow.target_state import TargetState
from apigateway.ports.interfaces import IRandom

# Seconds in which what is known of a target's latency fades to a third: long enough to be an average, short enough
# that one that was slow is tried again within the minute.
DECAY: Final = 10.0

# What fails counts as this slow at least, in seconds: who refuses at once would be the fastest of all.
FAILED: Final = 1.0

# The least share of its weight that a target begins with: with none nothing would ever come.
LEAST: Final = 0.1


class TimedMethod(Protocol):
    """A way to balance. usable: in the order of the configuration, at least one; now: monotonic seconds."""

    def __call__(self, usable: Sequence[Choice], exchange: Exchange, now: float) -> TargetState: ...


class LeastRecentlyUsed:
    """The one whose last turn is longest ago; weights do not count (but 0 is none). states: all that may have one."""

    def __init__(self, states: Sequence[TargetState]) -> None:
        self._states = states

    def __call__(self, usable: Sequence[Choice], exchange: Exchange, now: float) -> TargetState:
        state = usable[0].state if len(usable) == 1 else min(usable, key=_turn).state
        state.turn = 1 + max([other.turn for other in self._states])
        return state


def _turn(choice: Choice) -> int:
    return choice.state.turn


class Ewma:
    """Of two that are drawn, the one with the lower latency * (active + 1) / weight.

    The latency is a moving average by time that jumps up to what is slower ("peak EWMA", as Finagle does it), so that a
    target that gets slow is avoided at once and comes back by and by. Two are drawn, not all compared: else all workers
    would rush to the one that looks best to each of them. Of whom nothing is known yet, one exchange at a time finds it
    out.
    """

    def __init__(self, random: IRandom) -> None:
        self._random: Callable[[], float] = random.random

    def __call__(self, usable: Sequence[Choice], exchange: Exchange, now: float) -> TargetState:
        count = len(usable)
        if count == 1:
            return usable[0].state
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        if second >= first:
            second += 1
        one, other = usable[first], usable[second]
        cost, other_cost = load(one, now), load(other, now)
        if cost == other_cost:
            cost = (one.state.active + 1) / one.weight
            other_cost = (other.state.active + 1) / other.weight
        return other.state if other_cost < cost else one.state


def load(choice: Choice, now: float) -> float:
    """What one more exchange would find there: seconds, by weight."""
    state = choice.state
    if state.latency < 0:
        return inf if state.active else 0.0
    return latency_of(state, now) * (state.active + 1) / choice.weight


def latency_of(state: TargetState, now: float) -> float:
    """The latency that counts now, in seconds; it fades while nothing new is learnt. Negative: not known."""
    return state.latency * exp((state.latency_at - now) / DECAY)


def observe(state: TargetState, seconds: float, now: float) -> None:
    """An attempt at this target took so long to its response head."""
    if seconds >= state.latency:
        state.latency = seconds
    else:
        kept = exp((state.latency_at - now) / DECAY)
        state.latency = state.latency * kept + seconds * (1.0 - kept)
    state.latency_at = now


class Rising:
    """Slow start: another way to balance, for which the weight of a target that came back, or is new, rises from a
    tenth to the whole within `seconds` of its first turn. Where all are new, at start, all rise alike, which changes
    no share."""

    def __init__(self, seconds: float, method: Method | None, timed: TimedMethod | None) -> None:
        self._seconds = seconds
        self._method = method
        self._timed = timed

    def __call__(self, usable: Sequence[Choice], exchange: Exchange, now: float) -> TargetState:
        weighed = self._weighed(usable, now)
        if self._timed is not None:
            return self._timed(weighed, exchange, now)
        assert self._method is not None
        return self._method(weighed, exchange)

    def _weighed(self, usable: Sequence[Choice], now: float) -> Sequence[Choice]:
        rising: list[Choice] | None = None
        for place in range(len(usable)):
            state = usable[place].state
            if state.rising_since == -inf:
                state.rising_since = now
            share = (now - state.rising_since) / self._seconds
            if share < 1.0:
                if rising is None:
                    rising = list(usable)
                rising[place] = usable[place].rising(max(LEAST, share))
        return usable if rising is None else rising
