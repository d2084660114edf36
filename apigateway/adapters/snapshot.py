"""The numbers of a Metrics on their way to another process, and the sum of several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from apigateway.adapters.metrics import Metrics
from apigateway.adapters.tallies import Histogram, RouteTally, Tally
from apigateway.ports.interfaces import Reading

_TALLIES = ("attempts", "limit_decisions", "store_failures", "step_outcomes", "faults")

# How the same figure of several workers becomes one. What is not named here is added up.
_TOGETHER = {
    "target_healthy": min,  # healthy only where all of them may choose it
    # Added up they would say nothing: the worst that one of them sees.
    "target_breaker": max, "target_latency_seconds": max, "upstream_panic": max, "canary_cooling": max,
    "certificate_not_after_seconds": min,  # the one that ends first
}
# Figures that are counted where they are read: what a worker had that died still counts.
COUNTED = frozenset(
    (
        "cache_hits", "cache_misses", "cache_evicted", "certificates_refused", "proxy_headers_refused",
        "log_lines_lost", "target_breaker_opened", "target_put_aside", "retries_over_budget", "mirror_copies",
        "store_circuit_opened", "store_commands",
    )
)


# Routes that are looked at for one part: some 2 ms, for which the loop stands still.
MOST_ROUTES = 500


class Teller:
    """Tells what a Metrics counted, part by part: a route only where it changed since the last time.

    Not the reloads: a revision is taken by all workers, or none, and is counted once.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Exchanges of a route when it was last told.
        self._told: dict[tuple[str, str], int] = {}

    def parts(self, readings: Iterable[Reading]) -> Iterator[bytes]:
        """JSON, each part whole by itself, and all of them to be told in this order."""
        metrics = self._metrics
        routes = list(metrics.routes.items())
        part: dict[str, Any] = {
            "tallies": {name: list(getattr(metrics, name).counts.items()) for name in _TALLIES},
            "lag": [metrics.lag.counts, metrics.lag.sum],
            "readings": [[reading.name, reading.labels, reading.value] for reading in readings],
        }
        for start in range(0, max(1, len(routes)), MOST_ROUTES):
            part["routes"] = self._changed(routes[start : start + MOST_ROUTES])
            yield orjson.dumps(part, option=orjson.OPT_NON_STR_KEYS)
            part = {}

    def _changed(self, routes: list[tuple[tuple[str, str], RouteTally]]) -> list[list[Any]]:
        rows = []
        for names, route in routes:
            count = sum(route.statuses.values())
            if self._told.get(names) != count:
                self._told[names] = count
                rows.append(_row(names, route))
        return rows


def _row(names: tuple[str, str], route: RouteTally) -> list[Any]:
    phases = ([histogram.counts, histogram.sum] for _, histogram in route.phases())
    return [*names, route.statuses, route.octets_in, route.octets_out, *phases]


class Snapshot:
    """What one worker counted so far, read again."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], list[Any]] = {}
        self._rest: dict[str, Any] = {}

    def take(self, part: bytes) -> None:
        """Read one part. ValueError where it is none."""
        values = orjson.loads(part)
        for api, route, *row in values.pop("routes"):
            self._routes[(api, route)] = row
        self._rest.update(values)

    @property
    def readings(self) -> list[Reading]:
        """Figures that were read."""
        return [Reading(name, tuple(labels), value) for name, labels, value in self._rest["readings"]]

    def counted(self) -> list[Reading]:
        """Those of them that stay when the worker is gone."""
        return [reading for reading in self.readings if reading.name in COUNTED]

    def add_to(self, metrics: Metrics) -> None:
        """Add what was counted."""
        for names, row in self._routes.items():
            _add_route(metrics.routes.setdefault(names, RouteTally()), row)
        for name in _TALLIES:
            tallied: Tally = getattr(metrics, name)
            for labels, count in self._rest["tallies"].get(name, ()):
                tallied.counts[tuple(labels)] = tallied.counts.get(tuple(labels), 0) + count
        _add(metrics.lag, *self._rest["lag"])


def _add_route(tally: RouteTally, row: list[Any]) -> None:
    statuses, octets_in, octets_out, *phases = row
    for status, count in statuses.items():
        tally.statuses[int(status)] = tally.statuses.get(int(status), 0) + count
    tally.octets_in += octets_in
    tally.octets_out += octets_out
    for (_, histogram), (counts, total) in zip(tally.phases(), phases, strict=True):
        _add(histogram, counts, total)


def _add(histogram: Histogram, counts: list[int], total: float) -> None:
    histogram.counts = [one + other for one, other in zip(histogram.counts, counts, strict=True)]
    histogram.sum += total


def together(readings: Iterable[Reading]) -> list[Reading]:
    """The readings of all workers as those of one."""
    values: dict[tuple[str, tuple[str, ...]], float] = {}
    for reading in readings:
        key = (reading.name, reading.labels)
        known = values.get(key)
        join = _TOGETHER.get(reading.name)
        if known is None:
            values[key] = reading.value
        else:
            values[key] = join(known, reading.value) if join else known + reading.value
    return [Reading(name, labels, value) for (name, labels), value in values.items()]


class Sum:
    """What a changing set of workers counted: never less than before, also when one of them dies.

    What was counted by one that died since it last told is lost.
    """

    def __init__(self) -> None:
        self._gone = Metrics()
        self._gone_readings: list[Reading] = []
        self._last: dict[int, Snapshot] = {}

    def tell(self, worker: int, part: bytes) -> None:
        """What a worker has counted so far, a part of it; worker: its number, of which each has its own."""
        self._last.setdefault(worker, Snapshot()).take(part)

    def gone(self, worker: int) -> None:
        """A worker is no more; what it last told stays."""
        last = self._last.pop(worker, None)
        if last is not None:
            last.add_to(self._gone)
            self._gone_readings = together([*self._gone_readings, *last.counted()])

    def add_to(self, metrics: Metrics) -> list[Reading]:
        """Add all of it to a Metrics; the readings as those of one."""
        gone = Snapshot()
        for part in Teller(self._gone).parts(self._gone_readings):
            gone.take(part)
        readings: list[Reading] = []
        for each in (gone, *self._last.values()):
            each.add_to(metrics)
            readings += each.readings
        return together(readings)
