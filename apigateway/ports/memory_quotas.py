"""Quotas of one worker, in its memory: for tests, and for while a real store cannot be asked."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf

from zope.interface import implementer

from apigateway.ports.interfaces import Decision, IClock, IQuotaStore, Quota, StoreUnavailable, Usage
from apigateway.ports.quota_counting import Window, decide, window_at

MOST_COUNTERS = 200_000
LOOKED_AT = 2


@implementer(IQuotaStore)
class MemoryQuotas:
    """An IQuotaStore that answers at once, by the wall clock.

    It holds `most` counters; past that the oldest are forgotten. Those whose window is over go a few at a time, when
    others come.
    """

    def __init__(self, clock: IClock, *, most: int = MOST_COUNTERS) -> None:
        self._wall, self._most = clock.wall, most
        self._used: dict[Window, int] = {}

    def consume(self, quotas: Sequence[Quota], cost: int = 1) -> Decision:
        """See IQuotaStore. ValueError for a cost below 0."""
        if cost < 0:
            raise ValueError(f"a cost is not negative: {cost}")
        now = self._wall()
        windows = [window_at(quota, now) for quota in quotas]
        decision = decide(quotas, windows, [self._used.get(window, 0) for window in windows], cost, now)
        if decision.granted and cost:
            for window in dict.fromkeys(windows):
                self._use(window, cost, now)
        return decision

    def usage(self, quotas: Sequence[Quota]) -> list[Usage]:
        now = self._wall()
        return [self._shown(window_at(quota, now)) for quota in quotas]

    def used_by(self, prefix: str, most: int) -> list[Usage]:
        now = self._wall()
        found = (window for window in self._used if window.key.startswith(prefix) and window.ends > now)
        return [self._shown(window) for window, _ in zip(found, range(most), strict=False)]

    def reset(self, key: str) -> bool:
        windows = [window for window in self._used if window.key == key]
        for window in windows:
            del self._used[window]
        return bool(windows)

    def __len__(self) -> int:
        """How many counters are held, those of windows that are over and were not dropped yet among them."""
        return len(self._used)

    def _use(self, window: Window, cost: int, now: float) -> None:
        used = self._used
        if window not in used:
            for _ in range(min(LOOKED_AT, len(used))):
                oldest = next(iter(used))
                units = used.pop(oldest)
                if oldest.ends > now:
                    used[oldest] = units
            while len(used) >= self._most:
                del used[next(iter(used))]
        used[window] = used.get(window, 0) + cost

    def _shown(self, window: Window) -> Usage:
        return Usage(
            window.key, self._used.get(window, 0), window.begins, None if isinf(window.ends) else window.ends
        )


@implementer(IQuotaStore)
class NoQuotas:
    """Where nobody keeps quotas: every call fails."""

    def consume(self, quotas: Sequence[Quota], cost: int = 1) -> Decision:
        raise StoreUnavailable("there is no store of quotas")

    def usage(self, quotas: Sequence[Quota]) -> list[Usage]:
        raise StoreUnavailable("there is no store of quotas")

    def used_by(self, prefix: str, most: int) -> list[Usage]:
        raise StoreUnavailable("there is no store of quotas")

    def reset(self, key: str) -> bool:
        raise StoreUnavailable("there is no store of quotas")
