"""The numbers of Metrics as the metric families of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from apigateway.ports.interfaces import Reading

if TYPE_CHECKING:
    from apigateway.adapters.metrics import Metrics
    from apigateway.adapters.tallies import Tally

_ROUTE = ("api", "route")
_TARGET = ("upstream", "target")

# Name of a Reading: family, its sentence, its labels.
_READINGS: dict[str, tuple[type[GaugeMetricFamily] | type[CounterMetricFamily], str, tuple[str, ...]]] = {
    "upstream_connections": (GaugeMetricFamily, "Connections to a target.", (*_TARGET, "state")),
    "target_healthy": (GaugeMetricFamily, "1 where a target may be chosen, else 0.", _TARGET),
    "target_active": (GaugeMetricFamily, "Exchanges that a target is working on.", _TARGET),
    "canary_cooling": (GaugeMetricFamily, "1 while canaries get no exchange.", ("upstream",)),
    "mirror_copies": (
        CounterMetricFamily, "Copies of requests for mirrors, sent or left out.", ("upstream", "result"),
    ),
    "target_breaker": (GaugeMetricFamily, "0 where a target's breaker is closed, 1 half-open, 2 open.", _TARGET),
    "target_breaker_opened": (CounterMetricFamily, "Times that the breaker of a target opened.", _TARGET),
    "target_put_aside": (CounterMetricFamily, "Times that a target was put aside for its failures.", _TARGET),
    "target_latency_seconds": (GaugeMetricFamily, "Moving average that balance: ewma looks at.", _TARGET),
    "upstream_panic": (GaugeMetricFamily, "1 while health is ignored.", ("upstream",)),
    "retries_over_budget": (CounterMetricFamily, "Retries that the budget did not allow.", ("upstream",)),
    "cache_entries": (GaugeMetricFamily, "Entries of a cache.", ("cache",)),
    "cache_hits": (CounterMetricFamily, "What was asked for and in the cache.", ("cache",)),
    "cache_misses": (CounterMetricFamily, "What was asked for and not in the cache.", ("cache",)),
    "cache_evicted": (CounterMetricFamily, "What was dropped for want of room.", ("cache",)),
    "connections": (GaugeMetricFamily, "Open connections from clients.", ("listener",)),
    "certificate_not_after_seconds": (
        GaugeMetricFamily, "When a certificate in use ends, Unix time; name: its first.", ("listener", "name"),
    ),
    "certificates_refused": (CounterMetricFamily, "Renewed certificates that could not be used.", ("listener",)),
    "proxy_headers_refused": (
        CounterMetricFamily, "Connections of proxies closed for want of a PROXY header.", ("listener",),
    ),
    "store_connected": (GaugeMetricFamily, "Workers that the shared state answers.", ()),
    "store_circuit_opened": (CounterMetricFamily, "Times that a worker lost the shared state.", ()),
    "store_commands": (CounterMetricFamily, "Commands for the shared state.", ("result",)),
    "workers": (GaugeMetricFamily, "Worker processes under the supervisor, by what they do.", ("state",)),
    "worker_restarts": (CounterMetricFamily, "Workers that were begun in the place of one that ended.", ()),
    "log_lines_lost": (CounterMetricFamily, "Log lines that could not be written.", ("log",)),
}


class FamilyCollector(Collector):
    """Shows a Metrics once, with the gauges read for this. May run beside the thread that counts: it copies each
    dict in one step before it walks it."""

    def __init__(self, metrics: Metrics, readings: Iterable[Reading]) -> None:
        self._metrics = metrics
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        yield from self._routes()
        yield from self._tallies()
        yield from self._gauges()
        lag = HistogramMetricFamily("apigateway_loop_lag_seconds", "How late the reactor called.")
        lag.add_metric([], self._metrics.lag.cumulated(), self._metrics.lag.sum)
        yield lag
        revision = InfoMetricFamily("apigateway_revision", "The revision that runs.")
        if self._metrics.revision:
            revision.add_metric([], {"digest": self._metrics.revision})
        yield revision

    def _routes(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "apigateway_requests", "Exchanges that ended, by status.", labels=(*_ROUTE, "status")
        )
        durations = HistogramMetricFamily(
            "apigateway_request_duration_seconds",
            "total: from the request's head to the end; policies: to the end of the request steps; "
            "upstream: from there to the response's head; response: from there to the end.",
            labels=(*_ROUTE, "phase"),
        )
        octets_in = CounterMetricFamily("apigateway_request_bytes", "Bodies from clients.", labels=_ROUTE)
        octets_out = CounterMetricFamily("apigateway_response_bytes", "Bodies to clients.", labels=_ROUTE)
        for names, route in list(self._metrics.routes.items()):
            for status, count in list(route.statuses.items()):
                requests.add_metric((*names, str(status)), count)
            for phase, histogram in route.phases():
                if any(histogram.counts):
                    durations.add_metric((*names, phase), histogram.cumulated(), histogram.sum)
            octets_in.add_metric(names, route.octets_in)
            octets_out.add_metric(names, route.octets_out)
        yield from (requests, durations, octets_in, octets_out)

    def _tallies(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield _counter("upstream_attempts", "Tries at a target.", (*_TARGET, "result"), metrics.attempts)
        yield _counter("limit_decisions", "Times a limit was asked.", (*_ROUTE, "step", "decision"),
                       metrics.limit_decisions)
        yield _counter("store_failures", "Times a step had to do without the shared state.", ("step", "mode"),
                       metrics.store_failures)
        yield _counter("step_outcomes", "Steps that did not just go on.", ("step", "kind", "outcome"),
                       metrics.step_outcomes)
        yield _counter("faults", "Exchanges that ended in a fault.", ("type", "whose"), metrics.faults)
        yield _counter("reloads", "Revisions that were tried.", ("result",), metrics.reloads)

    def _gauges(self) -> Iterator[Metric]:
        families = {
            name: make(f"apigateway_{name}", about, labels=labels)
            for name, (make, about, labels) in _READINGS.items()
        }
        for reading in self._readings:
            family = families.get(reading.name)
            if family is not None:
                family.add_metric(reading.labels, reading.value)
        yield from families.values()


def _counter(name: str, about: str, labels: tuple[str, ...], tally: Tally) -> CounterMetricFamily:
    family = CounterMetricFamily(f"apigateway_{name}", about, labels=labels)
    for values, count in list(tally.counts.items()):
        family.add_metric(values, count)
    return family
