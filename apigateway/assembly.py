"""The one place where concrete things meet: from a checked file to a running service."""

from __future__ import annotations

import gc
import signal
import ssl
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from apigateway.adapters.access_log import AccessLog
from apigateway.adapters.batch import Batch
from apigateway.adapters.dns import DnsResolver
from apigateway.adapters.event_log import EventLog
from apigateway.adapters.log_file import LogFile
from apigateway.adapters.metrics import Metrics
from apigateway.adapters.system import ReactorTimers
from apigateway.checking import Checked, Parts, check_file
from apigateway.config import last_good
from apigateway.config.addresses import UnixAddress, parse_listen_address
from apigateway.config.model import Configuration
from apigateway.dataplane.certificates import stamp
from apigateway.dataplane.deployment import Means
from apigateway.dataplane.names import Names
from apigateway.dataplane.pool import NotTrusted
from apigateway.dataplane.resource import GatewayResource
from apigateway.dataplane.worker import Candidate, Worker
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.flow.services import Shared
from apigateway.manager.site import ManagementSite
from apigateway.manager.worker_api import resource
from apigateway.ports.interfaces import IExchangeLog, Reading
from apigateway.ports.memory_store import MemoryStore
from apigateway.transport.endpoints import NativeClientEndpoint, NativeServerEndpoint, TlsHandshakeFailed
from apigateway.transport.reactor import loop_of
from apigateway.wire.ipset import IpSet

__all__ = ["Checked", "GatewayService", "check_file", "gateway_resource", "make_service"]

log = Logger()

LAST_GOOD = "last-good.json"
# How often the loop's lateness is measured, and a watched file looked at.
LAG_INTERVAL = 0.5
WATCH_INTERVAL = 1.0


def make_service(reactor: Any, path: str, *, last_good: bool = False) -> GatewayService:
    """The service of a configuration file. ConfigurationRefused where it is broken.

    last_good: where it is, start with the last good one of its data_dir (or of ./data beside it) instead.
    """
    parts = Parts(metrics=Metrics())
    checked = check_file(path, serving=True, parts=parts)
    if not checked.ok and last_good:
        checked = check_file(path, serving=True, parts=parts, last_good_path=str(last_good_path(checked, path)))
    if not checked.ok:
        raise ConfigurationRefused(problem for problem in checked.problems)
    return GatewayService(reactor, path, checked, parts)


def gateway_resource(reactor: Any, path: str) -> Deferred[GatewayResource]:
    """The plans of a configuration file as a resource, for a program that has a twisted.web site of its own.

    Fires when it is ready; fails with ConfigurationRefused. The file's listeners, management listener, data_dir and
    `watch` are left alone, signals and Twisted's log stay the program's; there is no reload. The reactor has to be
    asyncio's (apigateway.transport.reactor.install), which the connections to targets need. The resource is closed
    when the reactor stops, or by its `close`.
    """
    return Deferred.fromCoroutine(_gateway_resource(reactor, path))


async def _gateway_resource(reactor: Any, path: str) -> GatewayResource:
    parts = Parts(metrics=Metrics())
    checked = check_file(path, serving=True, parts=parts)
    configuration = _candidate(checked).configuration
    drain = configuration.drain
    embedded = configuration.model_copy(
        update={
            "listeners": (), "management": None, "data_dir": None, "watch": False,
            "drain": drain.model_copy(update={"notice": 0.0}),
        }
    )
    service = GatewayService(reactor, path, replace(checked, configuration=embedded), parts)
    resource = GatewayResource(
        service.worker.driver, trusted=IpSet(configuration.trusted_proxies), drain=drain.timeout,
        release=service.stopService,
    )
    try:
        await service.worker.start()
    except ConfigurationRefused:
        await service.stopService()
        raise
    reactor.addSystemEventTrigger("before", "shutdown", resource.close)
    return resource


def last_good_path(checked: Checked, path: str) -> Path:
    """Where the last good configuration of a file is kept."""
    configuration = checked.configuration
    folder = configuration.data_dir if configuration is not None and configuration.data_dir else None
    return (Path(folder) if folder else Path(path).resolve().parent / "data") / LAST_GOOD


