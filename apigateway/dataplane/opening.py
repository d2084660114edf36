"""A connection on its way: the name looked up, the target connected, or what became of it instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, TCPTimedOutError, TimeoutError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from apigateway.dataplane.pool import NotTrusted, TargetPool
from apigateway.dataplane.shortage import short_of
from apigateway.dataplane.upstream import UpstreamConnection
from apigateway.flow import faults
from apigateway.flow.driver import AttemptFailure
from apigateway.flow.upstream import CompiledUpstream
from apigateway.ports.interfaces import NameNotFound, ResolutionFailed

if TYPE_CHECKING:
    from apigateway.flow.attempting import Attempting


class _One(Factory):
    """A factory for the one connection that is being opened."""

    noisy = False

    def __init__(self, protocol: UpstreamConnection) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Any:
        return self._protocol


class Opening:
    """A connection on its way for an exchange; the pool has reserved its place."""

    def __init__(self, pool: TargetPool, machine: Attempting, upstream: CompiledUpstream) -> None:
        self._pool = pool
        self._machine: Attempting | None = machine
        self._upstream = upstream
        self._waiting: Deferred[Any] | None = None

    def begin(self) -> None:
        """Look the name up where its address is not known, then connect."""
        name = self._pool.name
        if name.addresses:
            self._connect(name.next())
        elif name.error is not None:
            # Not now: the machine is told of a failure only after it was told that this is under way.
            self._pool.timers.call_later(0, self._unresolved, Failure(name.error))
        else:
            self._waiting = waiting = name.wait()
            late = self._pool.timers.call_later(self._within(), waiting.cancel)
            waiting.addBoth(_over, late)
            waiting.addCallbacks(lambda _: self._connect(name.next()), self._unresolved)

    def _within(self) -> float:
        """Seconds that looking up, or connecting, may take."""
        assert self._machine is not None
        return min(self._upstream.connect_timeout, max(0.001, self._machine.deadline - self._pool.now()))

    def _connect(self, address: str) -> None:
        if self._machine is None:
            return
        pool, road = self._pool, self._pool.road
        connection = UpstreamConnection(pool, (address, road.port), pool.timers, pool.now)
        self._waiting = waiting = pool.connect(
            (address, road.port), _One(connection), road.context, road.server_name, self._within()
        )
        waiting.addCallbacks(self._connected, self._failed)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._waiting = None
        machine, self._machine = self._machine, None
        self._pool.opened(connection)
        if machine is None:
            connection.close()
            return
        connection.carry(machine, self._upstream)
        machine.upstream_opened(connection)

    def _failed(self, failure: Failure) -> None:
        self._waiting = None
        machine, self._machine = self._machine, None
        self._pool.not_opened()
        if machine is not None:
            machine.upstream_failed(connect_failure(failure))

    def _unresolved(self, failure: Failure) -> None:
        self._waiting = None
        machine, self._machine = self._machine, None
        self._pool.not_opened()
        if machine is not None:
            missing = failure.check(NameNotFound)
            kind = faults.UNAVAILABLE if missing else faults.NAME_FAILED
            machine.upstream_failed(AttemptFailure(kind, "connect-failure", False, _text(failure)))

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._machine = None
        if self._waiting is not None:
            self._waiting.cancel()


def _over(result: Any, late: Any) -> Any:
    late.cancel()
    return result


def connect_failure(failure: Failure) -> AttemptFailure:
    """What a failed connect means: nothing was sent, so that it may be tried again whatever the method."""
    text = _text(failure)
    if short_of(failure.value):
        # Not the target's fault: it is not put aside for it, or all of them would be.
        return AttemptFailure(faults.OVERLOADED, "connect-failure", False, text)
    if failure.check(NotTrusted):
        return AttemptFailure(faults.TLS_FAILED, "connect-failure", False, text)
    if failure.check(TimeoutError, TCPTimedOutError):
        return AttemptFailure(faults.CONNECT_TIMEOUT, "connect-failure", False, text)
    if failure.check(ConnectError, OSError, ResolutionFailed):
        return AttemptFailure(faults.CONNECT_FAILED, "connect-failure", False, text)
    return AttemptFailure(faults.INTERNAL, "", False, text)


def _text(failure: Failure) -> str:
    return f"{failure.type.__name__}: {failure.value}" if failure.type else str(failure.value)
