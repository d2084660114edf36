"""The machine's hands: opens upstream connections, keeps time, tells what happened. One for a worker."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final

from apigateway.dataplane.equal_timers import EqualTimers
from apigateway.dataplane.mirroring import Mirroring
from apigateway.dataplane.opening import Opening
from apigateway.dataplane.pool import TargetPool
from apigateway.dataplane.upstream import UpstreamConnection
from apigateway.flow import faults
from apigateway.flow.attempting import Attempting
from apigateway.flow.driver import AttemptFailure
from apigateway.flow.exchange import Exchange
from apigateway.flow.live import LiveRevision
from apigateway.flow.mirror import MirrorCopy
from apigateway.flow.target_state import HealthChange, TargetState
from apigateway.flow.upstream import CompiledUpstream
from apigateway.ports.interfaces import IClock, IEventLog, IExchangeLog, IMetrics, IRandom, ITimers

FULL: Final = AttemptFailure(
    faults.OVERLOADED, "connect-failure", False, "the target has as many connections as it may"
)


class WorkerDriver:
    """The Driver of a worker's exchanges. revision: what new exchanges begin with; swapped as one reference."""

    def __init__(
        self, revision: LiveRevision, clock: IClock, random: IRandom, timers: ITimers, events: IEventLog,
        metrics: IMetrics, logs: tuple[IExchangeLog, ...],
    ) -> None:
        self.revision = revision
        self.now: Callable[[], float] = clock.monotonic
        self._wall: Callable[[], float] = clock.wall
        self._second = -1
        self._date = b""
        self.random = random
        self.timers = timers
        self.events = events
        self._metrics = metrics
        self._logs = logs
        # Unique among workers by its random start; in order within one. No secret hangs on it.
        self._prefix = random.token(5).hex() + "-"
        self._count = 0
        self._time_outs = EqualTimers(timers, self.now)
        self._mirroring = Mirroring(self)

    def next_id(self) -> str:
        """The id of a new exchange."""
        self._count += 1
        return self._prefix + hex(self._count)[2:]

    def open_upstream(
        self, machine: Attempting, upstream: CompiledUpstream, target: TargetState, fresh: bool
    ) -> UpstreamConnection | None:
        pool: TargetPool = upstream.connectors[target]  # type: ignore[assignment]
        if not fresh:
            connection = pool.checkout()
            if connection is not None:
                connection.carry(machine, upstream)
                return connection
        if pool.reserve():
            machine.opening = opening = Opening(pool, machine, upstream)
            opening.begin()
        else:
            machine.opening = self.timers.call_later(0, machine.upstream_failed, FULL)
        return None

    def call_later(self, seconds: float, callable: Callable[[], Any]) -> Any:
        return self.timers.call_later(seconds, callable)

    def time_out(self, seconds: float, callable: Callable[[], Any]) -> Any:
        return self._time_outs.call_later(seconds, callable)

    def date(self) -> bytes:
        second = int(self._wall())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode("ascii")
        return self._date

    def event(self, level: str, message: str, **fields: Any) -> None:
        self.events.event(level, message, **fields)

    def attempted(self, upstream: str, target: str, result: str) -> None:
        self._metrics.attempt(upstream, target, result)

    def health_changed(self, change: HealthChange) -> None:
        level = "info" if change.state in ("healthy", "back", "closed") else "warn"
        self.events.event(
            level, f"target is {change.state}", upstream=change.upstream, target=change.target, why=change.why
        )

    def mirror(self, copy: MirrorCopy, revision: LiveRevision) -> None:
        self._mirroring.begin(copy, revision)

    def close(self) -> None:
        """End what goes on without a client."""
        self._mirroring.close()
        self._time_outs.close()

    def finished(self, exchange: Exchange) -> None:
        for log in self._logs:
            log.finished(exchange)