class GatewayService(MultiService):
    """One process: a worker, its management listener, its logs, and the signals that steer it.

    `failed` is the exit status to end with: 0, or 1 after a start that failed.
    """

    def __init__(self, reactor: Any, path: str, checked: Checked, parts: Parts) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        assert checked.configuration is not None and checked.draft is not None
        configuration = self.settings = checked.configuration
        self._reactor, self._path, self._parts = reactor, path, parts
        self._keep = last_good_path(checked, path) if configuration.data_dir else None
        self.failed = 0
        self._stopping = False
        timers, clock = ReactorTimers(reactor), parts.clock
        logs = configuration.logs
        error_file, access_file = open_log(logs.error, reactor), open_log(logs.access, reactor)
        self.events = EventLog(error_file, clock)
        self._access_log = None
        if access_file is not None:
            self._access_log = AccessLog(access_file, timers, clock, events=self.events, hide=logs.hide)
        files = (("access", access_file), ("error", error_file))
        self._files = {name: file for name, file in files if file is not None}
        self.metrics = cast(Metrics, parts.metrics)
        records: list[IExchangeLog] = [self.metrics, *([self._access_log] if self._access_log else [])]
        self._records = Batch(records, timers)
        names = Names(
            DnsResolver(reactor, configuration.resolver.servers), timers, clock.monotonic, self.events,
            configuration.resolver.max_stale,
        )
        means = Means(
            clock=clock, random=parts.random, timers=timers, store=MemoryStore(clock), events=self.events,
            metrics=self.metrics, shared=Shared(), names=names, connect=self._connect, turn=self._turn,
            hide_in_logs=self._access_log.hide if self._access_log else lambda name: None,
        )
        self.worker = Worker(
            Candidate(configuration, checked.draft), means, parts.states, (self._records,), self._prepare,
            self._endpoint, self._taken,
        )
        self.metrics.readings = self._readings
        self._management = self._management_endpoint()
        self._management_port: Any = None
        self._lag = LoopingCall(self._measure_lag)
        self._lag_due = 0.0
        self._storing = DeferredLock()
        self._watch = LoopingCall(self._look_at_file)
        self._seen = stamp(path)
        # Started by startService; fires when the worker accepts, or with what went wrong.
        self.started: Deferred[None] = Deferred()

    # ---- service

    def privilegedStartService(self) -> None:
        self.worker.privilegedStartService()
        if self._management is not None:
            self._management.bind()
        super().privilegedStartService()  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self.events.observe()
        self._on_signals()
        starting = Deferred.fromCoroutine(self._start())
        starting.addErrback(self._start_failed)
        starting.chainDeferred(self.started)

    async def _start(self) -> None:
        await self.worker.start()
        if self._management is not None:
            self._management_port = await self._management.listen(ManagementSite(self._management_resource()))
        self._lag_due = self._reactor.seconds()
        self._lag.start(LAG_INTERVAL)
        if self.settings.watch:
            self._watch.start(WATCH_INTERVAL, now=False)
        settle_memory()
        self.events.event("info", "serving", revision=self.worker.driver.revision.digest, file=self._path)

    def _start_failed(self, failure: Failure) -> None:
        error = failure.value
        problems = error.problems if isinstance(error, ConfigurationRefused) else (Problem("", str(error)),)
        for problem in problems:
            log.critical("{problem}", problem=str(problem))
        self.failed = 1
        self._reactor.callLater(0, self._stop_reactor)

    def stopService(self) -> Deferred[Any]:
        """Drain, then let go of everything. Called by the reactor's shutdown, which waits for it."""
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for loop in (self._lag, self._watch):
            if loop.running:
                loop.stop()
        await self.worker.drain()
        if self._management_port is not None:
            await self._management_port.stopListening()
        self.worker.close()
        await self._storing.run(lambda: None)
        self.events.event("info", "stopped")
        self._records.close()
        if self._access_log is not None:
            await self._access_log.close()
        await self.events.close()
        result = super().stopService()  # type: ignore[no-untyped-call]
        if result is not None:
            await result
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            loop_of(self._reactor).remove_signal_handler(number)

    # ---- signals

    def _on_signals(self) -> None:
        loop = loop_of(self._reactor)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)

    def _hang_up(self) -> None:
        """SIGHUP: reload, and open the logs again."""
        self.reopen_logs()
        self.worker.reload()

    def _terminate(self) -> None:
        """The first one drains, the second ends."""
        if self._stopping:
            self.events.event("warn", "second signal: ending now")
            self.worker.abort()
        else:
            self._stop_reactor()

    def _stop_reactor(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def reopen_logs(self) -> None:
        """Open the log files anew, for whoever rotates them."""
        self._records.flush()
        if self._access_log is not None:
            self._access_log.reopen()
        self.events.reopen()

    # ---- what the worker asks for

    def _prepare(self) -> Deferred[Candidate]:
        """Read and check the file in a thread: a large one would stop the loop."""
        return deferToThread(check_file, self._path, serving=True, parts=self._parts).addCallback(_candidate)

    def _endpoint(self, settings: Any, context: ssl.SSLContext | None) -> NativeServerEndpoint:
        return NativeServerEndpoint(self._reactor, place_of_address(settings.address), ssl_context=context)

    def _connect(
        self, address: tuple[str, int], factory: Factory, context: ssl.SSLContext | None, server_name: str,
        within: float,
    ) -> Deferred[Any]:
        endpoint = NativeClientEndpoint(
            self._reactor, address, ssl_context=context, server_hostname=server_name if context else None,
            timeout=within,
        )
        return endpoint.connect(factory).addErrback(_in_words_of_the_dataplane)

    def _turn(self) -> Deferred[None]:
        return deferLater(self._reactor, 0)

    def _taken(self, configuration: Configuration) -> None:
        """Keep what was taken, one after the other, off the reactor: fsync may take its time."""
        self.settings = configuration
        if self._keep is None:
            return
        stored = self._storing.run(deferToThread, _store, self._keep, configuration)
        stored.addErrback(
            lambda failure: self.events.event("error", "the last good revision was not stored", why=str(failure.value))
        )

    # ---- management and figures

    def _management_endpoint(self) -> NativeServerEndpoint | None:
        settings = self.settings.management
        return None if settings is None else NativeServerEndpoint(self._reactor, place_of_address(settings.address))

    def _management_resource(self) -> Any:
        settings = self.settings.management
        assert settings is not None
        exposition = partial(self.metrics.exposition_later, self._reactor)
        return resource(self.worker, settings.tokens, exposition, self.events)

    def _readings(self) -> list[Reading]:
        self._records.flush()
        lost = [Reading("log_lines_lost", (name,), float(file.lost)) for name, file in self._files.items()]
        return [*self.worker.readings(), *lost]

    def _measure_lag(self) -> None:
        now = self._reactor.seconds()
        self.metrics.loop_lag(max(0.0, now - self._lag_due))
        self._lag_due = now + LAG_INTERVAL

    def _look_at_file(self) -> None:
        seen, self._seen = self._seen, stamp(self._path)
        if seen != self._seen:
            self.worker.reload()


def _in_words_of_the_dataplane(failure: Failure) -> Failure:
    """A failed connect, told without naming the transport."""
    return Failure(NotTrusted(str(failure.value))) if failure.check(TlsHandshakeFailed) else failure


def settle_memory() -> None:
    """What was built for a revision stays: it need not be looked at for garbage again and again. An exchange leaves no
    cycles behind, so that the collector may come less often than for other programs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def open_log(path: str, reactor: Any) -> LogFile | None:
    """The sink of a log: a file or standard output; None where it is off."""
    return None if path == "off" else LogFile(path, reactor)


def place_of_address(address: str) -> Any:
    """(ip, port) or a Unix socket's path, from a listener's address."""
    parsed = parse_listen_address(address)
    return parsed.path if isinstance(parsed, UnixAddress) else (parsed.host, parsed.port)


def _candidate(checked: Checked) -> Candidate:
    if not checked.ok or checked.configuration is None or checked.draft is None:
        raise ConfigurationRefused(problem for problem in checked.problems if not problem.warning)
    return Candidate(checked.configuration, checked.draft)


def _store(path: Path, configuration: Configuration) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    last_good.store(path, configuration)
