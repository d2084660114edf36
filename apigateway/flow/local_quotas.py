"""Quotas of one worker, for while the real ones cannot be asked, and for what of that time is still to be counted
afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from apigateway.flow.services import Services
from apigateway.ports.interfaces import Decision, IClock, Quota
from apigateway.ports.memory_quotas import MemoryQuotas


class LocalQuotas:
    """The counters of one step, which outlive a reload."""

    __slots__ = ("_clock", "_store", "_until")

    def __init__(self, clock: IClock, store: MemoryQuotas) -> None:
        self._clock, self._store = clock, store
        # Wall seconds; before then units may be held here that were used without the real store.
        self._until = 0.0

    def use(self, quotas: Sequence[Quota], cost: int) -> Decision:
        """Decide without the real store."""
        for quota in quotas:
            self._until = max(self._until, quota.edges[-1] if quota.edges else inf)
        return self._store.consume(quotas, cost)

    def also(self, quotas: Sequence[Quota], cost: int) -> Decision | None:
        """Count here, too, while units are held that the real store does not know of: who passed without it would pass
        once more. To be asked first, and a refusal holds. None: nothing is held."""
        if not self._until or self._clock.wall() >= self._until:
            self._until = 0.0
            return None
        return self._store.consume(quotas, cost)


def local_quotas(services: Services) -> LocalQuotas:
    """Those of a step. All steps share the memory of a worker."""
    store = services.shared("quotas alone", lambda: MemoryQuotas(services.clock))
    quotas: LocalQuotas = services.shared(f"quotas alone {services.place}", lambda: LocalQuotas(services.clock, store))
    return quotas
