"""What carries traffic in a process, put together: a worker, its logs, its figures, and what it is built with."""

from __future__ import annotations

import gc
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from apigateway.adapters.access_log import AccessLog
from apigateway.adapters.batch import Batch
from apigateway.adapters.dns import DnsResolver
from apigateway.adapters.event_log import EventLog
from apigateway.adapters.log_file import LogFile
from apigateway.adapters.metrics import Metrics
from apigateway.adapters.quota_file import FileQuotas
from apigateway.adapters.redis.dialling import Reach
from apigateway.adapters.shared_state import SharedState
from apigateway.adapters.system import ReactorTimers
from apigateway.checking import Checked, Parts, state_context
from apigateway.config.model import Configuration
from apigateway.config.revision import digest
from apigateway.dataplane.building import Candidate
from apigateway.dataplane.deployment import Means
from apigateway.dataplane.names import Names
from apigateway.dataplane.pool import NotTrusted
from apigateway.dataplane.worker import Endpoint, Prepare, Worker
from apigateway.errors import ConfigurationRefused
from apigateway.flow.services import Shared
from apigateway.ports.interfaces import IExchangeLog, Reading
from apigateway.ports.memory_quotas import MemoryQuotas
from apigateway.transport.endpoints import NativeClientEndpoint, TlsHandshakeFailed

# How often the loop's lateness is measured.
LAG_INTERVAL = 0.5
# The file under data_dir.
QUOTAS = "quotas.sqlite"
# Seconds that a thread keeps the interpreter when the loop wakes up: the interpreter's own 5 ms would be paid at each
# wake-up, while a file of 1,000 Apis is read, checked or stored.
THREAD_TURN = 0.0005


class Traffic:
    """A worker with everything around it.

    first: what it starts with. endpoint, prepare, taken: see Worker. shares_logs: other processes write to the same
    logs, so that a pipe gets whole lines.
    """

    def __init__(
        self, reactor: Any, first: Candidate, parts: Parts, endpoint: Endpoint, prepare: Prepare,
        taken: Callable[[Configuration], None], *, shares_logs: bool = False,
    ) -> None:
        self._reactor = reactor
        configuration, timers, clock = first.configuration, ReactorTimers(reactor), parts.clock
        logs = configuration.logs
        error_file = open_log(logs.error, reactor, shared=shares_logs)
        access_file = open_log(logs.access, reactor, shared=shares_logs)
        self.events = EventLog(error_file, clock)
        self._access_log = None
        if access_file is not None:
            self._access_log = AccessLog(access_file, timers, clock, events=self.events, hide=logs.hide)
        files = (("access", access_file), ("error", error_file))
        self._files = {name: file for name, file in files if file is not None}
        self.metrics = cast(Metrics, parts.metrics)
        records: list[IExchangeLog] = [self.metrics, *([self._access_log] if self._access_log else [])]
        self._records = Batch(records, timers)
        resolver = DnsResolver(reactor, configuration.resolver.servers)
        names = Names(resolver, timers, clock.monotonic, self.events, configuration.resolver.max_stale)
        # Beside a state of this process alone; without a folder they end with the process (embedded, see assembly).
        self._quotas: FileQuotas | None = None
        if not configuration.state.remote and configuration.data_dir is not None:
            file = Path(configuration.data_dir) / QUOTAS
            self._quotas = FileQuotas(file, clock, timers, reactor.callFromThread, self.events)
        reach = Reach(self._connect, resolver, timers, clock.monotonic, state_context(first.state))
        self._state = SharedState(
            first.state, configuration.environment, reach, clock, parts.random, self.events,
            self._quotas or MemoryQuotas(clock),
        )
        means = Means(
            clock=clock, random=parts.random, timers=timers, store=self._state.store, events=self.events,
            metrics=self.metrics, shared=Shared(), names=names, connect=self._connect, turn=self._turn,
            hide_in_logs=self._access_log.hide if self._access_log else lambda name: None,
            quotas=self._state.quotas, notices=self._state.notices, state_shown=self._state.shown,
        )
        self.worker = Worker(first, means, parts.states, (self._records,), prepare, endpoint, taken)
        self.metrics.readings = self.readings
        self._lag = LoopingCall(self._measure_lag)
        self._lag_due = 0.0

    async def start(self) -> None:
        """Accept. ConfigurationRefused where something cannot be provisioned."""
        await self._state.start()
        await self.worker.start()
        self._lag_due = self._reactor.seconds()
        self._lag.start(LAG_INTERVAL)
        settle_memory()
        sys.setswitchinterval(THREAD_TURN)

    async def drain(self, *, handed_over: bool = False) -> None:
        """See Worker.drain."""
        if self._lag.running:
            self._lag.stop()
        await self.worker.drain(handed_over=handed_over)

    def flush(self) -> None:
        """Have every exchange that is over counted and on its way to the log."""
        self._records.flush()

    async def close_logs(self) -> None:
        """Write what waits; the last thing that is done."""
        await self._state.close()
        if self._quotas is not None:
            await self._quotas.close()
        self._records.close()
        if self._access_log is not None:
            await self._access_log.close()
        await self.events.close()

    def reopen_logs(self) -> None:
        """Open the log files anew, for whoever rotates them."""
        self._records.flush()
        if self._access_log is not None:
            self._access_log.reopen()
        self.events.reopen()

    def readings(self) -> list[Reading]:
        """Figures that are read, not counted."""
        self._records.flush()
        lost = [Reading("log_lines_lost", (name,), float(file.lost)) for name, file in self._files.items()]
        return [*self.worker.readings(), *self._state.readings(), *lost]

    # ---- what the worker asks for

    def _connect(
        self, address: tuple[str, int] | str, factory: Factory, context: ssl.SSLContext | None, server_name: str,
        within: float,
    ) -> Deferred[Any]:
        endpoint = NativeClientEndpoint(
            self._reactor, address, ssl_context=context, server_hostname=server_name if context else None,
            timeout=within,
        )
        return endpoint.connect(factory).addErrback(_in_words_of_the_dataplane)

    def _turn(self) -> Deferred[None]:
        return deferLater(self._reactor, 0)

    def _measure_lag(self) -> None:
        now = self._reactor.seconds()
        self.metrics.loop_lag(max(0.0, now - self._lag_due))
        self._lag_due = now + LAG_INTERVAL


def candidate_of(checked: Checked) -> Candidate:
    """What was checked, to be deployed; ConfigurationRefused where it may not be. In a thread: it takes its time."""
    if not checked.ok or checked.configuration is None or checked.draft is None:
        problems = [problem for problem in checked.problems if not problem.warning]
        del checked  # what failed in a thread keeps this frame in a circle, and would keep the whole draft
        raise ConfigurationRefused(problems)
    return Candidate(checked.configuration, checked.draft, digest(checked.configuration.revision), checked.state)


def open_log(path: str, reactor: Any, *, shared: bool = False) -> LogFile | None:
    """The sink of a log: a file or standard output; None where it is off."""
    return None if path == "off" else LogFile(path, reactor, shared=shared)


def settle_memory() -> None:
    """What was built for a revision stays: it need not be looked at for garbage again and again. An exchange leaves no
    cycles behind, so that the collector may come less often than for other programs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _in_words_of_the_dataplane(failure: Failure) -> Failure:
    """A failed connect, told without naming the transport."""
    return Failure(NotTrusted(str(failure.value))) if failure.check(TlsHandshakeFailed) else failure
