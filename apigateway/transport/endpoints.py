"""Twisted endpoints over the loop's native transports."""

from __future__ import annotations

import socket
import ssl

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from apigateway.transport.addresses import Place
from apigateway.transport.connecting import Attempt, ClientTls, TlsHandshakeFailed
from apigateway.transport.listening import bind_socket
from apigateway.transport.proxied import ProxiedListeningPort
from apigateway.transport.reactor import loop_of
from apigateway.transport.server import NativeListeningPort, ServerTls

__all__ = ["ClientTls", "NativeClientEndpoint", "NativeServerEndpoint", "ServerTls", "TlsHandshakeFailed"]


@implementer(IStreamServerEndpoint)
class NativeServerEndpoint:
    """Where to listen: (IP address, port), or the path of a Unix socket.

    backlog: connections the kernel keeps until they are accepted. reuse_port: several processes may listen on
    the address, and the kernel shares connections out. sock: a socket bound (and listening) elsewhere, used
    instead of binding. keeps_file: the file of a Unix socket stays when the port is stopped. proxied: the PROXY
    protocol is spoken, by whom the factory says, which has to be a ProxiedFactory.
    """

    def __init__(
        self,
        reactor: object,
        place: Place,
        *,
        ssl_context: ssl.SSLContext | None = None,
        backlog: int = 1024,
        reuse_port: bool = False,
        sock: socket.socket | None = None,
        handshake_timeout: float = 10.0,
        shutdown_timeout: float = 30.0,
        proxied: bool = False,
        keeps_file: bool = False,
    ) -> None:
        self._loop = loop_of(reactor)
        self._place = place
        self._backlog = backlog
        self._kind = ProxiedListeningPort if proxied else NativeListeningPort
        self._reuse_port = reuse_port
        self._keeps_file = keeps_file
        self._tls = ServerTls(ssl_context, handshake_timeout, shutdown_timeout) if ssl_context else None
        self.socket = sock

    def bind(self) -> socket.socket:
        """Bind and listen now, without the reactor: for privilegedStartService. Once; then the same again.

        Connections wait in the backlog until `listen`. Raises CannotListenError.
        """
        if self.socket is None:
            self.socket = bind_socket(self._place, backlog=self._backlog, reuse_port=self._reuse_port)
        return self.socket

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Accept connections for a factory. Fires when the loop accepts; fails with CannotListenError.

        May be called before the reactor runs. The port owns the socket from here on.
        """
        return Deferred.fromCoroutine(self._listen(protocolFactory))

    def port(self, factory: IProtocolFactory) -> NativeListeningPort:
        """The port that `listen` fires with, not yet accepting: see its startListening. Raises CannotListenError."""
        listener, self.socket = self.bind(), None
        port = self._kind(self._loop, listener, factory, self._backlog, self._tls)
        if self._keeps_file:
            port.leave_file()
        return port

    async def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        port = self.port(factory)
        await Deferred.fromFuture(self._loop.create_task(port.accept()))
        return port


@implementer(IStreamClientEndpoint)
class NativeClientEndpoint:
    """Where to connect to: (IP address, port), or the path of a Unix socket.

    ssl_context: speak TLS. server_hostname: the name sent as SNI and looked for in the certificate; the host
    unless given. timeout: seconds for everything, TCP and TLS handshake, until the protocol is connected.
    A host name works too, but is resolved by the system in a thread, and each time.
    """

    def __init__(
        self,
        reactor: object,
        place: Place,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        timeout: float = 30.0,
        shutdown_timeout: float = 30.0,
    ) -> None:
        self._loop = loop_of(reactor)
        self._place = place
        self._timeout = timeout
        host = "" if isinstance(place, str) else place[0]
        self._tls = (
            ClientTls(ssl_context, server_hostname or host, timeout, shutdown_timeout)
            if ssl_context
            else None
        )

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Fires with the protocol right after its connectionMade, before its first byte.

        Cancelling it closes the socket. Fails with errors of twisted.internet.error (ConnectionRefusedError,
        TimeoutError, NoRouteError, ...; all are ConnectError), TlsHandshakeFailed among them;
        ConnectingCancelledError after a cancel; NoProtocol where the factory builds none.
        """
        return Attempt(self._loop, self._place, protocolFactory, self._timeout, self._tls).connected
