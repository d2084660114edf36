"""Policies on their own: made as a revision makes them, with twins for ports, their hooks called by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from apigateway.config.model import Consumer
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.registry import Registry, discover
from apigateway.flow.services import Consumers, Services, Shared
from apigateway.ports.local_cache import LocalCaches
from apigateway.ports.memory import (
    ListedEvents,
    ManualClock,
    ManualTimers,
    MemoryStore,
    NullMetrics,
    SeededRandom,
)
from apigateway.ports.memory_notices import MemoryNotices
from apigateway.ports.memory_quotas import MemoryQuotas
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request, Response

Fields = Sequence[tuple[str, str]]


class CountedLimits(NullMetrics):
    """Remembers what was said of limits."""

    def __init__(self) -> None:
        self.decisions: list[tuple[str, str, str, bool]] = []
        self.failures: list[tuple[str, str]] = []

    def limit_decision(self, api: str, route: str, step: str, granted: bool) -> None:
        self.decisions.append((api, route, step, granted))

    def store_failure(self, step: str, mode: str) -> None:
        self.failures.append((step, mode))


class Bench:
    """What a policy is provisioned with, and a way to make exchanges for it."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.clock = ManualClock()
        self.timers = ManualTimers(self.clock)
        self.random = SeededRandom()
        self.store: Any = MemoryStore(self.clock)
        self.quotas: Any = MemoryQuotas(self.clock)
        self.caches = LocalCaches()
        self.notices = MemoryNotices()
        self.events = ListedEvents()
        self.metrics = CountedLimits()
        self.shared = Shared()
        self.hidden: list[str] = []

    def config(self, kind: str, settings: Mapping[str, Any]) -> Any:
        config, problems = self.registry.settings(kind, settings, "/with")
        assert not problems, problems
        return config

    def policy(
        self,
        kind: str,
        settings: Mapping[str, Any],
        *,
        consumers: Sequence[Mapping[str, Any]] = (),
        place: str = "",
    ) -> Any:
        found = self.registry.kind(kind)
        assert found is not None
        policy = found.policy(self.config(kind, settings))
        policy.provision(
            Services(
                self.clock,
                self.random,
                self.timers,
                self.store,
                self.events,
                Consumers(tuple(Consumer.model_validate(each) for each in consumers)),
                place=place or f"api/shop/{kind}",
                metrics=self.metrics,
                shared=lambda key, factory: self.shared.get(self, key, factory),
                hide_in_logs=self.hidden.append,
                quotas=self.quotas,
                caches=self.caches,
                notices=self.notices,
            )
        )
        return policy

    def refused(self, kind: str, settings: Mapping[str, Any]) -> str:
        """Why settings are refused, by the model or by the policy's constructor."""
        config, problems = self.registry.settings(kind, settings, "/with")
        if problems:
            return "\n".join(map(str, problems))
        found = self.registry.kind(kind)
        assert found is not None
        with pytest.raises(ValueError) as caught:
            found.policy(config)
        return str(caught.value)


def exchange(
    target: str = "/",
    *,
    method: str = "GET",
    headers: Fields = (),
    client: str = "203.0.113.9",
    host: str = "gw.test",
    scheme: str = "http",
    length: int | None = 0,
    answer: Fields | None = None,
    status: int = 200,
) -> Exchange:
    """An exchange; with `answer`, its response has come and has these fields."""
    lines = [(name.lower().encode(), value.encode()) for name, value in headers]
    request = Request(
        method.encode(),
        target.encode("latin-1"),
        Headers(lines),
        authority=host.encode(),
        scheme=scheme,
        length=length,
    )
    made = Exchange("e1", request, Connection(scheme=scheme), client, 0.0)
    made.api, made.route = "shop", "read"
    if answer is not None:
        made.response = Response(
            status, Headers((name.lower().encode(), value.encode()) for name, value in answer)
        )
    return made


@pytest.fixture(scope="session")
def registry() -> Registry:
    return discover(entry_points=False)


@pytest.fixture
def bench(registry: Registry) -> Bench:
    return Bench(registry)


@pytest.fixture(name="exchange")
def exchange_maker() -> Any:
    return exchange
