"""A deadline that is moved on every request and hardly ever fires.

Setting a timer per request costs more than parsing one; so one timer runs, and when it fires it looks at where the
deadline has moved since. What has passed behind the time of that timer waits for another one: a timer gives the loop
a turn to read (adapters/system.py) for what had passed by its time.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final

from apigateway.ports.interfaces import ITimers

# Seconds, for what is over already: no time, and yet a timer's turn.
AT_ONCE: Final = 0.0001


class Deadline:
    """Calls `expired` once when a point of monotonic time has passed that was set by `at` and not moved since."""

    __slots__ = ("_armed", "_expired", "_now", "_timer", "_timers", "when")

    def __init__(self, timers: ITimers, now: Callable[[], float], expired: Callable[[], None]) -> None:
        self._timers = timers
        self._now = now
        self._expired = expired
        self._timer: Any = None
        self._armed = inf
        self.when = inf

    def at(self, when: float) -> None:
        """Expire at this time; replaces what was set."""
        self.when = when
        if when < self._armed:
            self._arm(when)

    def off(self) -> None:
        """Do not expire; the timer runs out by itself."""
        self.when = inf

    def stop(self) -> None:
        """Do not expire any more, and leave no timer behind; the last call. Who waited is let go: he holds this."""
        self.when = self._armed = inf
        self._expired = _nothing
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = when
        self._timer = self._timers.call_later(max(AT_ONCE, when - self._now()), self._fired)

    def _fired(self) -> None:
        armed, self._armed = self._armed, inf
        self._timer = None
        if self.when == inf:
            return
        if self.when <= armed:
            self.when = inf
            self._expired()
        else:
            self._arm(self.when)


def _nothing() -> None:
    """Nobody waits."""
