"""Counters of limits, one class per algorithm. Each is driven by the caller's clock; none keeps a timer.

The caller asks `free`, compares, then `take`s or asks `wait`; the three are called with the same `now`, in
seconds since 1970 by a clock that never goes back.
"""

from __future__ import annotations

import math
from typing import Protocol

from apigateway.ports.interfaces import Limit

SLOTS = 100
# Rounding must not turn three thirds of a bucket into a little less than one unit.
_ROUNDING = 1e-9


class Counter(Protocol):
    """How much of a limit is in use. ends: when nothing of it is any more, so that it may be forgotten."""

    ends: float

    def free(self, limit: Limit, now: float) -> int:
        """Units left; below zero where the limit was lowered."""

    def take(self, limit: Limit, now: float, cost: int) -> None:
        """Count so many units, whatever is left."""

    def wait(self, limit: Limit, now: float, lacking: int) -> float:
        """Seconds until so many more units will be free (1 <= lacking <= those in use)."""


class SlidingWindow:
    """Never more than `limit` units in ANY window of length `period`.

    Units are counted in slots of a hundredth of the period. A slot's units are free again once the whole slot
    is out of the window, so a unit is held for one period and up to one slot more: the bound is exact from
    above, and a steady caller gets at least 100/101 of the limit.
    """

    __slots__ = ("_counts", "_slots", "_used", "ends")

    def __init__(self, now: float) -> None:
        self._slots: list[int] = []
        self._counts: list[int] = []
        self._used = 0
        self.ends = now

    def free(self, limit: Limit, now: float) -> int:
        slots = self._slots
        if slots:
            gone = int(now * SLOTS / limit.period) - SLOTS
            if slots[0] < gone:
                self._forget(gone)
        return limit.limit - self._used

    def take(self, limit: Limit, now: float, cost: int) -> None:
        slot = int(now * SLOTS / limit.period)
        if self._slots and self._slots[-1] == slot:
            self._counts[-1] += cost
        else:
            self._slots.append(slot)
            self._counts.append(cost)
            self.ends = _end_of(slot, limit.period)
        self._used += cost

    def wait(self, limit: Limit, now: float, lacking: int) -> float:
        freed = 0
        for slot, count in zip(self._slots, self._counts, strict=True):
            freed += count
            if freed >= lacking:
                return _end_of(slot, limit.period) - now
        return self.ends - now

    def _forget(self, gone: int) -> None:
        old = 0
        while old < len(self._slots) and self._slots[old] < gone:
            self._used -= self._counts[old]
            old += 1
        del self._slots[:old]
        del self._counts[:old]


def _end_of(slot: int, period: float) -> float:
    return (slot + SLOTS + 1) * period / SLOTS


class FixedWindow:
    """At most `limit` units between two multiples of the period; twice as many may pass around one."""

    __slots__ = ("_used", "_window", "ends")

    def __init__(self, now: float) -> None:
        self._window = -1
        self._used = 0
        self.ends = now

    def free(self, limit: Limit, now: float) -> int:
        window = int(now / limit.period)
        if window != self._window:
            self._window = window
            self._used = 0
        return limit.limit - self._used

    def take(self, limit: Limit, now: float, cost: int) -> None:
        self._used += cost
        self.ends = (self._window + 1) * limit.period

    def wait(self, limit: Limit, now: float, lacking: int) -> float:
        return (self._window + 1) * limit.period - now


class TokenBucket:
    """A bucket of `limit` units, refilled evenly so that an empty one is full after `period`.

    What is kept is how much is missing from a full bucket.
    """

    __slots__ = ("_missing", "_seen", "ends")

    def __init__(self, now: float) -> None:
        self._missing = 0.0
        self._seen = 0.0
        self.ends = now

    def free(self, limit: Limit, now: float) -> int:
        if self._missing:
            self._missing = max(0.0, self._missing - (now - self._seen) * limit.limit / limit.period)
        self._seen = now
        return math.floor(limit.limit - self._missing + _ROUNDING)

    def take(self, limit: Limit, now: float, cost: int) -> None:
        self._missing += cost
        self.ends = now + self._missing * limit.period / limit.limit

    def wait(self, limit: Limit, now: float, lacking: int) -> float:
        there = limit.limit - self._missing
        short = lacking - (there - math.floor(there + _ROUNDING))
        return short * limit.period / limit.limit


COUNTERS: dict[str, type[SlidingWindow] | type[FixedWindow] | type[TokenBucket]] = {
    "sliding-window": SlidingWindow,
    "fixed-window": FixedWindow,
    "token-bucket": TokenBucket,
}
