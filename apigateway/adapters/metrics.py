"""Metrics: counted in plain numbers, shown in Prometheus' text format.

`prometheus_client` costs 0.5 us for each increment of a child that is held, and a request raises a dozen numbers.
So the numbers are ours; its registry, families and text format come in only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from zope.interface import classImplements

from apigateway.adapters.families import FamilyCollector
from apigateway.adapters.tallies import LAGS, OTHER, Histogram, RouteTally, Tally
from apigateway.flow.exchange import Exchange
from apigateway.ports.interfaces import IMetrics, Reading

MOST_ROUTES = 50_000


class Metrics:
    """Counts what happens; see IMetrics.

    Labels are names of the configuration, so that clients cannot make new ones; what matched no route counts
    under api="" route="". A counter never vanishes: what was counted for a route that a reload removed stays until
    the process ends. Reloads that keep renaming are bounded: past 50,000 routes (20,000 label sets of any other
    counter) the rest counts under "_other".
    readings: asked for gauges at each exposition, on the thread of who calls.
    """

    def __init__(
        self, readings: Callable[[], Iterable[Reading]] = tuple, *, most_routes: int = MOST_ROUTES
    ) -> None:
        self.readings = readings
        self.routes: dict[tuple[str, str], RouteTally] = {}
        self.attempts = Tally()
        self.limit_decisions = Tally()
        self.store_failures = Tally()
        self.step_outcomes = Tally()
        self.faults = Tally()
        self.reloads = Tally()
        self.lag = Histogram(LAGS)
        self.revision = ""
        self._most_routes = most_routes
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def finished(self, exchange: Exchange) -> None:
        """See IExchangeLog."""
        key = (exchange.api, exchange.route)
        (self.routes.get(key) or self._route(key)).count(exchange)
        if exchange.fault is not None:
            kind = exchange.fault.kind
            self.faults.count(kind.slug, kind.whose)

    def attempt(self, upstream: str, target: str, result: str) -> None:
        self.attempts.count(upstream, target, result)

    def limit_decision(self, api: str, route: str, step: str, granted: bool) -> None:
        self.limit_decisions.count(api, route, step, "granted" if granted else "refused")

    def store_failure(self, step: str, mode: str) -> None:
        self.store_failures.count(step, mode)

    def step_outcome(self, step: str, kind: str, outcome: str) -> None:
        self.step_outcomes.count(step, kind, outcome)

    def reload(self, result: str) -> None:
        self.reloads.count(result)

    def digest(self, digest: str) -> None:
        self.revision = digest

    def loop_lag(self, seconds: float) -> None:
        self.lag.observe(seconds)

    def exposition(self) -> bytes:
        """All of it, as Prometheus' text format 0.0.4. Some 5 us for each series: see `exposition_later`."""
        return self._text(list(self.readings()))

    def exposition_later(self, reactor: Any) -> Deferred[bytes]:
        """The same, written in a thread: a thousand busy routes have 80,000 series, which takes half a second.

        Counting goes on meanwhile; a histogram may hold an exchange in its buckets and not yet in its sum.
        """
        return deferToThreadPool(reactor, reactor.getThreadPool(), self._text, list(self.readings()))

    def _text(self, readings: list[Reading]) -> bytes:
        return generate_latest(FamilyCollector(self, readings)) + generate_latest(self._registry)

    def _route(self, key: tuple[str, str]) -> RouteTally:
        if len(self.routes) >= self._most_routes:
            key = (OTHER, OTHER)
        return self.routes.setdefault(key, RouteTally())


# Said from outside: a class that is compiled (setup.py) has no decorators.
classImplements(Metrics, IMetrics)
