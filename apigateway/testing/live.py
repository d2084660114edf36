"""From settings to a revision that serves, as a worker makes it, without a network: for the harness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError
from twisted.python.failure import Failure

from apigateway.config.check import check
from apigateway.config.messages import problems_of
from apigateway.config.model import Configuration
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.flow.drafting import Draft, Drafter
from apigateway.flow.live import LiveRevision
from apigateway.flow.registry import Registry
from apigateway.flow.retrying import RetryBudget
from apigateway.flow.services import Consumers, Services, Shared
from apigateway.flow.steps import as_deferred
from apigateway.flow.target_state import TargetStates
from apigateway.flow.template import compile_template
from apigateway.flow.units import Unit, UnitMaker
from apigateway.flow.upstream import compile_upstreams
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

_LISTENER = {"name": "test", "address": "127.0.0.1:8080"}
_UPSTREAM = {"name": "upstream", "targets": [{"name": "one", "url": "http://one.test"}]}
_ROUTE = {"name": "all", "match": {"path_prefix": "/"}, "upstream": "upstream"}
_API = {"name": "api", "routes": [_ROUTE]}


class ListedMetrics(NullMetrics):
    """Keeps what was counted in `counted`: ("step", name, kind, outcome) and ("limit", step, granted)."""

    def __init__(self) -> None:
        self.counted: list[tuple[Any, ...]] = []

    def step_outcome(self, step: str, kind: str, outcome: str) -> None:
        self.counted.append(("step", step, kind, outcome))

    def limit_decision(self, api: str, route: str, step: str, granted: bool) -> None:
        self.counted.append(("limit", step, granted))


class Twins:
    """The ports of a test: time that is moved by hand, state in memory, logs that are lists."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = ManualClock()
        self.timers = ManualTimers(self.clock)
        self.random = SeededRandom(seed)
        self.store = MemoryStore(self.clock)
        self.quotas = MemoryQuotas(self.clock)
        self.notices = MemoryNotices()
        self.caches = LocalCaches()
        self.events = ListedEvents()
        self.metrics = ListedMetrics()
        self.shared = Shared()
        self.states = TargetStates()
        self.budgets: dict[str, RetryBudget] = {}


def configuration(given: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Configuration:
    """A whole configuration of what is given of one: a list of steps, which then stand in the pre-flow of every
    request, or any of its keys; one upstream of one target, `one`, and one route to it take the place of what is left
    out. ConfigurationRefused with every problem."""
    parts = given if isinstance(given, Mapping) else {"pre_flow": {"request": list(given)}}
    whole = {"version": 1, "listeners": [_LISTENER], "upstreams": [_UPSTREAM], "apis": [_API], **parts}
    try:
        made = Configuration.model_validate(whole)
    except ValidationError as error:
        raise ConfigurationRefused(problems_of(error, Configuration, whole)) from None
    refuse(check(made))
    return made


def draft_of(settings: Configuration, registry: Registry, twins: Twins) -> Draft:
    """The draft of a configuration. ConfigurationRefused with every problem."""
    upstreams, problems = compile_upstreams(
        settings.upstreams, twins.states, twins.budgets, twins.random,
        lambda source: compile_template("{" + source + "}", clock=twins.clock).render,
    )
    maker = UnitMaker(registry, twins.metrics, twins.clock, settings.environment)
    draft = Drafter(settings, maker, upstreams).draft()
    refuse([*registry.problems, *problems, *draft.problems])
    return draft


def refuse(problems: Sequence[Problem]) -> None:
    """ConfigurationRefused where one of the problems is more than a warning."""
    errors = [problem for problem in problems if not problem.warning]
    if errors:
        raise ConfigurationRefused(errors)


class Provisioned:
    """A draft whose policies are provisioned: all of them, or (RuntimeError) none.

    live: the revision. `close` closes every policy once, when the last exchange has ended.
    """

    def __init__(self, settings: Configuration, draft: Draft, twins: Twins) -> None:
        self._twins = twins
        self._settings = settings
        self._begun: list[Unit] = []
        assert draft.router is not None
        try:
            for unit in draft.units:
                self._provision(unit)
        except BaseException:
            self._close()
            raise
        self.live = LiveRevision("test", draft.router, draft.rules, draft.fallback, draft.plans, draft.upstreams)

    def close(self) -> None:
        """Retire the revision."""
        self.live.retire(self._close)

    def _provision(self, unit: Unit) -> None:
        twins = self._twins
        services = Services(
            clock=twins.clock, random=twins.random, timers=twins.timers, store=twins.store, events=twins.events,
            metrics=twins.metrics, consumers=Consumers(self._settings.consumers),
            environment=self._settings.environment, place=unit.info.place, api=unit.info.api, route=unit.info.route,
            shared=partial(twins.shared.get, self), quotas=twins.quotas, notices=twins.notices, caches=twins.caches,
        )
        result = unit.policy.provision(services)
        if result is not None:
            settled(result, twins.clock)
        self._begun.append(unit)

    def _close(self) -> None:
        units, self._begun = self._begun, []
        for unit in reversed(units):
            unit.policy.close()
        self._twins.shared.release(self)


def settled(awaitable: Any, clock: ManualClock) -> Any:
    """What an awaitable or a Deferred comes to, with time moved on as far as that takes; raises what it fails with.
    RuntimeError where nothing is left that could bring it about."""
    results: list[Any] = []
    as_deferred(awaitable).addBoth(results.append)
    while not results:
        move_on(clock)
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def move_on(clock: ManualClock) -> None:
    """Let time pass until the next timer is due. RuntimeError where there is none: nothing would ever happen."""
    waiting = clock.waiting()
    if not waiting:
        raise RuntimeError("nothing is left to wait for: no timer is set, and the harness has no network")
    clock.advance(max(0.0, waiting[0].due - clock.monotonic()))
