"""The connections to one place: kept, opened, counted."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from apigateway.config.model import Pool, Timeouts
from apigateway.dataplane.names import Name
from apigateway.dataplane.upstream import UpstreamConnection
from apigateway.flow import faults
from apigateway.flow.driver import AttemptFailure
from apigateway.ports.interfaces import ITimers, NameNotFound, ResolutionFailed

if TYPE_CHECKING:
    from apigateway.flow.attempting import Attempting

# (address, factory, TLS context or None, name checked in the certificate, seconds) -> Deferred of the protocol.
Connect = Callable[[tuple[str, int], Factory, ssl.SSLContext | None, str, float], Deferred[Any]]

# A target that keeps idle connections N seconds closes them at N: a request sent just then is lost. So ours go first.
KEEP_ALIVE_MARGIN = 1.0


@dataclass(frozen=True, slots=True)
class Road:
    """How to get to a place; connections are shared by whatever has the same one. context None: no TLS."""

    port: int
    context: ssl.SSLContext | None
    server_name: str


class _One(Factory):
    """A factory for the one connection that is being opened."""

    noisy = False

    def __init__(self, protocol: UpstreamConnection) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> UpstreamConnection:
        return self._protocol


class Opening:
    """A connection on its way for an exchange."""

    def __init__(self, pool: TargetPool, machine: Attempting, timeouts: Timeouts) -> None:
        self._pool = pool
        self._machine: Attempting | None = machine
        self._timeouts = timeouts
        self._waiting: Deferred[Any] | None = None

    def begin(self) -> None:
        """Look the name up where its address is not known, then connect."""
        addresses = self._pool.name.addresses
        if addresses:
            self._connect(self._pool.name.next())
            return
        self._waiting = waiting = self._pool.name.wait()
        waiting.addCallbacks(lambda _: self._connect(self._pool.name.next()), self._unresolved)

    def _connect(self, address: str) -> None:
        if self._machine is None:
            return
        pool, road = self._pool, self._pool.road
        connection = UpstreamConnection(pool, (address, road.port), pool.timers, pool.now)
        within = min(self._timeouts.connect, max(0.001, self._machine.deadline - pool.now()))
        self._waiting = waiting = pool.connect(
            (address, road.port), _One(connection), road.context, road.server_name, within
        )
        waiting.addCallbacks(self._connected, self._failed)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._waiting = None
        machine, self._machine = self._machine, None
        self._pool.opened(connection)
        if machine is None:
            connection.close()
            return
        connection.carry(machine, self._timeouts)
        machine.upstream_opened(connection)

    def _failed(self, failure: Failure) -> None:
        self._waiting = None
        machine, self._machine = self._machine, None
        self._pool.opening -= 1
        if machine is not None:
            machine.upstream_failed(connect_failure(failure))

    def _unresolved(self, failure: Failure) -> None:
        self._waiting = None
        machine, self._machine = self._machine, None
        self._pool.opening -= 1
        if machine is not None:
            missing = failure.check(NameNotFound)
            kind = faults.UNAVAILABLE if missing else faults.NAME_FAILED
            machine.upstream_failed(AttemptFailure(kind, "connect-failure", False, _text(failure)))

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._machine = None
        if self._waiting is not None:
            self._waiting.cancel()


class TargetPool:
    """Keeper of the connections to one target. The newest idle one is used first, so that the rest can age out."""

    def __init__(
        self, name: Name, road: Road, settings: Pool, connect: Connect, timers: ITimers, now: Callable[[], float]
    ) -> None:
        self.name = name
        self.road = road
        self._max_connections = settings.max_connections
        self._max_idle = settings.max_idle
        self._idle_timeout = settings.idle_timeout
        self.connect = connect
        self.timers = timers
        self.now = now
        self.opening = 0
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections kept."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """Connections that carry an exchange, or are being opened for one."""
        return len(self._open) - len(self._idle) + self.opening

    def checkout(self) -> UpstreamConnection | None:
        """A kept connection that is still good, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.closed and connection.idle_until > self.now():
                connection.reused = True
                return connection
            connection.close()
        return None

    def open(self, machine: Attempting, timeouts: Timeouts) -> Opening | None:
        """Begin to open a connection; None where the target has as many as it may."""
        most = self._max_connections
        if most is not None and len(self._open) + self.opening >= most:
            return None
        self.opening += 1
        opening = Opening(self, machine, timeouts)
        opening.begin()
        return opening

    def opened(self, connection: UpstreamConnection) -> None:
        """A connection is there."""
        self.opening -= 1
        if not connection.closed:
            self._open.add(connection)

    def keep(self, connection: UpstreamConnection) -> bool:
        idle = self._idle
        if self._closed or connection.outdated or len(idle) >= self._max_idle:
            return False
        lasts = self._idle_timeout
        promised = connection.keep_alive_timeout
        if promised is not None:
            lasts = min(lasts, promised - KEEP_ALIVE_MARGIN if promised > 2 * KEEP_ALIVE_MARGIN else promised / 2)
            if lasts <= 0:
                return False
        connection.rest_until(self.now() + lasts)
        idle.append(connection)
        return True

    def lost(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def addresses_changed(self) -> None:
        """The name leads elsewhere now: what goes to an old address is closed, or not kept after its exchange."""
        for connection in list(self._open):
            connection.outdated = not self.name.knows(connection.address[0])
            if connection.outdated and connection in self._idle:
                self._idle.remove(connection)
                connection.close()

    def close(self) -> None:
        """Close what is idle; what is busy closes after its exchange."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self.name.forget(self)


def connect_failure(failure: Failure) -> AttemptFailure:
    """What a failed connect means: nothing was sent, so that it may be tried again whatever the method."""
    error = failure.value
    text = _text(failure)
    if getattr(error, "tls", False) or type(error).__name__ == "TlsHandshakeFailed":
        return AttemptFailure(faults.TLS_FAILED, "connect-failure", False, text)
    if type(error).__name__ in ("TimeoutError", "TCPTimedOutError"):
        return AttemptFailure(faults.CONNECT_TIMEOUT, "connect-failure", False, text)
    if failure.check(ConnectError, OSError, ResolutionFailed):
        return AttemptFailure(faults.CONNECT_FAILED, "connect-failure", False, text)
    return AttemptFailure(faults.INTERNAL, "", False, text)


def _text(failure: Failure) -> str:
    return f"{failure.type.__name__}: {failure.value}" if failure.type else str(failure.value)
