"""Counters of one worker, for while the shared ones cannot be asked, and for what of that time is still to be counted
afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from apigateway.flow.services import Services
from apigateway.ports.interfaces import Decision, IClock, Limit
from apigateway.ports.memory_store import MemoryStore

# A sliding window holds a unit for one slot longer than its period; and what is late by rounding is not early.
LONGER = 1.02


class LocalCounts:
    """The counters of one step, which outlive a reload.

    until: monotonic seconds; before then units may still be held here that were taken without the shared state, and
    it alone must not grant: who passed by `local` would pass once more. 0.0: nothing is held.
    """

    __slots__ = ("_clock", "store", "until")

    def __init__(self, clock: IClock, store: MemoryStore) -> None:
        self._clock = clock
        self.store = store
        self.until = 0.0

    def take(self, limits: Sequence[Limit], cost: int) -> Decision:
        """Decide without the shared state."""
        held = max(limit.period for limit in limits) * LONGER
        self.until = max(self.until, self._clock.monotonic() + held)
        return self.store.take(limits, cost)

    def refusal(self, limits: Sequence[Limit], cost: int) -> Decision | None:
        """A refusal where there is no room left here; takes nothing. To be asked before the shared state, while
        `until` is not 0.0."""
        if self._clock.monotonic() >= self.until:
            self.until = 0.0
            return None
        if all(standing.remaining >= cost for standing in self.store.peek(limits).standings):
            return None
        refused = self.store.take(limits, cost)
        return None if refused.granted else refused

    def also(self, limits: Sequence[Limit], cost: int, granted: Decision) -> Decision:
        """Count here, too, what the shared state has granted; the refusal where others were quicker meanwhile."""
        own = self.store.take(limits, cost)
        return granted if own.granted else own


def local_counts(kind: str, services: Services) -> LocalCounts:
    """Those of a step. All steps of a kind share the memory of a worker."""
    store = services.shared(kind, lambda: MemoryStore(services.clock))
    counts: LocalCounts = services.shared(
        f"{kind} {services.place}", lambda: LocalCounts(services.clock, store)
    )
    return counts
