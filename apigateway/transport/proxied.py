"""A listening port behind balancers that speak the PROXY protocol: their header is read, then the loop takes over."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from apigateway.transport.addresses import Address, address_from, address_of
from apigateway.transport.native import Build, NativeTransport, _network_failed
from apigateway.transport.native_tls import NativeTlsTransport
from apigateway.transport.proxy_header import HeaderWait
from apigateway.transport.server import NativeListeningPort, ServerTls
from apigateway.wire.proxy_protocol import Endpoint, ProxyHeader

log = Logger()

MOST_WAITING = 1024
"""Connections that wait for the rest of their header; past that the one that has waited longest is closed."""

# Accepted in one turn of the loop.
_TOGETHER = 64
# Seconds until it is tried again after the system had no descriptor or memory left.
_PAUSE = 0.25


class ProxiedFactory(Protocol):
    """What the factory of such a port is asked and told, beside what any factory is."""

    def proxy_timeout(self, ip: str) -> float | None:
        """Seconds in which a peer has to have sent its header; None: it sends none, and is the client itself."""

    def proxy_refused(self, peer: Address, why: str) -> None:
        """A peer's connection was closed for want of a header. Must not raise."""

    def still_coming(self, port: ProxiedListeningPort) -> None:
        """The port has stopped, and some that it accepted have no protocol yet: see its end_coming."""

    def none_coming(self, port: ProxiedListeningPort) -> None:
        """What was still to come of that port has its protocol, or is gone."""


class AnnouncedTransport(NativeTransport):
    """A plain connection that a proxy passes on: getPeer is the client that its header named, getHost what that
    client reached, and `proxy` who is connected in truth."""

    __slots__ = ("proxy",)

    def __init__(self, build: Build, source: Endpoint, destination: Endpoint, proxy: Address) -> None:
        super().__init__(build)
        self._peer, self._host = address_of(source), address_of(destination)
        self.proxy = proxy


class AnnouncedTlsTransport(NativeTlsTransport):
    """The same with TLS from the client to us, which the proxy cannot read."""

    __slots__ = ("proxy",)

    def __init__(self, build: Build, source: Endpoint, destination: Endpoint, proxy: Address) -> None:
        super().__init__(build)
        self._peer, self._host = address_of(source), address_of(destination)
        self.proxy = proxy


