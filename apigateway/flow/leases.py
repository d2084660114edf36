"""Places that exchanges hold, kept alive: one timer for all leases of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from apigateway.flow.services import Services
from apigateway.flow.store_calls import StoreCalls, store_calls
from apigateway.ports.interfaces import IClock, IStateStore, ITimers

# A lease is renewed when a third of it is over, so that an attempt may fail; those due in the next sixth go along.
PARTS = 3
SOON = 6
# Pairs of key and holder in one call: a script over many more would make others wait.
AT_ONCE = 500
# Places that are to be given back when the state is there again.
MOST_OWED = 10_000


class Terms:
    """What the leases of one step have in common: where they are, and how many seconds they last."""

    __slots__ = ("seconds", "store")

    def __init__(self, store: IStateStore, seconds: float) -> None:
        self.store = store
        self.seconds = seconds


class Lease:
    """One place that is held. due: monotonic seconds, when it is to be renewed."""

    __slots__ = ("due", "holder", "key", "terms")

    def __init__(self, terms: Terms, key: str, holder: str, due: float) -> None:
        self.terms, self.key, self.holder, self.due = terms, key, holder, due


class Leases:
    """All leases of a worker.

    A renewal that fails is tried again with the next ones; where the state stays away for longer than a lease lasts,
    the place is given to others. The timer runs only while there are leases. calls: by which the state is told.
    """

    def __init__(self, clock: IClock, timers: ITimers, calls: StoreCalls) -> None:
        self._now: Callable[[], float] = clock.monotonic
        self._timers, self._calls = timers, calls
        self._held: dict[Lease, None] = {}
        self._timer: Any = None
        self._at = 0.0

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    def hold(self, terms: Terms, key: str, holder: str) -> Lease:
        """Keep a place that was just taken."""
        due = self._now() + terms.seconds / PARTS
        lease = Lease(terms, key, holder, due)
        self._held[lease] = None
        if self._timer is None or due < self._at:
            self._wait_until(due)
        return lease

    def give_back(self, lease: Lease) -> None:
        """The exchange is over. Where the state cannot be told now, it is as soon as it is there, or the lease ends by
        itself."""
        self._held.pop(lease, None)
        self.release(lease.terms, lease.key, lease.holder)

    def release(self, terms: Terms, key: str, holder: str) -> None:
        """Give back a place that may have been taken: who asked for it never heard."""
        self._calls.make(lambda: terms.store.release([key], holder), terms.seconds)

    def close(self) -> None:
        """Renew no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_until(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = due
        self._timer = self._timers.call_later(max(0.0, due - self._now()), self._renew)

    def _renew(self) -> None:
        self._timer = None
        now = self._now()
        soon: dict[Terms, list[Lease]] = {}
        for lease in self._held:
            if lease.due <= now + lease.terms.seconds / SOON:
                lease.due = now + lease.terms.seconds / PARTS
                soon.setdefault(lease.terms, []).append(lease)
        for terms, leases in soon.items():
            for batch in _batches(leases):
                self._renew_batch(terms, batch)
        if self._held:
            self._wait_until(min(lease.due for lease in self._held))

    def _renew_batch(self, terms: Terms, leases: list[Lease]) -> None:
        keys, holders = [lease.key for lease in leases], [lease.holder for lease in leases]
        self._calls.make(lambda: terms.store.renew(keys, holders, terms.seconds))


def _batches(leases: list[Lease]) -> Iterable[list[Lease]]:
    return (leases[at : at + AT_ONCE] for at in range(0, len(leases), AT_ONCE))


def leases_of(services: Services) -> Leases:
    """Those of the worker."""
    calls = store_calls(services, "places", MOST_OWED)
    leases: Leases = services.shared("leases", lambda: Leases(services.clock, services.timers, calls))
    return leases
