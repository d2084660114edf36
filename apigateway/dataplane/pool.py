"""The connections to one place: kept, opened, counted."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from apigateway.config.model import Pool
from apigateway.dataplane.names import Name
from apigateway.dataplane.upstream import UpstreamConnection
from apigateway.ports.interfaces import ITimers

# (address, factory, TLS context or None, name checked in the certificate, seconds) -> Deferred of the protocol.
Connect = Callable[[tuple[str, int], Factory, ssl.SSLContext | None, str, float], Deferred[Any]]


class NotTrusted(Exception):
    """The target was reached, but TLS with it was not agreed on: what a Connect fails with then."""


# A target that keeps idle connections N seconds closes them at N: a request sent just then is lost. So ours go first.
KEEP_ALIVE_MARGIN: Final = 1.0


@dataclass(frozen=True, slots=True)
class Road:
    """How to get to a place; connections are shared by whatever has the same one. context None: no TLS."""

    port: int
    context: ssl.SSLContext | None
    server_name: str


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
            # `disconnecting`: its end was read in this turn of the loop already, or what nobody asked for.
            gone = connection.closed or connection.transport.disconnecting
            if not gone and connection.idle_until > self.now():
                connection.reused = True
                return connection
            connection.close()
        return None

    def reserve(self) -> bool:
        """A connection is going to be opened; False where the target has as many as it may."""
        most = self._max_connections
        if most is not None and len(self._open) + self.opening >= most:
            return False
        self.opening += 1
        return True

    def not_opened(self) -> None:
        """Nothing came of it."""
        self.opening -= 1

    def opened(self, connection: UpstreamConnection) -> None:
        """A connection is there."""
        self.opening -= 1
        if not connection.closed:
            connection.outdated = not self.name.knows(connection.address[0])
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
