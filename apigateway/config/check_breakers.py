"""Checks of what keeps targets out because of what traffic said: breakers, passive health, slow start."""

from __future__ import annotations

from collections.abc import Iterator

from apigateway.config.model import Breaker, PassiveHealth, Upstream
from apigateway.errors import Problem


def check(upstream: Upstream, place: str) -> Iterator[Problem]:
    """What is wrong with these parts of an upstream; place: its pointer."""
    breaker, passive = upstream.breaker, upstream.health.passive
    if breaker is not None:
        if breaker.failures is not None and breaker.percent is not None:
            yield Problem(f"{place}/breaker", "opens at failures or at percent: expected one of them, not both")
        yield from _minimum(breaker, f"{place}/breaker")
    if passive is not None:
        yield from _minimum(passive, f"{place}/health/passive")
        if breaker is not None and "failures" in passive.model_fields_set:
            where = f"{place}/health/passive/failures"
            yield Problem(where, "has no effect: failures in a row are the breaker's business", warning=True)
    if upstream.slow_start is not None and upstream.balance in ("consistent-hash", "least-recently-used"):
        what = f'has no effect while balance is "{upstream.balance}": that takes no weight that rises'
        yield Problem(f"{place}/slow_start", what, warning=True)


def _minimum(settings: Breaker | PassiveHealth, place: str) -> Iterator[Problem]:
    if settings.percent is None and "minimum" in settings.model_fields_set:
        yield Problem(f"{place}/minimum", "has no effect without percent", warning=True)