class ProxiedListeningPort(NativeListeningPort):
    """A NativeListeningPort, but peers named by the factory have to say first whose connection it is.

    Out of descriptors it leaves clients in the backlog and tries again four times a second. After stopListening, what
    was accepted keeps its time for the header and the handshake: the client behind it cannot know that others accept
    now. The factory is told of such connections.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        factory: IProtocolFactory,
        backlog: int,
        tls: ServerTls | None,
    ) -> None:
        super().__init__(loop, listener, factory, backlog, tls)
        self._exhausted = False
        self._pause: asyncio.TimerHandle | None = None
        # In the order in which they came.
        self._waiting: dict[HeaderWait, None] = {}
        # The loop itself holds its tasks weakly.
        self._handing: set[asyncio.Task[None]] = set()
        # The factory was told that some are still coming.
        self._told = False

    async def accept(self) -> None:
        """See NativeListeningPort."""
        if self._started or self._stopped:
            return
        self._started = True
        self._factory.doStart()
        self._listener.setblocking(False)
        self._accept_again()

    def stopListening(self) -> Deferred[None]:
        """See NativeListeningPort. Fires when connections without TLS that had sent their header have their protocol:
        whoever drains then is to know of them."""
        stopped = super().stopListening()
        return stopped if self._tls else stopped.addCallback(lambda _: self._all_handed_over())

    def _all_handed_over(self) -> Deferred[None]:
        gathered = asyncio.gather(*self._handing, return_exceptions=True) if self._handing else None
        return succeed(None) if gathered is None else Deferred.fromFuture(gathered).addCallback(lambda _: None)

    def _close(self) -> None:
        if self._started:
            if self._pause is not None:
                self._pause.cancel()
            self._loop.remove_reader(self._listener.fileno())
        super()._close()
        if self._waiting or self._handing:
            self._told = True
            self._asked().still_coming(self)

    def end_coming(self) -> None:
        """Close what waits for its header, and what shakes hands."""
        for waiting in list(self._waiting):
            waiting.end()
        for task in list(self._handing):
            task.cancel()

    def _look_who_comes(self) -> None:
        if self._told and not self._waiting and not self._handing:
            self._told = False
            self._asked().none_coming(self)

    # ---- accepting

    def _accept_some(self) -> None:
        for _ in range(_TOGETHER):
            try:
                connection, name = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                if _network_failed(exc) or isinstance(exc, PermissionError):
                    continue  # of that one connection, which is gone; a packet filter may say EPERM
                self._wait_for_descriptors(exc)
                return
            self._exhausted = False
            try:
                self._accepted(connection, address_from(name))
            except Exception:  # whatever it was, the next client is not to suffer from it
                connection.close()
                log.failure("A connection could not be taken over")

    def _wait_for_descriptors(self, exc: OSError) -> None:
        if not self._exhausted:
            self._exhausted = True
            log.warn("No connection can be accepted for now: {why}", why=str(exc))
        # The backlog stays readable: the loop would call at once, and again.
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(_PAUSE, self._accept_again)

    def _accept_again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._accept_some)

    def _accepted(self, connection: socket.socket, peer: Address) -> None:
        connection.setblocking(False)
        timeout = self._asked().proxy_timeout(getattr(peer, "host", ""))
        if timeout is None:
            self.hand_over(connection, peer, None)
            return
        if len(self._waiting) >= MOST_WAITING:
            next(iter(self._waiting)).refuse("too many connections wait for a header")
        waiting = HeaderWait(self, self._loop, connection, peer)
        self._waiting[waiting] = None
        waiting.begin(timeout)

    def _asked(self) -> ProxiedFactory:
        return cast(ProxiedFactory, self._factory)

    # ---- told by those that wait

    def refused(self, peer: Address, why: str) -> None:
        self._asked().proxy_refused(peer, why)

    def wait_over(self, waiting: HeaderWait) -> None:
        self._waiting.pop(waiting, None)
        if self._told:
            self._loop.call_soon(self._look_who_comes)  # by then it was handed over, if it will be

    def hand_over(self, connection: socket.socket, peer: Address, header: ProxyHeader | None) -> None:
        """Give a connection to the loop's transport, as if it had been accepted by the loop."""
        task = self._loop.create_task(self._connect(connection, self._transport_for(peer, header)))
        self._handing.add(task)
        task.add_done_callback(lambda task: self._handed_over(task, connection))

    def _transport_for(self, peer: Address, header: ProxyHeader | None) -> NativeTransport:
        if header is None or header.source is None or header.destination is None:
            return self._transport()
        kind = AnnouncedTlsTransport if self._tls else AnnouncedTransport
        return kind(self._factory.buildProtocol, header.source, header.destination, peer)

    async def _connect(self, connection: socket.socket, transport: NativeTransport) -> None:
        tls = self._tls
        await self._loop.connect_accepted_socket(
            lambda: transport,
            connection,
            ssl=tls.context if tls else None,
            ssl_handshake_timeout=tls.handshake_timeout if tls else None,
            ssl_shutdown_timeout=tls.shutdown_timeout if tls else None,
        )

    def _handed_over(self, task: asyncio.Task[None], connection: socket.socket) -> None:
        self._handing.discard(task)
        if task.cancelled():
            connection.close()  # the task may not have begun
        self._look_who_comes()
        error = None if task.cancelled() else task.exception()
        # An OSError (those of ssl are such) is a handshake that failed, or a peer that was gone by then.
        if error is not None and not isinstance(error, OSError):
            log.failure("A connection could not be taken over", failure=Failure(error))
