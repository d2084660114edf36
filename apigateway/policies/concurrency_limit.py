"""Limits how many requests run at once.

A request takes a place before it goes on, and gives it back when it is over, however it ends: answered,
refused by a later step, its client or its upstream gone, late, or cut off by a drain. `by` says who shares
the places, as in `rate-limit`. Where all are taken the answer is 429 with `Retry-After`, at once: nothing
queues.

`scope: shared` counts over all workers of the environment; `worker` in each of them. A place is a lease of
`lease` seconds that the worker renews while the request runs; those of a worker that died are free when
their lease ends. So `lease` is how long a crash may hold places, and how long the shared state may be away
before what runs is no longer counted.

When the shared state does not answer, `on_store_failure` decides: `local` counts what begins from then on in
this worker alone, `open` lets pass, `closed` answers 503. When it answers again, what began by `local` still
counts in this worker until it is over.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Duration, Whole
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import CONCURRENCY_LIMITED, Fault
from apigateway.flow.interfaces import IOnFault, IOnLog, IOnRequest, IOnResponse
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.leases import Lease, Terms, leases_of
from apigateway.flow.outcome import Outcome
from apigateway.flow.services import Services
from apigateway.flow.store_calls import when_answered
from apigateway.flow.whose import By, CallerSettings, check_by, whose
from apigateway.flow.without_store import StoreFailureSettings, TellsStoreFailure, WithoutStore
from apigateway.ports.interfaces import Capacity, Decision, StoreUnavailable
from apigateway.ports.memory_store import MemoryStore

# When a place will be free nobody knows; that leases end says nothing of it, as they are renewed.
RETRY_AFTER = ((b"retry-after", b"1"),)


class Config(CallerSettings, StoreFailureSettings):
    """How many may run at once, and what is counted together."""

    limit: Whole = Field(ge=1, le=1_000_000, description="Requests that may run at once.")
    by: By = Field(
        default="consumer",
        description="api, consumer, subject, ip, header:NAME or {expression}; of a list each combination.",
    )
    scope: Literal["shared", "worker"] = Field(
        default="shared", description="Count over all workers, or in each."
    )
    lease: Duration = Field(
        default=30.0, ge=1.0, le=3600.0, description="After this the places of a worker that died are free."
    )


class _Alone:
    """How many began without the shared state and still run: of a step, over all revisions that have it. While there
    are any, this worker counts all that begin, too."""

    __slots__ = ("running",)

    def __init__(self) -> None:
        self.running = 0


class _Place:
    """What one exchange holds. asked: the state was asked for `key`, and its answer is not known (yet). own: the place
    among what this worker counts. alone: it began without the shared state."""

    __slots__ = ("alone", "asked", "held", "holder", "key", "own")

    def __init__(self, key: str, holder: str) -> None:
        self.key, self.holder = key, holder
        self.alone = self.asked = False
        self.held: Lease | None = None
        self.own: Lease | None = None


@implementer(IOnRequest, IOnResponse, IOnFault, IOnLog)
class ConcurrencyLimit(TellsStoreFailure):
    """Limits how many requests run at once."""

    def __init__(self, config: Config) -> None:
        check_by(config.by)
        self._config = config
        self.shares_state = config.scope == "shared"
        # Not in a slot of the exchange: a step in the shadow leaves none there, and has to give back, too.
        self._places: dict[Exchange, _Place] = {}
        self._count = 0

    def provision(self, services: Services) -> None:
        """Find the state, and name the places by this step's place, so that they outlive a reload."""
        config = self._config
        local = services.shared("concurrency-limit", lambda: MemoryStore(services.clock))
        alone = config.scope == "worker" and services.store.shared
        self._terms = Terms(local if alone else services.store, config.lease)
        self._local = Terms(local, config.lease)
        self._alone: _Alone = services.shared(f"concurrency-limit {services.place}", _Alone)
        self._leases = leases_of(services)
        self._without = WithoutStore(config, services)
        self._metrics = services.metrics
        self._step = services.place.rpartition("/")[2]
        self._prefix = f"{services.environment}/{services.place}/running/"
        self._whose = whose(config.by, config.ipv6_prefix, services)
        # No id of the exchange: clients may name those.
        self._holder = services.random.token(9).hex()

    def close(self) -> None:
        """All places have been given back: the last exchange has ended."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Take a place, or refuse."""
        self._count += 1
        place = _Place(self._prefix + self._whose(exchange), f"{self._holder}-{self._count}")
        self._places[exchange] = place
        if self._alone.running and not self._take_alone(place):
            self._without.note(exchange)
            raise self._refused(exchange)
        terms = self._terms
        try:
            answer = terms.store.lease((Capacity(place.key, self._config.limit),), place.holder, terms.seconds)
        except StoreUnavailable as error:
            self._without_store(exchange, place, error)
            return None
        if isinstance(answer, Decision):
            self._decided(exchange, place, answer)
            return None
        place.asked = True
        return when_answered(
            answer,
            lambda decision: self._decided(exchange, place, decision),
            lambda error: self._without_store(exchange, place, error),
        )

    def on_log(self, exchange: Exchange) -> None:
        """Give back what was taken; however an exchange ends, this is called."""
        place = self._places.pop(exchange, None)
        if place is None:
            return
        if place.held is not None:
            self._leases.give_back(place.held)
        elif place.asked:
            self._leases.release(self._terms, place.key, place.holder)
        if place.alone:
            self._alone.running -= 1
        if place.own is not None:
            self._leases.give_back(place.own)

    # ---- the decision

    def _decided(self, exchange: Exchange, place: _Place, decision: Decision) -> None:
        place.asked = False
        if not decision.granted:
            raise self._refused(exchange)
        place.held = self._leases.hold(self._terms, place.key, place.holder)
        self._metrics.limit_decision(exchange.api, exchange.route, self._step, True)

    def _without_store(self, exchange: Exchange, place: _Place, error: StoreUnavailable) -> None:
        if not self._without.goes_on(exchange, error):
            return
        if place.own is None and not self._take_alone(place):
            raise self._refused(exchange)
        place.alone = True
        self._alone.running += 1
        self._metrics.limit_decision(exchange.api, exchange.route, self._step, True)

    def _take_alone(self, place: _Place) -> bool:
        """Take a place among what this worker counts for itself."""
        terms = self._local
        decision = terms.store.lease((Capacity(place.key, self._config.limit),), place.holder, terms.seconds)
        assert isinstance(decision, Decision)  # a store in memory answers at once
        if decision.granted:
            place.own = self._leases.hold(terms, place.key, place.holder)
        return decision.granted

    def _refused(self, exchange: Exchange) -> Fault:
        self._metrics.limit_decision(exchange.api, exchange.route, self._step, False)
        return Fault(
            CONCURRENCY_LIMITED, public="Too many requests at once; try again later.", headers=RETRY_AFTER
        )


KIND = kind("concurrency-limit", config=Config, policy=ConcurrencyLimit, guards=True)

EXAMPLES = (
    Example(
        "One request at a time for each address; its place is free again when it is over",
        {"limit": 1, "by": "ip"},
        (Call(status=200), Call(status=200), Call(upstream=(500, (), b""), status=500), Call(status=200)),
    ),
    Example(
        "Ten for each tenant of an Api, in each worker; places of a worker that died are free after five seconds",
        {"limit": 10, "by": ["api", "header:X-Tenant"], "scope": "worker", "lease": "5s"},
        (Call(headers=(("X-Tenant", "a"),), status=200), Call(headers=(("X-Tenant", "b"),), status=200)),
    ),
    Example(
        "Two at once for each of what a client names as its job; nothing passes uncounted",
        {"limit": 2, "by": '{request.headers["x-job"]}', "on_store_failure": "closed"},
        (Call(headers=(("X-Job", "report"),), status=200), Call(fields={"x-store-failure": None}, status=200)),
    ),
)
