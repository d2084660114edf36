"""Timers that are nearly always called off: one timer of the loop stands for all of the same length.

What has the same length ends in the order in which it began, so only the first of them is looked at. Setting a timer of
Twisted's and calling it off costs 3 us and leaves it behind until its time comes; here it is 0.3 us.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from apigateway.dataplane.deadline import AT_ONCE
from apigateway.ports.interfaces import ITimers

# So many may have been called off behind one that runs, beside as many as run, until they are thrown out.
MOST_IDLE: Final = 64


class EqualTimer:
    """One of them. when: monotonic seconds. waits: it was neither called nor called off."""

    __slots__ = ("_call", "_row", "waits", "when")

    def __init__(self, row: _Row, call: Callable[[], Any], when: float) -> None:
        self._row, self._call, self.when = row, call, when
        self.waits = True

    def cancel(self) -> None:
        """Call it off; nothing where it was called."""
        if self.waits:
            self.waits = False
            self._call = _nothing  # it may hold who set it
            self._row.waiting -= 1

    def fire(self) -> None:
        """Its time has come."""
        call = self._call
        self.cancel()
        call()


class _Row:
    """Those of one length, in the order of their time. waiting: how many of them have not been called off. due: the
    loop's timer is for those that have ended by then."""

    __slots__ = ("due", "timer", "timers", "waiting")

    def __init__(self) -> None:
        self.timers: deque[EqualTimer] = deque()
        self.waiting = 0
        self.due = 0.0
        self.timer: Any = None

    def tidy(self) -> None:
        """Forget what was called off: at the front, and all where it is more than what waits."""
        timers = self.timers
        while timers and not timers[0].waits:
            timers.popleft()
        if len(timers) > 2 * self.waiting + MOST_IDLE:
            self.timers = deque([one for one in timers if one.waits])


class EqualTimers:
    """Rows of timers, by their length in seconds. Lengths come from the configuration: there are few."""

    def __init__(self, timers: ITimers, now: Callable[[], float]) -> None:
        self._timers, self._now = timers, now
        self._rows: dict[float, _Row] = {}

    def call_later(self, seconds: float, call: Callable[[], Any]) -> EqualTimer:
        """Call after so many seconds, unless it is called off."""
        now = self._now()
        row = self._rows.get(seconds)
        if row is None:
            row = self._rows[seconds] = _Row()
            self._arm(row, seconds, now + seconds)
        else:
            row.tidy()
        timer = EqualTimer(row, call, now + seconds)
        row.timers.append(timer)
        row.waiting += 1
        return timer

    def close(self) -> None:
        """Call off all."""
        for row in self._rows.values():
            if row.timer is not None:
                row.timer.cancel()
            for one in row.timers:
                one.cancel()
            row.timers.clear()
        self._rows.clear()

    def _arm(self, row: _Row, seconds: float, due: float) -> None:
        now = self._now()
        row.due = max(due, now)
        row.timer = self._timers.call_later(max(AT_ONCE, due - now), self._fired, row, seconds)

    def _fired(self, row: _Row, seconds: float) -> None:
        """What ended behind the time of the loop's timer waits for another one (deadline)."""
        due, row.timer = row.due, None  # it holds the row
        try:
            row.tidy()
            while row.timers and row.timers[0].when <= due:
                row.timers[0].fire()
                row.tidy()
        finally:  # whatever one of them raised, the others wait on
            self._go_on(row, seconds)

    def _go_on(self, row: _Row, seconds: float) -> None:
        """A row in which nothing waits ends."""
        if self._rows.get(seconds) is not row:
            return  # closed by what was called
        if row.waiting:
            self._arm(row, seconds, row.timers[0].when)
        else:
            row.timers.clear()  # they hold the row
            del self._rows[seconds]


def _nothing() -> None:
    """Called off."""
