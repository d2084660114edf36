"""Quotas of one worker, for while the real ones cannot be asked, and for what of that time is still to be counted
afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from apigateway.flow.services import Services
from apigateway.ports.interfaces import Decision, IClock, Quota
from apigateway.ports.memory_quotas import MemoryQuotas


class LocalQuotas:
    """The counters of one step, which outlive a reload.

    until: wall seconds; before then units may be held here that were used without the real store, and it alone must
    not grant: who passed without it would pass once more. 0.0: nothing is held.
    """

    __slots__ = ("_clock", "_store", "until")

    def __init__(self, clock: IClock, store: MemoryQuotas) -> None:
        self._clock, self._store = clock, store
        self.until = 0.0

    def use(self, quotas: Sequence[Quota], cost: int) -> Decision:
        """Decide without the real store."""
        for quota in quotas:
            self.until = max(self.until, quota.edges[-1] if quota.edges else inf)
        return self._store.consume(quotas, cost)

    def refusal(self, quotas: Sequence[Quota], cost: int) -> Decision | None:
        """A refusal where there is no room left here; uses nothing. To be asked before the real store, while `until` is
        not 0.0."""
        if self._clock.wall() >= self.until:
            self.until = 0.0
            return None
        used = self._store.usage(quotas)
        if not cost or all(one.used + cost <= quota.limit for one, quota in zip(used, quotas, strict=True)):
            return None
        return self._store.consume(quotas, cost)

    def also(self, quotas: Sequence[Quota], cost: int, granted: Decision) -> Decision:
        """Count here, too, what the real store has granted; the refusal where others were quicker meanwhile."""
        own = self._store.consume(quotas, cost)
        return granted if own.granted else own

    def reset(self, key: str) -> None:
        """Forget what was used under a key."""
        self._store.reset(key)


def local_quotas(services: Services) -> LocalQuotas:
    """Those of a step. All steps share the memory of a worker."""
    store = services.shared("quotas alone", lambda: MemoryQuotas(services.clock))
    quotas: LocalQuotas = services.shared(f"quotas alone {services.place}", lambda: LocalQuotas(services.clock, store))
    return quotas
