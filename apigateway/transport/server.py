"""A listening port of the loop's native transports."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from apigateway.transport.addresses import Address, address_from
from apigateway.transport.listening import inode_of, remove_socket_file
from apigateway.transport.native import NativeTransport
from apigateway.transport.native_tls import NativeTlsTransport

log = Logger()


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS of a listening port.

    handshake_timeout: seconds for the whole handshake. shutdown_timeout: seconds, after a close, for the peer to
    take the last 100 KiB or so (which only the loop knows of) and say close_notify; a peer that ends its side
    without a word ends it at once.
    """

    context: ssl.SSLContext
    handshake_timeout: float = 10.0
    shutdown_timeout: float = 30.0


@implementer(IListeningPort)
class NativeListeningPort:
    """Accepts on a socket that listens already, until stopListening; connections made before go on.

    Out of file descriptors, asyncio waits a second and leaves clients in the backlog; uvloop (0.21 and newer)
    accepts with a spare descriptor and closes at once. Neither gives up. Where another thread takes uvloop's spare one
    in that moment, it looks again in every turn until some are free: others have their turns, but nobody rests.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        factory: IProtocolFactory,
        backlog: int,
        tls: ServerTls | None,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._factory = factory
        self._backlog = backlog
        self._tls = tls
        self._host = address_from(listener.getsockname())
        self._server: asyncio.Server | None = None
        self._path = listener.getsockname() if listener.family == socket.AF_UNIX else ""
        self._inode = inode_of(self._path) if self._path else 0
        self._started = False
        self._stopped = False

    @property
    def descriptors(self) -> list[int]:
        """What listens, to be handed over; none after stopListening."""
        return [] if self._stopped else [self._listener.fileno()]

    def leave_file(self) -> None:
        """Do not remove the file of a Unix socket at the end: others listen on it, too."""
        self._path = ""

    def getHost(self) -> Address:
        return self._host

    def startListening(self) -> None:
        """Accept from the next turn of the loop on. CannotListenError after stopListening."""
        if self._stopped:
            raise CannotListenError(None, self._host, OSError("this port was stopped"))
        self._loop.create_task(self.accept()).add_done_callback(_log_failed)

    async def accept(self) -> None:
        """Accept from now on. Runs on the loop."""
        if self._started or self._stopped:
            return
        self._started = True
        self._factory.doStart()
        tls = self._tls
        server = await self._loop.create_server(
            self._transport,
            sock=self._listener,
            backlog=self._backlog,
            ssl=tls.context if tls else None,
            ssl_handshake_timeout=tls.handshake_timeout if tls else None,
            ssl_shutdown_timeout=tls.shutdown_timeout if tls else None,
        )
        if self._stopped:
            server.close()
            return
        self._server = server

    def _transport(self) -> NativeTransport:
        # May not raise: uvloop would never accept again (libuv waits for the connection to be taken).
        # So the protocol is built later, in connection_made.
        kind = NativeTlsTransport if self._tls else NativeTransport
        return kind(self._factory.buildProtocol)

    def stopListening(self) -> Deferred[None]:
        """Stop accepting; who waits in the backlog is reset. Fires when the address is free again."""
        done: Deferred[None] = Deferred()
        if not self._stopped:
            self._stopped = True
            self._close()
            if self._started:
                self._factory.doStop()
        self._loop.call_soon(done.callback, None)  # the loop closes its descriptor by then
        return done

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._listener.close()
        if self._path:
            remove_socket_file(self._path, self._inode)


def _log_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        log.failure("A port could not accept", failure=Failure(exc))
