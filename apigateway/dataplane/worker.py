"""A worker: listeners, the running revision and the one before, and what operators see of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

from apigateway import __version__
from apigateway.config.model import Configuration
from apigateway.config.revision import withheld
from apigateway.dataplane.bound import Bound, Taking, prepare_listeners, take_listeners
from apigateway.dataplane.building import Building, Built, Candidate, PreparedRevision
from apigateway.dataplane.caches import WorkerCaches
from apigateway.dataplane.deployment import Deployment, Means, let_go
from apigateway.dataplane.driver import WorkerDriver
from apigateway.dataplane.listener import Listener
from apigateway.dataplane.listener_tls import ListenerTlsContext
from apigateway.dataplane.quotas_kept import quotas_shown, reset_usage, usage_shown
from apigateway.dataplane.readings import readings_of, target_shown, upstreams_shown
from apigateway.dataplane.restart import not_taken
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.flow.explaining import explain
from apigateway.flow.live import LiveRevision
from apigateway.flow.target_state import TargetStates
from apigateway.ports.interfaces import IExchangeLog, IWorker, Reading
from apigateway.ports.reloading import outcome_of_reload
from apigateway.wire.ipset import IpSet

Prepare = Callable[[], Deferred[Candidate]]
Endpoint = Callable[[Any, Any], Any]


@implementer(IWorker)
class Worker(Service):
    """Carries traffic from `startService` until `drain`.

    first: what it starts with. prepare: reads the configuration anew, off the reactor; fails with
    ConfigurationRefused. taken: told of every configuration that was taken (keeps the last good one).
    make_endpoint(settings, ssl_context): the endpoint of a listener, with `bind()`.
    """

    name = "worker"

    def __init__(
        self, first: Candidate, means: Means, states: TargetStates, logs: Sequence[IExchangeLog], prepare: Prepare,
        make_endpoint: Endpoint, taken: Callable[[Configuration], None],
    ) -> None:
        self._means = means
        self._states = states
        self._prepare = prepare
        self._taken = taken
        self._first: Candidate | None = first
        self._configuration = first.configuration
        self._deployments: list[Deployment] = []
        self._caches = WorkerCaches(means.caches, means.notices)
        self._metadata = means.caches.cache("api-metadata", 2)
        self._lock = DeferredLock()
        self._building = Building()
        self._last: dict[str, Any] = {}
        self._why_not_ready = "starting"
        self._cut_off = self._closed = False
        self._notice: Deferred[None] | None = None
        self._began = means.clock.monotonic()
        self._draft = first.draft
        empty = LiveRevision("", first.draft.router, first.draft.rules, first.draft.fallback, (), {})  # type: ignore[arg-type]
        self.driver = WorkerDriver(
            empty, means.clock, means.random, means.timers, means.events, means.metrics, tuple(logs)
        )
        self.bound = [self._bind(settings, make_endpoint) for settings in first.configuration.listeners]

    # ---- life

    def _bind(self, settings: Any, make_endpoint: Endpoint) -> Bound:
        configuration, means = self._configuration, self._means
        tls = None
        if settings.tls is not None:
            tls = ListenerTlsContext(settings.name, settings.tls, configuration.certificates, means.events)
        listener = Listener(
            settings, self.driver, means.timers, means.clock.monotonic, IpSet(configuration.trusted_proxies),
            configuration.trusted_fields,
        )
        return Bound(listener, tls, make_endpoint(settings, tls.context if tls else None))

    def privilegedStartService(self) -> None:
        """Bind every address: a port that is taken is an error now, and ports under 1024 are bound as root."""
        for bound in self.bound:
            bound.endpoint.bind()

    async def start(self) -> None:
        """Deploy the first revision, then accept. ConfigurationRefused where it cannot be provisioned.

        A reload that is asked for meanwhile waits until that is done, since what it reads is newer.
        """
        await self._lock.acquire()
        try:
            first, self._first = self._first, None  # which may go when another one is taken
            assert first is not None
            self._swap(await self._build(first))
            del first
            for bound in self.bound:
                bound.port = await bound.endpoint.listen(bound.listener)
            if self._why_not_ready != "draining":
                self._why_not_ready = ""
                self._watch_certificates()
        except BaseException:
            self._closed = True  # so that nothing is taken any more
            raise
        finally:
            self._lock.release()

    async def drain(self, *, handed_over: bool = False) -> None:
        """Not ready, then accept no more, then wait for what runs; what is left at the limit is ended.

        handed_over: somebody else accepts on the addresses already, so that new connections are left to them at once;
        those that are open are told during the notice, as always.
        """
        settings = self._configuration.drain
        if self._why_not_ready != "draining":
            self._why_not_ready = "draining"
            for bound in self.bound:
                bound.listener.draining = True
                if bound.look is not None:
                    bound.look.cancel()
            if handed_over:
                await self._stop_listening()
            await self._give_notice(settings.notice)
            await self._stop_listening()
            for bound in self.bound:
                bound.listener.drain()
            if self._cut_off:
                self.abort()
            empty = DeferredList([bound.listener.empty() for bound in self.bound])
            late = self._means.timers.call_later(settings.timeout, self._end_what_is_left)
            await empty
            late.cancel()

    async def _stop_listening(self) -> None:
        for bound in self.bound:
            if bound.port is not None:
                await maybeDeferred(bound.port.stopListening)

    def _end_what_is_left(self) -> None:
        for bound in self.bound:
            bound.listener.end_all()

    def abort(self) -> None:
        """End what is left at once, and do not wait for what may still come."""
        self._cut_off = True
        for bound in self.bound:
            bound.listener.abort_all()
        self._notice_over()

    def close(self) -> None:
        """After the drain: let go of everything."""
        self._closed = True
        self.driver.close()
        self.driver.revision.retire(lambda: None)
        for deployment in self._deployments:
            deployment.close()
        self._deployments.clear()
        self._means.names.close()
        self._caches.close()

    async def _give_notice(self, seconds: float) -> None:
        if not self._cut_off:
            notice = self._notice = Deferred()
            over = self._means.timers.call_later(seconds, self._notice_over)
            await notice
            over.cancel()

    def _notice_over(self) -> None:
        notice, self._notice = self._notice, None
        if notice is not None:
            notice.callback(None)

    def _watch_certificates(self) -> None:
        for bound in self.bound:
            if bound.tls is not None and bound.listener.settings.tls is not None:
                self._look_at_files(bound, bound.tls)

    def _look_at_files(self, bound: Bound, tls: ListenerTlsContext) -> None:
        settings = bound.listener.settings.tls
        assert settings is not None
        tls.refresh(self._now())
        bound.look = self._means.timers.call_later(settings.check_files, self._look_at_files, bound, tls)

    # ---- revisions

    async def prepare(self, read: Prepare) -> PreparedRevision:
        """Build a revision beside the running one, from what `read` gives.

        ConfigurationRefused where it cannot be, with nothing left behind. One at a time: the next `prepare` waits
        until this one is committed or discarded.
        """
        await self._lock.acquire()
        self._building.begin()
        try:
            if self._closed or self._why_not_ready == "draining":
                raise ConfigurationRefused([Problem("", "the worker is ending")])
            candidate = await read()
            listeners = prepare_listeners(self.bound, candidate.configuration)
            built = await self._build(candidate)
        except BaseException:
            self._built_or_not(taken=False)
            raise
        return PreparedRevision(
            built.live.digest, lambda: self._commit(built, listeners), lambda: self._discard(built)
        )

    async def _build(self, candidate: Candidate) -> Built:
        deployment = Deployment(self._means, candidate.configuration, candidate.draft, candidate.digest)
        # Known from now on: an old revision that ends meanwhile must not forget this one's names and targets.
        self._deployments.append(deployment)
        try:
            live = await deployment.build(lambda: self.driver)
            if self._closed:
                deployment.close()  # once more: it went on building after the worker let go of everything
                raise ConfigurationRefused([Problem("", "the worker has ended meanwhile")])
        except BaseException:
            if deployment in self._deployments:
                self._deployments.remove(deployment)
            raise
        return Built(candidate, deployment, live)

    def _commit(self, built: Built, listeners: Taking) -> None:
        if self._closed:
            self._discard(built)
            return
        self._swap(built)
        take_listeners(listeners, built.candidate.configuration, self._now())
        self._built_or_not(taken=True)

    def _discard(self, built: Built) -> None:
        if built.deployment in self._deployments:
            self._deployments.remove(built.deployment)
            built.deployment.close()
        self._built_or_not(taken=False)

    def _built_or_not(self, *, taken: bool) -> None:
        self._building.end(taken=taken)
        self._lock.release()
        self._forget()

    def _swap(self, built: Built) -> None:
        """One reference is swapped: what begins from now on is the new revision's."""
        means, name = self._means, built.live.digest
        previous = next((one for one in reversed(self._deployments) if one is not built.deployment), None)
        old, self.driver.revision = self.driver.revision, built.live
        self._configuration, self._draft = built.candidate.configuration, built.candidate.draft
        self._metadata.purge()
        for upstream in built.live.upstreams.values():
            upstream.balancer.takes_over()
        old.retire(lambda: self._retired(previous))
        self._last = outcome_of_reload(taken=True, digest=name, wall=means.clock.wall())
        means.metrics.digest(name)
        means.metrics.reload("taken")
        if previous is not None:
            means.events.event("info", "revision taken", revision=name)
        self._taken(self._configuration)

    def _retired(self, deployment: Deployment | None) -> None:
        """The last exchange of a revision has ended."""
        if deployment is not None and deployment in self._deployments:
            self._deployments.remove(deployment)
            deployment.close()
            Deferred.fromCoroutine(let_go(deployment.members, self._means))
        self._forget()

    def _forget(self) -> None:
        """Forget names and targets that no revision has. Not while one is being prepared: it may have asked for some
        that are not known to be its own yet."""
        if not self._lock.locked:
            self._states.keep([state for one in self._deployments for state in one.states])
            self._means.names.keep(
                {host for one in self._deployments for host in one.hosts},
                {name for one in self._deployments for name in one.services},
            )

    def reload(self) -> Deferred[dict[str, Any]]:
        """Prepare, deploy, swap; one at a time. Never fails: what was wrong is in the result."""
        return Deferred.fromCoroutine(self._reload())

    async def _reload(self) -> dict[str, Any]:
        try:
            prepared = await self.prepare(lambda: Deferred.fromCoroutine(self._read_anew()))
            prepared.commit()
        except ConfigurationRefused as refused:
            self._refused(refused.problems)
        except Exception as error:
            self._means.events.event("error", "reload failed", traceback=Failure().getTraceback())
            self._refused([Problem("", f"{type(error).__name__}: {error}")])
        return self._last

    async def _read_anew(self) -> Candidate:
        candidate = await self._prepare()
        problems = not_taken(self._configuration, candidate.configuration)
        if problems:
            raise ConfigurationRefused(problems)
        return candidate

    def _refused(self, problems: Sequence[Problem]) -> None:
        texts = [str(problem) for problem in problems]
        self._last = outcome_of_reload(
            taken=False, digest=self.driver.revision.digest, wall=self._means.clock.wall(), problems=texts
        )
        self._means.metrics.reload("refused")
        self._means.events.event("error", "configuration refused, the running revision stays", problems=texts)

    # ---- IWorker

    def live(self) -> bool:
        return True

    def ready(self) -> tuple[bool, str]:
        return not self._why_not_ready, self._why_not_ready

    def status(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "environment": self._configuration.environment,
            "uptime_seconds": round(self._means.clock.monotonic() - self._began, 3),
            "ready": not self._why_not_ready,
            "why_not_ready": self._why_not_ready,
            "revision": self.driver.revision.digest,
            "exchanges_running": self.driver.revision.active,
            "revisions_in_use": len(self._deployments),
            "last_reload": self._last,
            "state": self._means.state_shown(),
            "listeners": [
                {"name": bound.listener.name, "address": bound.listener.settings.address,
                 "tls": bound.tls is not None, "connections": len(bound.listener.connections)}
                for bound in self.bound
            ],
            "unverified_upstreams": [
                upstream.name for upstream in self._configuration.upstreams if not upstream.tls.verify
            ],
        }

    async def configuration(self) -> dict[str, Any]:
        configuration = self._configuration
        shown: dict[str, Any] | None = self._metadata.get("configuration")
        if shown is None:
            shown = await deferToThread(withheld, configuration)  # of 10,000 routes it takes 0.1 s
            if configuration is self._configuration:
                self._metadata.put("configuration", shown)
        return shown

    def upstreams(self) -> list[dict[str, Any]]:
        return upstreams_shown(self.driver.revision, self._means.clock.monotonic())

    def drain_target(self, upstream: str, target: str, draining: bool) -> dict[str, Any]:
        found = self.driver.revision.upstreams[upstream]
        for state in found.places:
            if state.name == target:
                state.drain(draining)
                self._means.events.event(
                    "info", "target drains" if draining else "target serves again", upstream=upstream, target=target
                )
                return target_shown(found, state, self._means.clock.monotonic())
        raise LookupError(target)

    def quotas(self) -> list[dict[str, Any]]:
        return quotas_shown(self._draft.units)

    async def quota_usage(self, step: str, key: str, most: int) -> list[dict[str, Any]]:
        return await usage_shown(self._draft.units, step, key, most)

    async def reset_quota(self, step: str, key: str) -> bool:
        return await reset_usage(self._draft.units, step, key, self._means.events)

    def caches(self) -> list[dict[str, Any]]:
        return self._caches.shown()

    def purge_caches(self, name: str, everywhere: bool) -> int:
        self._means.events.event("info", "caches purged", cache=name or "all", everywhere=everywhere)
        return self._caches.purge(name, everywhere=everywhere)

    def explain(self, method: str, url: str, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        return explain(self._draft, method, url, headers, now=self._means.clock.monotonic())

    def readings(self) -> list[Reading]:
        """Figures for the metrics page."""
        now = self._means.clock.monotonic()
        return [*readings_of(self.bound, self.driver.revision, now), *self._caches.readings()]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._means.clock.wall(), UTC)
