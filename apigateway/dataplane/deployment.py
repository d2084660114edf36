"""From a draft to a revision that carries traffic: pools, checks, provisioned policies. All of it, or nothing."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from apigateway.config.model import Configuration, Upstream, UpstreamTls
from apigateway.dataplane.certificates import CertificateRefused, load_pair
from apigateway.dataplane.driver import WorkerDriver
from apigateway.dataplane.health import CheckedPlace, Checker
from apigateway.dataplane.names import Names
from apigateway.dataplane.pool import Connect, Road, TargetPool
from apigateway.dataplane.service_targets import ServiceTargets
from apigateway.dataplane.sni import upstream_context
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.flow.drafting import Draft
from apigateway.flow.live import LiveRevision
from apigateway.flow.members import is_service, service_name
from apigateway.flow.services import Consumers, Services, Shared
from apigateway.flow.target_state import TargetState
from apigateway.flow.units import Unit
from apigateway.flow.upstream import CompiledUpstream, TargetPlace
from apigateway.ports.interfaces import (
    Facts,
    IClock,
    IEventLog,
    IMetrics,
    INotices,
    IQuotaStore,
    IRandom,
    IStateStore,
    ITimers,
)
from apigateway.ports.local_cache import LocalCaches
from apigateway.ports.memory_notices import MemoryNotices
from apigateway.ports.memory_quotas import NoQuotas

# Thousands of upstreams and steps at once would stop the loop: after so many seconds others get their turn.
SLICE = 0.005
# What a new revision waits for the records of its services.
FIRST_ANSWER = 2.0


@dataclass(frozen=True)
class Means:
    """What a deployment is built with; one for a worker."""

    clock: IClock
    random: IRandom
    timers: ITimers
    store: IStateStore
    events: IEventLog
    metrics: IMetrics
    shared: Shared
    names: Names
    connect: Connect
    turn: Callable[[], Deferred[None]]
    hide_in_logs: Callable[[str], None]
    quotas: IQuotaStore = field(default_factory=NoQuotas)
    notices: INotices = field(default_factory=MemoryNotices)
    caches: LocalCaches = field(default_factory=LocalCaches)
    state_shown: Callable[[], Facts] = field(default=lambda: {"kind": "memory", "connected": True})


class Deployment:
    """One revision from its draft to its end. Whatever it holds, it holds as the owner in `means.shared`."""

    def __init__(self, means: Means, configuration: Configuration, draft: Draft, digest: str) -> None:
        self._means = means
        self._configuration = configuration
        self._draft = draft
        self._digest = digest
        # Whose the shared things are. Policies may keep what gives them: were it this deployment, it and they would
        # refer to each other.
        self._owner = object()
        self._provisioned: list[Unit] = []
        self._contexts: dict[str, tuple[ssl.SSLContext, str]] = {}
        self._services: list[ServiceTargets] = []
        # What is held for a place, to be let go of when it goes.
        self._keys: dict[TargetState, list[str]] = {}
        self._turn_began = 0.0

    @property
    def members(self) -> list[object]:
        """What it consists of, in many small parts, to `let_go` of."""
        settings, draft = self._configuration, self._draft
        router = () if draft.router is None else (*draft.router.entries, *draft.router.leaves)
        return [
            *settings.apis, *settings.upstreams, *settings.consumers, *draft.upstreams.values(), *draft.units,
            *draft.plans, *router,
        ]

    @property
    def states(self) -> list[TargetState]:
        """The targets it balances over."""
        return [state for upstream in self._draft.upstreams.values() for state in upstream.places]

    @property
    def hosts(self) -> set[str]:
        """The names that its targets have, those of services at this moment."""
        return {place.hostname for upstream in self._draft.upstreams.values() for place in upstream.places.values()}

    @property
    def services(self) -> set[str]:
        """The names of services that it follows."""
        return {one.service.host for one in self._services}

    async def build(self, driver_of: Callable[[], WorkerDriver]) -> LiveRevision:
        """Provision everything; ConfigurationRefused, with nothing left behind, where something fails."""
        draft = self._draft
        assert draft.router is not None
        self._turn_began = self._means.clock.monotonic()
        try:
            for number, settings in enumerate(self._configuration.upstreams):
                upstream = draft.upstreams[settings.name]
                await self._connect_upstream(settings, upstream, f"/upstreams/{number}", driver_of)
                await self._turn_when_due()
            await self._first_answers()
            await self._provision()
        except BaseException:
            self.close()
            raise
        return LiveRevision(
            self._digest, draft.router, draft.rules, draft.fallback, draft.plans, draft.upstreams
        )

    def close(self) -> None:
        """Close every policy, once, and let go of all that is shared."""
        services, self._services = self._services, []
        for service in services:
            service.close()
        units, self._provisioned = self._provisioned, []
        for unit in reversed(units):
            try:
                unit.policy.close()
            except Exception:
                self._means.events.event(
                    "error", "a policy failed to close", step=unit.info.place, traceback=Failure().getTraceback()
                )
        try:
            self._means.shared.release(self._owner)
        except Exception:
            self._means.events.event("error", "a shared thing failed to close", traceback=Failure().getTraceback())

    async def _turn_when_due(self) -> None:
        if self._means.clock.monotonic() - self._turn_began > SLICE:
            await self._means.turn()
            self._turn_began = self._means.clock.monotonic()

    # ---- upstreams

    async def _connect_upstream(
        self, settings: Upstream, upstream: CompiledUpstream, pointer: str, driver_of: Callable[[], WorkerDriver]
    ) -> None:
        context, mark = None, ""
        if any(target.url.startswith("https") for target in settings.targets):
            context, mark = await self._tls(settings.tls, pointer)

        def connect(state: TargetState) -> None:
            place = upstream.places[state]
            road = Road(place.port, context if place.secure else None, settings.tls.server_name or place.server_name)
            self._keys[state] = [self._pool(settings, upstream, state, road, mark)]
            if settings.health.path is not None:
                self._keys[state].append(self._check(settings, state, place, road, mark, driver_of))

        def let_go(state: TargetState) -> None:
            for key in self._keys.pop(state, ()):
                if not any(key in keys for keys in self._keys.values()):  # two places of one address have one pool
                    self._means.shared.let_go(self._owner, key)
            self._means.names.leave(upstream.places[state].hostname)

        for state in upstream.places:
            connect(state)
        for number, target in enumerate(settings.targets):
            if is_service(target):
                service = self._means.names.service(service_name(target))
                followed = ServiceTargets(service, upstream, number, connect, let_go, self._means.events)
                self._services.append(followed)

    async def _first_answers(self) -> None:
        """Wait a moment for services of which nothing is known yet: without them their upstreams have no target. One
        that is not answered for does not hold the revision up."""
        unknown = {one.service for one in self._services if not one.service.found and one.service.error is None}
        if unknown:
            waiting = [service.wait() for service in unknown]
            all_of_them = DeferredList(waiting, consumeErrors=True)
            late = self._means.timers.call_later(FIRST_ANSWER, all_of_them.cancel)
            await all_of_them
            late.cancel()

    async def _tls(self, settings: UpstreamTls, pointer: str) -> tuple[ssl.SSLContext, str]:
        """Once for all upstreams that have the same, and in a thread: reading the system's CAs takes 30 ms."""
        same = settings.model_dump_json()
        if same not in self._contexts:
            try:
                self._contexts[same] = await deferToThread(tls_towards, settings)
            except (CertificateRefused, OSError) as error:
                raise ConfigurationRefused([Problem(f"{pointer}/tls", str(error))]) from error
        return self._contexts[same]

    def _pool(
        self, settings: Upstream, upstream: CompiledUpstream, state: TargetState, road: Road, mark: str
    ) -> str:
        """Put the pool of a place in; one for all revisions in which everything that matters is the same. Returns the
        key that it is shared under."""
        means, place = self._means, upstream.places[state]
        secure = (mark, road.server_name) if place.secure else ()
        key = "pool " + repr((settings.name, place.hostname, place.port, secure, settings.pool.model_dump_json()))

        def make() -> TargetPool:
            pool = TargetPool(
                means.names.name(place.hostname), road, settings.pool, means.connect, means.timers,
                means.clock.monotonic,
            )
            pool.name.follow(pool)
            return pool

        upstream.connectors[state] = means.shared.get(self._owner, key, make)
        return key

    def _check(
        self, settings: Upstream, state: TargetState, place: TargetPlace, road: Road, mark: str,
        driver_of: Callable[[], WorkerDriver],
    ) -> str:
        means = self._means
        key = "check " + repr((settings.name, state.name, state.url, mark, settings.health.model_dump_json()))

        def make() -> Checker:
            checked = CheckedPlace(means.names.name(place.hostname), road, place.host, place.prefix)
            return Checker(
                state, checked, settings.health, means.connect, means.timers, means.random, means.clock.monotonic,
                lambda change: driver_of().health_changed(change),
            )

        means.shared.get(self._owner, key, make)
        return key

    # ---- policies

    async def _provision(self) -> None:
        means = self._means
        consumers = Consumers(self._configuration.consumers)
        for unit in self._draft.units:
            services = Services(
                clock=means.clock, random=means.random, timers=means.timers, store=means.store, events=means.events,
                metrics=means.metrics, consumers=consumers, environment=self._configuration.environment,
                place=unit.info.place, api=unit.info.api, route=unit.info.route,
                shared=partial(means.shared.get, self._owner), hide_in_logs=means.hide_in_logs,
                quotas=means.quotas, notices=means.notices, caches=means.caches,
            )
            await self._provision_one(unit, services)
            await self._turn_when_due()

    async def _provision_one(self, unit: Unit, services: Services) -> None:
        try:
            result = unit.policy.provision(services)
            if result is not None:
                await result
        except Exception as error:
            text = f"{unit.kind.name} could not be provisioned: {type(error).__name__}: {error}"
            raise ConfigurationRefused([Problem(unit.info.pointer, text)]) from error
        self._provisioned.append(unit)


async def let_go(members: list[object], means: Means) -> None:
    """Forget the members of a revision that nobody else holds: 10,000 routes that go at once stop the loop for 50 ms.

    Not a method of the deployment, which holds all of them.
    """
    while members:
        await means.turn()  # first of all, since whoever retired it still has it in hand
        began = means.clock.monotonic()
        while members and means.clock.monotonic() - began < SLICE:
            del members[-100:]


def tls_towards(settings: UpstreamTls) -> tuple[ssl.SSLContext, str]:
    """The TLS context towards targets, and a mark that differs where anything in it does, file contents too."""
    pair = settings.certificate
    certificate = None if pair is None else load_pair(pair.cert, pair.key)
    context = upstream_context(verify=settings.verify, ca=settings.ca, certificate=certificate)
    content = hashlib.sha256(json.dumps(settings.model_dump(mode="json"), sort_keys=True).encode())
    for path in (settings.ca, pair.cert if pair else None, pair.key if pair else None):
        if path is not None:
            content.update(Path(path).read_bytes())
    return context, content.hexdigest()
