"""What metrics are kept in between two scrapes: plain numbers, cheap to raise."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from apigateway.flow.exchange import Exchange

# Seconds: from what a policy takes to what makes a client give up.
DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
# Cannot be a name of the configuration, which begins with a letter or a digit.
OTHER: Final = "_other"


class Histogram:
    """Counts by upper bound (the last has none), and the sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = DURATIONS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        # The bound itself belongs to its bucket ("le").
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulated(self) -> list[tuple[str, float]]:
        """Buckets as Prometheus has them: up to each bound, all below it too."""
        total = 0
        buckets = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), list(self.counts), strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets


class Tally:
    """Counts by labels. At most `most` different ones are kept apart; what comes after counts under OTHER."""

    __slots__ = ("counts", "most")

    def __init__(self, most: int = 20_000) -> None:
        self.counts: dict[tuple[str, ...], int] = {}
        self.most = most

    def count(self, *labels: str) -> None:
        counts = self.counts
        if labels in counts:
            counts[labels] += 1
        elif len(counts) < self.most:
            counts[labels] = 1
        else:
            rest = (OTHER,) * len(labels)
            counts[rest] = counts.get(rest, 0) + 1


class RouteTally:
    """What was seen of one route."""

    __slots__ = ("octets_in", "octets_out", "policies", "response", "statuses", "total", "upstream")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.octets_in = 0
        self.octets_out = 0
        self.total = Histogram()
        self.policies = Histogram()
        self.upstream = Histogram()
        self.response = Histogram()

    def phases(self) -> tuple[tuple[str, Histogram], ...]:
        return (("total", self.total), ("policies", self.policies), ("upstream", self.upstream),
                ("response", self.response))

    def count(self, exchange: Exchange) -> None:
        """An exchange is over. Spelt out, four times the same: a call for each would double its cost."""
        status = exchange.status
        statuses = self.statuses
        statuses[status] = statuses.get(status, 0) + 1
        self.octets_in += exchange.octets_in
        self.octets_out += exchange.octets_out
        started, steps_done, answered, ended = (
            exchange.started, exchange.steps_done, exchange.answered, exchange.ended,
        )
        seconds = ended - started
        histogram = self.total
        histogram.counts[bisect_left(DURATIONS, seconds)] += 1
        histogram.sum += seconds
        if not steps_done:
            return
        seconds = steps_done - started
        histogram = self.policies
        histogram.counts[bisect_left(DURATIONS, seconds)] += 1
        histogram.sum += seconds
        if not answered:
            return
        seconds = answered - steps_done
        histogram = self.upstream
        histogram.counts[bisect_left(DURATIONS, seconds)] += 1
        histogram.sum += seconds
        seconds = ended - answered
        histogram = self.response
        histogram.counts[bisect_left(DURATIONS, seconds)] += 1
        histogram.sum += seconds
